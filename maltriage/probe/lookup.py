"""In a worker: looks a file up in the store by its content, after only reading and hashing it.

This finds files that were moved, copied, or touched, whose stat is new. The store is opened for
reading alone; on failure nothing is found. Imports are few: workers start with them.
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
"""A record's time of use is updated when it is older than this."""


@dataclass(frozen=True)
class Lookup:
    """A `finish` function (see `prepare`) that uses kept records.

    `store` is the path of the database, `settings` the digest of the settings that a record must
    have.
    """

    store: str
    settings: bytes

    def __call__(
        self, path: str, contents: Contents, options: PrepareOptions, start: float
    ) -> Prepared | Same:
        """Prepare a file's contents, or return the kept record of them."""
        digest = digest_of(contents)
        found = _found(self.store, self.settings, digest)
        if found is not None:
            return Same(path, digest, *found)
        return prepare_contents(path, contents, options, start, digest)


def _found(store: str, settings: bytes, digest: str) -> tuple[bytes, int] | None:
    """The record of a content, and its row if its time of use is old; None: none is complete."""
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
