"""Large files, mapped into memory instead of read: pages come and go as they are looked at.

A mapping is used in place of bytes: what reads samples slices, searches and hands on buffers, which
both can do. A file that is cut short while it is mapped kills the worker that looks at it, which
costs that file's record and nothing else.
"""

from __future__ import annotations

import mmap
import os
from typing import Any, BinaryIO, cast

MAP_BYTES = 64 * 1024 * 1024
"""Files from this size on are mapped. Below, reading is as fast, and LIEF, which copies what it
parses, tells more than pefile."""


class _Mapped(mmap.mmap):
    """A file in memory, read-only."""

    _file: BinaryIO

    def __new__(cls, file: BinaryIO, access: int = mmap.ACCESS_READ) -> _Mapped:
        found: _Mapped = super().__new__(cls, file.fileno(), 0, access=access)
        found._file = os.fdopen(os.dup(file.fileno()), "rb")
        return found

    def private(self) -> _Mapped:
        """The same file again, to be written to: what is written stays in this process."""
        return _Mapped(self._file, mmap.ACCESS_COPY)


def mapped(file: BinaryIO) -> bytes:
    """All of a file, of one byte or more.

    Raises:
        OSError, ValueError: it cannot be mapped.
    """
    return cast(bytes, _Mapped(file))


def is_mapped(data: bytes) -> bool:
    return isinstance(data, mmap.mmap)


def with_zeros(data: bytes, ranges: list[tuple[int, int]]) -> bytes:
    """A mapped file whose bytes in `ranges` are zero; only their pages take memory."""
    copy: Any = cast(_Mapped, data).private()
    for start, end in ranges:
        copy[start:end] = bytes(end - start)
    return cast(bytes, copy)
