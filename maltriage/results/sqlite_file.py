"""The database file of the store: private files, tables, and transactions.

Errors are those of `sqlite3` and of the system, or `UnusableError`.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maltriage.files.private import trouble

FILE_NAME = "results.sqlite"
DAMAGED = ".damaged"
"""Ending of a database file that was moved aside."""
TABLES_VERSION = 2
"""Version of the tables below. Older ones are dropped, newer ones are left alone."""
APPLICATION_ID = 0x6D74_7265
BUSY_SECONDS = 10.0
"""Longest wait for another process that writes."""

_TABLES = """
CREATE TABLE settings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE,
    model TEXT NOT NULL, weights TEXT NOT NULL, schema TEXT NOT NULL, version TEXT NOT NULL
);
CREATE TABLE results (
    id INTEGER PRIMARY KEY, content BLOB NOT NULL, settings INTEGER NOT NULL,
    bytes INTEGER NOT NULL, used INTEGER NOT NULL, record BLOB NOT NULL,
    UNIQUE (content, settings)
);
CREATE TABLE files (path BLOB PRIMARY KEY, stat BLOB NOT NULL, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE scans (id BLOB PRIMARY KEY, begun INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE reported (
    scan BLOB NOT NULL, path BLOB NOT NULL, stat BLOB NOT NULL, content BLOB, record BLOB,
    PRIMARY KEY (scan, path)
) WITHOUT ROWID;
"""
SIDECARS = ("-wal", "-shm", "-journal")
_ENDS = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

Tell = Callable[[str], None]


class UnusableError(Exception):
    """The reason why a store cannot be used, in words for a user."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """`BEGIN IMMEDIATE` to `COMMIT`, or a rollback if anything fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


def open_database(path: Path, tell: Tell) -> sqlite3.Connection:
    """Open the database, or make it; a damaged one is moved aside, with a note to `tell`."""
    _make_private(path)
    try:
        return _connected(path, tell)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    aside = move_aside(path)
    tell(f"{path}: damaged, or no store: moved to {aside.name}, and begun anew")
    _make_private(path)
    return _connected(path, tell)


def _connected(path: Path, tell: Tell) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        # A killed process loses nothing; a power failure may lose the last batches.
        connection.execute("PRAGMA synchronous = NORMAL")
        if _version(connection) != TABLES_VERSION:
            _make_tables(connection, path, tell)
        return connection
    except BaseException:
        connection.close()
        raise


def _version(sql: sqlite3.Connection) -> int:
    """Version of its tables; -1: there are none.

    Raises:
        UnusableError: the file is another program's.
    """
    (application,) = sql.execute("PRAGMA application_id").fetchone()
    (count,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and count:
        raise UnusableError("a database of another program")
    # A view or a trigger would run with each statement, and need not end.
    others = "SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index')"
    if sql.execute(others).fetchone()[0]:
        raise UnusableError("it has views or triggers, which no maltriage made")
    return int(sql.execute("PRAGMA user_version").fetchone()[0]) if count else -1


def _make_tables(connection: sqlite3.Connection, path: Path, tell: Tell) -> None:
    with transaction(connection) as sql:
        found = _version(sql)  # another process may have made them
        if found > TABLES_VERSION:
            raise UnusableError("made by a newer maltriage")
        if found == TABLES_VERSION:
            return
        if found >= 0:
            tell(f"{path}: made by an older maltriage: emptied")
        names = sql.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (name,) in names:
            quoted = name.replace('"', '""')
            sql.execute(f'DROP TABLE "{quoted}"')
        for statement in _TABLES.split(";"):
            sql.execute(statement)
        sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        sql.execute(f"PRAGMA user_version = {TABLES_VERSION}")


def _make_private(path: Path) -> None:
    """Make folder and file for their owner alone.

    Raises:
        UnusableError: it is another user's, or others could put a link into its place.
        OSError: it cannot be made or opened.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    wrong = trouble(path.parent)
    if wrong is not None:
        raise UnusableError(wrong)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        number = os.open(path, flags, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise UnusableError("a symbolic link") from error
        raise
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableError("no regular file")
        if sys.platform != "win32":
            if status.st_uid != os.geteuid():
                raise UnusableError("it belongs to another user")
            os.fchmod(number, 0o600)
    finally:
        os.close(number)


def move_aside(path: Path) -> Path:
    """Rename a database file, over an earlier one; its sidecars are useless alone."""
    aside = path.with_name(path.name + DAMAGED)
    with suppress(OSError):
        path.replace(aside)
    for ending in SIDECARS:
        with suppress(OSError):
            path.with_name(path.name + ending).unlink()
    return aside


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is beyond repair. Errors of the module itself have no code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _ENDS


def words_of(error: Exception) -> str:
    """Text of an error, for a user."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
