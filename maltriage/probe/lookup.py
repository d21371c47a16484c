"""In a worker: a file whose content the store knows is only read and hashed.

That is a file that was moved, copied, or touched, which its stat does not tell. The store is opened
for reading alone; where that fails, nothing is known. Little is imported: workers start with it.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from maltriage.probe.prepare import Prepared, PrepareOptions, Same, digest_of, prepare_contents
from maltriage.source.decode import Contents

BUSY_SECONDS = 1.0
TOUCH_SECONDS = 24 * 3600
"""A record's time of use is written anew when it is older than this."""


@dataclass(frozen=True)
class Lookup:
    """A way to `finish` files, see `prepare`, of some of which a record is kept.

    `store` is the path of the database, `settings` the digest of those that a record must have been
    made with.
    """

    store: str
    settings: bytes

    def __call__(
        self, path: str, contents: Contents, options: PrepareOptions, start: float
    ) -> Prepared | Same:
        """Prepare what was read of a file, or give the record of its content."""
        digest = digest_of(contents)
        found = _found(self.store, self.settings, digest)
        if found is not None:
            return Same(path, digest, *found)
        return prepare_contents(path, contents, options, start, digest)


def _found(store: str, settings: bytes, digest: str) -> tuple[bytes, int] | None:
    """The record of a content, and its row if its time of use is old; None: none is whole."""
    with suppress(sqlite3.Error, zlib.error, TypeError):
        found = _connection(store).execute(
            "SELECT record, results.id, used FROM results JOIN settings ON settings.id = settings"
            " WHERE content = ? AND digest = ?",
            (bytes.fromhex(digest), settings),
        )
        row = found.fetchone()
        if row is not None:
            record, number, used = row
            zlib.decompress(record)
            return record, number if time.time() - used > TOUCH_SECONDS else 0
    return None


@lru_cache(maxsize=1)
def _connection(store: str) -> sqlite3.Connection:
    address = f"{Path(store).absolute().as_uri()}?mode=ro"
    return sqlite3.connect(address, timeout=BUSY_SECONDS, uri=True)
