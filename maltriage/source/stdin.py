"""Standard input as a file called `-`: in memory that workers share, never on the disk."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import BinaryIO

STDIN = "-"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Stdin:
    """Bytes read from standard input: `size` of them, in shared memory called `name`."""

    name: str
    size: int


_held: tuple[Stdin, SharedMemory | None] | None = None
"""In a worker: standard input and its memory, unless that is gone already."""


@contextmanager
def read_stdin(stream: BinaryIO, max_size: int) -> Iterator[Stdin]:
    """Read all of `stream`, or one byte more than `max_size`, into memory for workers.

    Raises:
        OSError: there is no memory for it.
    """
    data = bytearray()
    while len(data) <= max_size and (piece := stream.read(min(_PIECE, max_size + 1 - len(data)))):
        data += piece
    memory = SharedMemory(create=True, size=max(1, len(data)))
    try:
        _take_all(memory)
        assert memory.buf is not None
        memory.buf[: len(data)] = data
        held = Stdin(memory.name, len(data))
        del data
        yield held
    finally:
        memory.close()
        memory.unlink()


def _take_all(memory: SharedMemory) -> None:
    """Take the pages now: a container has 64 MiB of them by default, and what is written beyond
    them ends the process by SIGBUS.

    Raises:
        OSError: there are fewer.
    """
    descriptor = getattr(memory, "_fd", -1)  # Windows has none
    if descriptor >= 0 and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, memory.size)


def hold(stdin: Stdin | None) -> None:
    """In a worker: set standard input, before the sandbox allows only reads."""
    global _held  # noqa: PLW0603 - given once, when a worker starts
    _held = None
    if stdin is not None:
        memory = None
        with suppress(OSError):  # the scan has ended
            memory = SharedMemory(stdin.name)
        _held = stdin, memory


def open_stdin() -> BinaryIO | None:
    """Standard input; None where it was not read.

    Raises:
        OSError: the process that read it is gone.
    """
    if _held is None:
        return None
    stdin, memory = _held
    if memory is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    assert memory.buf is not None
    return io.BytesIO(memory.buf[: stdin.size])
