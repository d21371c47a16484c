"""The store looked after: what is in it, and taking away what is of no more use."""

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


@contextmanager
def opened(folder: Path, tell: Tell) -> Iterator[Store]:
    """The store of a folder, where not having it is an error.

    Raises:
        MaltriageError: it cannot be used, and `tell` was told why; or an error of SQLite's in the
            block.
    """
    store = Store.open(folder, tell)
    if store is None:
        raise MaltriageError(f"no kept results can be had from {folder}")
    with store:
        try:
            yield store
        except sqlite3.Error as error:
            raise MaltriageError(f"{store.path}: {error}") from error


def info(store: Store) -> CacheInfo:
    """What is in it."""
    sql = store.connection
    kept = sql.execute(
        "SELECT model, weights, version, schema, count(DISTINCT settings.id), count(*),"
        " sum(length(record)), max(used) FROM results JOIN settings ON settings.id = settings"
        " GROUP BY model, weights, version, schema ORDER BY max(used) DESC, model, weights"
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
    """Take away results.

    Args:
        older: those that were not used for so many seconds; None: however old.
        max_bytes: then those used longest ago, until the records of the others take no more than
            so many bytes; None: however many.

    Returns:
        How many were taken away.
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
    """Take away all results; how many they were."""
    with transaction(store.connection) as sql:
        gone = sql.execute("DELETE FROM results").rowcount
        sql.execute("DELETE FROM scans")
        _tidy(sql)
    _shrink(store.connection)
    return gone


def _tidy(sql: sqlite3.Connection) -> None:
    """Take away what leads to no result any more."""
    sql.execute("DELETE FROM files WHERE content NOT IN (SELECT content FROM results)")
    sql.execute("DELETE FROM reported WHERE scan NOT IN (SELECT id FROM scans)")
    sql.execute("DELETE FROM settings WHERE id NOT IN (SELECT settings FROM results)")


def _shrink(sql: sqlite3.Connection) -> None:
    """Give the space back to the disk."""
    sql.execute("VACUUM")
    sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _count(sql: sqlite3.Connection, table: str) -> int:
    return int(sql.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _size_on_disk(path: Path) -> int:
    names = [path, *(path.with_name(path.name + ending) for ending in SIDECARS)]
    return sum(name.stat().st_size for name in names if name.exists())
