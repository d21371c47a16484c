"""In a worker: a file whose content the store knows is only read and hashed.

That is a file that was moved, copied, or touched, which its stat does not tell. The store is opened
for reading alone; where that fails, nothing is known. Little is imported: workers start with it.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from maltriage.sample.prepare import Prepared, PrepareOptions, Same, digest_of, prepare_contents
from maltriage.sample.source import read_sample

BUSY_SECONDS = 1.0


def prepare_unless_known(
    path: str, options: PrepareOptions, store: str, settings: bytes
) -> Prepared | Same:
    """Prepare a file, or say that there is a record of its content.

    Args:
        store: path of the database.
        settings: digest of those that the record must have been made with.

    Raises:
        SampleError: it gives no sample; see `prepare`.
    """
    start = time.perf_counter()
    contents = read_sample(path, options.max_size, options.formats, options.archives)
    digest = digest_of(contents)
    if _known(store, settings, digest):
        return Same(path, digest)
    return prepare_contents(path, contents, options, start, digest)


def _known(store: str, settings: bytes, digest: str) -> bool:
    with suppress(sqlite3.Error):
        found = _connection(store).execute(
            "SELECT 1 FROM results JOIN settings ON settings.id = settings"
            " WHERE content = ? AND digest = ?",
            (bytes.fromhex(digest), settings),
        )
        return found.fetchone() is not None
    return False


@lru_cache(maxsize=1)
def _connection(store: str) -> sqlite3.Connection:
    address = f"{Path(store).absolute().as_uri()}?mode=ro"
    return sqlite3.connect(address, timeout=BUSY_SECONDS, uri=True)
