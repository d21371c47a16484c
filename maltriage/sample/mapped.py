"""Large files, mapped into memory instead of read: pages come and go as they are read.

A mapping is used in place of bytes: readers of samples slice, search and pass on buffers, which
both support. A file that is cut short while it is mapped kills the worker that reads it, which
costs only that file's record.
"""

from __future__ import annotations

import gc
import mmap
import os
from typing import Any, BinaryIO, cast
from weakref import WeakSet

MAP_BYTES = 64 * 1024 * 1024
"""Files from this size on are mapped. Below, reading is as fast, and allows LIEF, which copies
its input but reads more than pefile."""


_open: WeakSet[mmap.mmap] = WeakSet()
"""Mappings that somebody still refers to."""


class _Mapped(mmap.mmap):
    """A file in memory, read-only."""

    _file: BinaryIO

    def __new__(cls, file: BinaryIO, length: int = 0, access: int = mmap.ACCESS_READ) -> _Mapped:
        found: _Mapped = super().__new__(cls, file.fileno(), length, access=access)
        found._file = os.fdopen(os.dup(file.fileno()), "rb")
        _open.add(found)
        return found

    def private(self) -> _Mapped:
        """A writable mapping of the same file; writes stay in this process."""
        return _Mapped(self._file, len(self), mmap.ACCESS_COPY)


def mapped(file: BinaryIO, length: int = 0) -> bytes:
    """A file of at least one byte, as a mapping.

    Args:
        length: bytes from its start; 0: all of it.

    Raises:
        OSError, ValueError: it cannot be mapped.
    """
    return cast(bytes, _Mapped(file, length))


def is_mapped(data: bytes) -> bool:
    return isinstance(data, mmap.mmap)


def release() -> None:
    """Unmap what only objects refer to that nobody refers to but each other, as those of pefile do.

    A file that is mapped cannot be deleted on Windows, and takes its space elsewhere until it is
    unmapped, which a process that waits for its next file would not do by itself.
    """
    if _open:
        gc.collect()


def with_zeros(data: bytes, ranges: list[tuple[int, int]]) -> bytes:
    """A mapped file whose bytes in `ranges` are zero; only their pages take memory."""
    copy: Any = cast(_Mapped, data).private()
    for start, end in ranges:
        copy[start:end] = bytes(end - start)
    return cast(bytes, copy)
