"""In a worker: a file whose content the store knows is only read and hashed.

That is a file that was moved, copied, or touched, which its stat does not tell. The store is opened
for reading alone; where that fails, nothing is known. Little is imported: workers start with it.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from maltriage.probe.prepare import Prepared, PrepareOptions, Same, digest_of, prepare_contents
from maltriage.source.decode import Contents

BUSY_SECONDS = 1.0


@dataclass(frozen=True)
class Lookup:
    """A way to `finish` files, see `prepare`, some of which are known.

    `store` is the path of the database, `settings` the digest of those that a record must have been
    made with.
    """

    store: str
    settings: bytes

    def __call__(
        self, path: str, contents: Contents, options: PrepareOptions, start: float
    ) -> Prepared | Same:
        """Prepare what was read of a file, or say that there is a record of its content."""
        digest = digest_of(contents)
        if _known(self.store, self.settings, digest):
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
