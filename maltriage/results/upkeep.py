"""Upkeep of the store: its contents, and removing results."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maltriage.errors import MaltriageError
from maltriage.report.documents.cache import CacheInfo, KeptResults
from maltriage.report.documents.record import ModelRef
from maltriage.report.status.cache import day
from maltriage.results.sqlite_file import SIDECARS, Tell, transaction
from maltriage.results.store import Store

_LAST = 253_402_300_799
"""The end of the year 9999, in seconds since the epoch."""
_USED = f"CASE WHEN typeof(used) = 'integer' AND used BETWEEN 0 AND {_LAST} THEN used ELSE 0 END"


@contextmanager
def opened(folder: Path, tell: Tell) -> Iterator[Store]:
    """The store of a folder; unlike a scan this cannot go on without it.

    Raises:
        MaltriageError: it cannot be used, as reported to `tell`; or SQLite failed in the block.
    """
    store = Store.open(folder, tell)
    if store is None:
        raise MaltriageError(f"the kept results in {folder} cannot be used")
    with store:
        try:
            yield store
        except sqlite3.Error as error:
            raise MaltriageError(f"{store.path}: {error}") from error


def info(store: Store) -> CacheInfo:
    """The contents of the store."""
    sql = store.connection
    kept = sql.execute(
        "SELECT model, weights, version, schema, count(DISTINCT settings.id), count(*),"
        f" sum(length(record)), max({_USED}) FROM results JOIN settings ON settings.id = settings"
        f" GROUP BY model, weights, version, schema ORDER BY max({_USED}) DESC, model, weights"
    ).fetchall()
    return CacheInfo(
        path=str(store.path),
        size=_size_on_disk(store.path),
        results=_count(sql, "results"),
        files=_count(sql, "files"),
        models=[
            KeptResults(
                model=ModelRef(model, weights),
                version=version,
                record_schema=schema,
                settings=settings,
                results=results,
                bytes=size,
                used=day(used),
            )
            for model, weights, version, schema, settings, results, size, used in kept
        ],
    )


def prune(store: Store, older: int | None, max_bytes: int | None) -> int:
    """Remove results.

    Args:
        older: remove those not used for this many seconds; None: none by age.
        max_bytes: then remove those used longest ago, until the rest has at most this many bytes;
            None: no limit.

    Returns:
        The number of results removed.
    """
    gone = 0
    with transaction(store.connection) as sql:
        if older is not None:
            before = int(time.time()) - older
            gone += sql.execute("DELETE FROM results WHERE used <= ?", (before,)).rowcount
            sql.execute("DELETE FROM scans WHERE begun <= ?", (before,))
        if max_bytes is not None:
            gone += sql.execute(
                "DELETE FROM results WHERE id IN (SELECT id FROM ("
                " SELECT id, sum(length(record)) OVER (ORDER BY used DESC, id DESC) AS total"
                " FROM results) WHERE total > ?)",
                (max_bytes,),
            ).rowcount
        _tidy(sql)
    _shrink(store.connection)
    return gone


def clear(store: Store) -> int:
    """Remove all results; return their number."""
    with transaction(store.connection) as sql:
        gone = sql.execute("DELETE FROM results").rowcount
        sql.execute("DELETE FROM scans")
        _tidy(sql)
    _shrink(store.connection)
    return gone


def _tidy(sql: sqlite3.Connection) -> None:
    """Remove rows that lead to no result any more."""
    sql.execute("DELETE FROM files WHERE content NOT IN (SELECT content FROM results)")
    sql.execute("DELETE FROM reported WHERE scan NOT IN (SELECT id FROM scans)")
    sql.execute("DELETE FROM settings WHERE id NOT IN (SELECT settings FROM results)")


def _shrink(sql: sqlite3.Connection) -> None:
    """Return free space to the disk."""
    sql.execute("VACUUM")
    sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _count(sql: sqlite3.Connection, table: str) -> int:
    return int(sql.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _size_on_disk(path: Path) -> int:
    names = [path, *(path.with_name(path.name + ending) for ending in SIDECARS)]
    return sum(name.stat().st_size for name in names if name.exists())
