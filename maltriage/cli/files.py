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
from pathlib import Path
from typing import BinaryIO, TextIO

import typer

from maltriage.cli.console import quiet_broken_pipe
from maltriage.cli.urls import on_disk
from maltriage.errors import MaltriageError
from maltriage.files.atomic import PartFile

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
        self._file: PartFile | None = None
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
        target = Path(os.path.realpath(self.path))
        if status is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        self._file = PartFile(target, numbered=True)
        if status is not None:
            with suppress(OSError):
                self._file.part.chmod(stat.S_IMODE(status.st_mode))
        return self._file.stream

    @property
    def part(self) -> Path | None:
        """The name of the file while it is not whole; None: a device, a pipe, or it is whole."""
        return None if self._file is None else self._file.part

    def commit(self) -> None:
        """The file is whole: it takes its name.

        Raises:
            OSError: the disk is full, say. `abandon` is still to be called then.
        """
        self._text.detach()
        if self._file is None:
            self._stream.close()
        else:
            self._file.commit(sync=True)
            self._file = None

    def abandon(self) -> Path | None:
        """The file will not be whole. What there is of it is removed, or left where it is of use.

        Returns:
            What was left.
        """
        with suppress(OSError, ValueError):
            self._stream.close()
        if self._file is None:
            return None
        with suppress(OSError):
            if self._partial and self._file.part.stat().st_size:
                return self._file.part
        self._file.discard()
        return None


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
