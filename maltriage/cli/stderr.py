"""Standard error that cannot fail.

What is told there is no result: a reader that leaves, or a disk that is full, changes neither the
records nor the exit code.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Any, BinaryIO


class _Lossy(io.RawIOBase):
    """A stream that takes whatever the one below does not.

    Args:
        told: the stream in whose place it is, which closes the one below where nobody holds it.
    """

    name = "<stderr>"

    def __init__(self, told: io.TextIOWrapper) -> None:
        buffer: Any = told.buffer
        self._told = told
        self._below: BinaryIO = getattr(buffer, "raw", buffer)  # unbuffered it is raw

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        left = memoryview(data)
        with suppress(OSError, ValueError):  # or it was closed
            while left.nbytes and (written := self._below.write(left)):
                left = left[written:]
        return memoryview(data).nbytes

    def fileno(self) -> int:
        return self._below.fileno()

    def isatty(self) -> bool:
        return self._below.isatty()


def never_fail() -> None:
    """Put such a stream into the place of `sys.stderr`."""
    told = sys.stderr
    if isinstance(told, io.TextIOWrapper):
        lossy: Any = _Lossy(told)
        sys.stderr = io.TextIOWrapper(
            lossy if told.write_through else io.BufferedWriter(lossy),
            encoding=told.encoding,
            errors=told.errors,
            line_buffering=True,
            write_through=told.write_through,
        )
