"""Finished results on disk: one SQLite file for all scans of a user.

Tables, each of which may be emptied at any time:

    settings   of records: model, options, versions; see `results.policy`
    results    the record of a file's content under some settings, zlib over JSON, without its path
    files      the content of a path with a certain stat: BLAKE2 of both, no names
    scans      those that were stopped, by a digest of their work
    reported   records of such a scan that the other tables do not have

A cache is never fatal. A file that cannot be used, or no longer, disables the store: it reports
this once, through the callback that it was opened with, and from then on finds nothing. Readers and
writers of several processes may share it (WAL); a killed process leaves what it had committed.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from maltriage.probe.lookup import TOUCH_SECONDS
from maltriage.results.sqlite_file import (
    FILE_NAME,
    Tell,
    UnusableError,
    is_damage,
    move_aside,
    open_database,
    transaction,
    words_of,
)


@dataclass(frozen=True)
class Settings:
    """Settings of records. `digest` is over all of them; the rest is for people."""

    digest: bytes
    model: str
    weights: str
    schema: str
    version: str


class Stored(NamedTuple):
    """A record that was found: its row if its time of use is old, else 0; the digest of its
    content; zlib over its JSON."""

    row: int
    content: bytes | None
    record: bytes


@dataclass
class Batch:
    """Rows to write in one transaction."""

    results: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    """Digest of the content, bytes of the file, the record."""
    files: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    """Digests of path and stat, and of the content."""
    used: list[int] = field(default_factory=list)
    """Rows of `results` whose time of use is old."""
    reported: list[tuple[bytes, bytes, bytes, bytes | None, bytes | None]] = field(
        default_factory=list
    )
    """The scan, digests of path and stat, and the digest of the content or the record itself."""

    def __bool__(self) -> bool:
        return bool(self.results or self.files or self.used or self.reported)


class Store:
    """An open store. Use as a context manager, from one thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection, tell: Tell) -> None:
        self.path = path
        self._tell = tell
        self._connection: sqlite3.Connection | None = connection
        self._ids: dict[bytes, int] = {}

    @classmethod
    def open(cls, folder: Path, tell: Tell) -> Store | None:
        """Open the store of a folder, which is made if need be.

        Args:
            tell: called with each message on the store for the user, one line each.

        Returns:
            None where it cannot be used.
        """
        path = folder / FILE_NAME
        try:
            return cls(path, open_database(path, tell), tell)
        except (UnusableError, sqlite3.Error, OSError) as error:
            tell(f"{path}: {words_of(error)}: results are neither looked up nor kept")
            return None

    @property
    def usable(self) -> bool:
        return self._connection is not None

    def find(self, path: bytes, status: bytes, settings: Settings) -> Stored | None:
        """The record of an unchanged file, by the digests of its path and stat."""
        return self._found(
            "SELECT results.id, results.content, record, used FROM files"
            " JOIN results ON results.content = files.content AND settings = ?"
            " WHERE path = ? AND stat = ?",
            settings,
            path,
            status,
        )

    def knows_any(self, settings: Settings) -> bool:
        """Whether there may be a record that was made with these settings."""
        if self._connection is None:
            return False
        try:
            return self._id(settings) is not None
        except sqlite3.Error as error:
            self._give_up(error)
            return False

    def find_reported(
        self, scan: bytes, path: bytes, status: bytes, settings: Settings
    ) -> Stored | None:
        """The record of an unchanged file, from a scan that was stopped."""
        return self._found(
            "SELECT results.id, reported.content, coalesce(reported.record, results.record), used"
            " FROM reported LEFT JOIN results"
            " ON results.content = reported.content AND settings = ?"
            " WHERE scan = ? AND path = ? AND stat = ?"
            " AND coalesce(reported.record, results.record) IS NOT NULL",
            settings,
            scan,
            path,
            status,
        )

    def begin(self, scan: bytes, *, resume: bool) -> int | None:
        """Begin a scan, anew or where it was stopped.

        Returns:
            With `resume`, the start of the scan that was stopped, in seconds since the epoch;
            None: there is none.
        """
        if self._connection is None:
            return None
        try:
            with transaction(self._connection) as sql:
                found = sql.execute("SELECT begun FROM scans WHERE id = ?", (scan,)).fetchone()
                if found is not None and resume:
                    return int(found[0])
                sql.execute("DELETE FROM reported WHERE scan = ?", (scan,))
                sql.execute("INSERT OR REPLACE INTO scans VALUES (?, ?)", (scan, int(time.time())))
        except sqlite3.Error as error:
            self._give_up(error)
        return None

    def end(self, scan: bytes) -> None:
        """End a scan, so that none of it is resumed."""
        if self._connection is None:
            return
        try:
            with transaction(self._connection) as sql:
                sql.execute("DELETE FROM reported WHERE scan = ?", (scan,))
                sql.execute("DELETE FROM scans WHERE id = ?", (scan,))
        except sqlite3.Error as error:
            self._give_up(error)

    def write(self, batch: Batch, settings: Settings) -> None:
        """Write a batch, all or nothing; an error disables the store."""
        if self._connection is None or not batch:
            return
        now = int(time.time())
        try:
            with transaction(self._connection) as sql:
                number = self._id(settings, make=True)
                sql.executemany(
                    "INSERT INTO results (content, settings, bytes, used, record)"
                    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (content, settings) DO UPDATE SET"
                    " bytes = excluded.bytes, used = excluded.used, record = excluded.record",
                    [(c, number, size, now, record) for c, size, record in batch.results],
                )
                sql.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", batch.files)
                sql.executemany(
                    "INSERT OR REPLACE INTO reported VALUES (?, ?, ?, ?, ?)", batch.reported
                )
                sql.executemany(
                    "UPDATE results SET used = ? WHERE id = ?", [(now, row) for row in batch.used]
                )
        except sqlite3.Error as error:
            self._give_up(error)

    def _found(self, select: str, settings: Settings, *values: object) -> Stored | None:
        if self._connection is None:
            return None
        try:
            number = self._id(settings)
            if number is None:
                return None
            row = self._connection.execute(select, (number, *values)).fetchone()
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        return None if row is None else self._stored(*row)

    def _stored(self, row: object, content: object, record: object, used: object) -> Stored | None:
        """A row as it was found; None where it has values of other types, which SQLite allows."""
        if not (
            isinstance(record, bytes)
            and isinstance(row, int | None)
            and isinstance(content, bytes | None)
            and isinstance(used, int | None)
        ):
            return None
        old = row is not None and used is not None and time.time() - used > TOUCH_SECONDS
        return Stored(row if row is not None and old else 0, content, record)

    def _id(self, settings: Settings, *, make: bool = False) -> int | None:
        """The row of settings; None where there is none and `make` is False."""
        assert self._connection is not None
        known = self._ids.get(settings.digest)
        if known is not None and not make:
            return known
        values = (settings.digest, settings.model, settings.weights)
        if make:  # looked up anew in each transaction: another process may have cleared the store
            self._connection.execute(
                "INSERT OR IGNORE INTO settings (digest, model, weights, schema, version)"
                " VALUES (?, ?, ?, ?, ?)",
                (*values, settings.schema, settings.version),
            )
        row = self._connection.execute(
            "SELECT id FROM settings WHERE digest = ?", (settings.digest,)
        ).fetchone()
        if row is None:
            return None
        self._ids[settings.digest] = row[0]
        return int(row[0])

    def _give_up(self, error: sqlite3.Error) -> None:
        self.close()
        text = words_of(error)
        if is_damage(error):
            text += f"; moved to {move_aside(self.path).name}"
        self._tell(f"{self.path}: {text}: results are no longer looked up or kept")

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection for `upkeep`; raises errors of `sqlite3`. The store must be usable."""
        assert self._connection is not None
        return self._connection

    def close(self) -> None:
        """Close it. Later calls find nothing and write nothing."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
