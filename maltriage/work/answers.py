"""Whether an answer of a worker is one to the file that it was given.

A worker under a sample's control may send any plain values (`messages`). What is no answer costs
its file alone, and no worker speaks for another's file.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from maltriage.probe.members import Chunk
from maltriage.probe.prepare import Again, Prepared, Same
from maltriage.sample.errors import SampleError
from maltriage.source.archive.names import SEPARATOR
from maltriage.source.archive.walk import Cursor
from maltriage.source.files import Rejected


def is_answer(found: Any, path: str, views: Set[str]) -> bool:
    """Whether a value is an answer to the task of reading a file.

    Args:
        path: of the file, or of one in an archive.
        views: names of those that each sample has.
    """
    if isinstance(found, SampleError):
        return _has(found.code, str) and _has(found.reason, str) and _has(found.failed, bool)
    if isinstance(found, Chunk):
        items, cursor = found.items, found.cursor
        known = isinstance(cursor, Cursor) and _has(cursor.members, int)
        fits = isinstance(items, list) and (cursor is None or known)
        return fits and all(_is_item(item, path, views) for item in items)
    return isinstance(found, Prepared | Same) and _is_item(found, path, views)


def _is_item(item: Any, path: str, views: Set[str]) -> bool:
    if isinstance(item, Prepared):
        fits = item.views.keys() == views
    elif isinstance(item, Same):
        fits = _has(item.file, str) and _has(item.record, bytes) and _has(item.row, int)
    elif isinstance(item, Again):
        fits = _has(item.milliseconds, float) and _of(path, item.of)
    elif isinstance(item, Rejected):
        fits = _has(item.code, str) and _has(item.reason, str) and _has(item.failed, bool)
    else:
        return False
    return fits and _of(path, item.path)


def _has(value: object, kind: type) -> bool:
    return type(value) is kind


def _of(task: str, path: object) -> bool:
    """Whether a path is that of a task, of a file in it, or of the archive that it lies in."""
    if not isinstance(path, str):
        return False
    return path == task or path.startswith(task + SEPARATOR) or task.startswith(path + SEPARATOR)
