"""Walks through archives in memory, for the tests of their readers."""

from __future__ import annotations

import io

from maltriage.source.archive.closed import may_be_closed
from maltriage.source.archive.limits import Archives
from maltriage.source.archive.walk import Cursor, Walk


def walk(data: bytes, limits: Archives | None = None, start: Cursor | None = None) -> Walk:
    """Through the archive `x`, whose programs, and archives that are not opened, are wanted."""
    return Walk(
        io.BytesIO(data),
        "x",
        len(data),
        limits or Archives(),
        1 << 20,
        lambda name, head: head[:2] == b"MZ" or may_be_closed(name, head),
        cursor_from=start or Cursor(),
    )
