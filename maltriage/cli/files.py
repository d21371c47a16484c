"""Files that results go to: never over an input, and never half of one under its own name.

A file is written under another name in the same folder (`out.csv.part`) and takes its own once it
is whole, so whoever looks sees the whole result or the one of last time. Devices and pipes are
written as they are.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO, TextIO

import typer

from maltriage.cli.console import quiet_broken_pipe
from maltriage.cli.urls import on_disk
from maltriage.errors import MaltriageError

_NO_FSYNC = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP))
"""What file systems answer that cannot be asked to put a file on the disk."""


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How a URL looks once it is a path, of which two slashes are one."""


@dataclass(frozen=True)
class Output:
    """Where results go: machine formats write bytes, screens write text."""

    binary: BinaryIO
    text: TextIO


def keep(read: Sequence[str], *outputs: Path | None) -> None:
    """Raise MaltriageError where results would be written over what is read, or over a sample, or
    to a URL.

    What is no regular file (`/dev/null`) holds nothing that could be lost.
    """
    for output in outputs:
        if output is None:
            continue
        refuse_url(output)
        if not output.is_file():
            continue
        for name in on_disk(read):
            if os.path.exists(name) and os.path.samefile(name, str(output)):
                raise MaltriageError(f"{output}: it would be written over while it is read")
        _refuse_sample(output)


def refuse_url(output: Path) -> None:
    """Raise MaltriageError where results would go to what the user took for a URL."""
    if _URL.match(str(output)) and not output.parent.exists():
        raise MaltriageError(f"{output}: results go to files of this machine, not to URLs")


def _refuse_sample(path: Path) -> None:
    """A folder may be named, and one of its files by mistake as the output."""
    from maltriage.source.archive.entries import HEAD_BYTES
    from maltriage.source.archive.kinds import archive_kind
    from maltriage.source.decode import sniff

    with suppress(OSError):  # opening it for writing says it better
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if sniff(str(path), head) or archive_kind(head):
            raise MaltriageError(f"{path}: it is a sample, and would be written over")


class ResultFile:
    """A file under another name, until `commit` renames it.

    What is written to `output` may raise OSError; it is for the caller to say of which file.
    """

    def __init__(self, path: Path, *, partial: bool = False) -> None:
        """Begin a file.

        Args:
            partial: whether half of it is of use, so that `abandon` leaves it.

        Raises:
            MaltriageError: it cannot be written.
        """
        self.path, self._partial = path, partial
        self.part: Path | None = None
        try:
            self._stream = self._begin()
        except OSError as error:
            raise cannot_write(path, error) from error
        self._text = io.TextIOWrapper(
            self._stream, encoding="utf-8", newline="\n", write_through=True
        )
        self.output = Output(self._stream, self._text)

    def _begin(self) -> BinaryIO:
        status = self.path.stat() if self.path.exists() else None
        if status is not None and not stat.S_ISREG(status.st_mode):
            return self.path.open("wb")  # a device, a pipe; of a folder the error
        # A link stays one: what it leads to is replaced.
        self._target = Path(os.path.realpath(self.path))
        if status is not None and not os.access(self._target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        for number in count(1):
            with suppress(FileExistsError):  # of a scan that was killed, or still runs
                part = part_of(self._target, number)
                stream = part.open("xb")
                break
        self.part = part
        if status is not None:
            with suppress(OSError):
                part.chmod(stat.S_IMODE(status.st_mode))
        return stream

    def commit(self) -> None:
        """The file is whole: it takes its name.

        Raises:
            OSError: the disk is full, say. `abandon` is still to be called then.
        """
        self._text.detach()
        self._stream.flush()
        if self.part is not None:
            try:
                os.fsync(self._stream.fileno())
            except OSError as error:
                if error.errno not in _NO_FSYNC:
                    raise
        self._stream.close()
        if self.part is not None:
            self.part.replace(self._target)
            self.part = None

    def abandon(self) -> Path | None:
        """The file will not be whole. What there is of it is removed, or left where it is of use.

        Returns:
            What was left.
        """
        with suppress(OSError, ValueError):
            self._stream.close()
        if self.part is None:
            return None
        with suppress(OSError):
            if self._partial and self.part.stat().st_size:
                return self.part
            self.part.unlink()
        return None


def part_of(path: Path, number: int = 1) -> Path:
    """The name that a file has until it is whole; `number` tells several of one file apart."""
    from maltriage.source.files import PART

    return path.with_name(f"{path.name}{'' if number == 1 else f'.{number}'}{PART}")


def cannot_write(path: Path, error: OSError) -> MaltriageError:
    return MaltriageError(f"cannot write {path}: {error.strerror or error}")


@contextmanager
def opened(path: Path | None) -> Iterator[Output]:
    """Results go to stdout, or to a file that is there once the block has ended well.

    A reader of stdout that goes away ends the command quietly.

    Raises:
        MaltriageError: the file cannot be written, or the disk is full.
    """
    if path is None:
        with quiet_broken_pipe() as pipe:
            yield Output(sys.stdout.buffer, sys.stdout)
        if pipe.broken:
            raise typer.Exit(0)
        return
    file = ResultFile(path)
    try:
        yield file.output
        file.commit()
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        file.abandon()  # nothing where it is whole
