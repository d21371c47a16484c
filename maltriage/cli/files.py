"""Result files: an input is never overwritten, and a result is complete or absent.

A file is written under another name in the same folder (`out.csv.part`) and renamed once it is
complete, so a reader sees the new result or the previous one. Devices and pipes are written
directly.
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
from maltriage.errors import MaltriageError, cannot_write
from maltriage.files.atomic import PartFile
from maltriage.files.hold import hold

_BLOCK = 1 << 16
_GRAY = (b"\0", b"\4")
"""Colour types of a PNG without colours, in its header."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]")
"""A URL as a path, in which two slashes have become one, on Windows a backslash."""


@dataclass(frozen=True)
class Output:
    """A stream for results: machine formats write bytes, screens write text."""

    binary: BinaryIO
    text: TextIO


def keep(read: Sequence[str], *outputs: Path | None) -> None:
    """Raise MaltriageError if an output is an input, a sample or a URL.

    Files that are not regular (`/dev/null`) are allowed: nothing in them could be lost.
    """
    for output in outputs:
        if output is None:
            continue
        refuse_url(output)
        if not output.is_file():
            continue
        for name in on_disk(read):
            if os.path.exists(name) and os.path.samefile(name, str(output)):
                raise MaltriageError(f"{output}: an input, which would be overwritten")
        refuse_sample(output)


def refuse_url(output: Path) -> None:
    """Raise MaltriageError if an output looks like a URL."""
    if looks_like_url(str(output)) and not output.parent.exists():
        raise MaltriageError(f"{output}: results go to local files, not to URLs")


def looks_like_url(path: str) -> bool:
    """Whether the text of a path is that of a URL; `C:\\x` is none, for it has one letter."""
    return _URL.match(path) is not None


def refuse_sample(path: Path) -> None:
    """Raise MaltriageError if a result would replace a sample: a file that begins like one.

    What maltriage writes itself may be replaced: an index (an archive of NumPy arrays), and a
    picture in colours, which no byteplot is.
    """
    from maltriage.source.archive.entries import HEAD_BYTES
    from maltriage.source.archive.kinds import kind_of
    from maltriage.source.decode import sniff

    if not path.is_file():
        return
    with suppress(OSError):  # opening it for writing gives the better message
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            archive = kind_of(file)
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        if head[:4] == b"PK\x03\x04" and first.endswith(b".npy"):
            return
        kind = sniff(str(path), head)
        if kind == "png" and head[25:26] not in _GRAY:
            return
        if kind or archive:
            raise MaltriageError(f"{path}: a sample, which would be overwritten")


class ResultFile:
    """A file under a temporary name, until `commit` renames it.

    Writing to `output` may raise OSError; the caller adds the name of the file.
    """

    def __init__(self, path: Path, *, partial: bool = False, append: bool = False) -> None:
        """Begin a file.

        Args:
            partial: whether a partial file is of use, so that `abandon` keeps it.
            append: write lines to the end of the file itself, under its own name.

        Raises:
            MaltriageError: the file cannot be written.
        """
        self.path, self._partial, self._append = path, partial, append
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
        if self._append:
            return _at_end(self.path)
        status = self.path.stat() if self.path.exists() else None
        if status is not None and not stat.S_ISREG(status.st_mode):
            return self.path.open("wb")  # a device or a pipe; a folder gives the error
        # A link stays a link: its target is replaced.
        target = Path(os.path.realpath(self.path))
        if status is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        self._file = PartFile(target, numbered=True)
        if status is not None:
            with suppress(OSError):
                self._file.part.chmod(stat.S_IMODE(status.st_mode))
        return self._file.stream

    def begin_anew(self) -> None:
        """Append to what has the name by now, in place of the file that was opened.

        Raises:
            MaltriageError: it cannot be opened; what was opened stays.
        """
        self._stream.flush()
        if not stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode):
            return
        try:
            with _at_end(self.path) as stream:
                os.dup2(stream.fileno(), self._stream.fileno(), inheritable=False)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    @property
    def part(self) -> Path | None:
        """The temporary name; None: a device, a pipe, or a file that is complete."""
        return None if self._file is None else self._file.part

    def commit(self) -> int | None:
        """Give the complete file its name.

        Returns:
            Its size in bytes; None: a device or a pipe.

        Raises:
            OSError: e.g. the disk is full. The caller then still calls `abandon`.
        """
        self._text.detach()
        if self._file is None:
            self._stream.flush()
            status = os.fstat(self._stream.fileno())
            self._stream.close()
            return status.st_size if self._append and stat.S_ISREG(status.st_mode) else None
        size = self._stream.tell()
        self._file.commit(sync=True)
        self._file = None
        return size

    def abandon(self) -> Path | None:
        """Give up an incomplete file: remove it, or keep it if it is of use.

        Returns:
            The name of the file if it was kept.
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


def _at_end(path: Path) -> BinaryIO:
    """A file to append lines to, which no other process of this kind appends to. A last line that
    was cut off, by a full disk or a kill, is removed: it is no record, and the next line would be
    none with it."""
    stream = path.open("ab+")
    if not stream.seekable():
        return stream
    try:
        hold(stream.fileno())
    except BlockingIOError as error:
        stream.close()
        raise OSError(errno.EWOULDBLOCK, "another scan --watch writes it") from error
    except OSError:  # a file system that knows no locks
        pass
    end = stream.seek(0, os.SEEK_END)
    whole = end
    while whole:
        start = max(0, whole - _BLOCK)
        stream.seek(start)
        block = stream.read(whole - start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            whole = start + newline + 1
            break
        whole = start
    if whole != end:
        stream.truncate(whole)
        stream.seek(0, os.SEEK_END)
    return stream


@contextmanager
def opened(path: Path | None) -> Iterator[Output]:
    """Open stdout, or a file that appears once the block has ended well.

    The command ends quietly if the reader of stdout goes away.

    Raises:
        MaltriageError: the file cannot be written, or the disk is full.
    """
    if path is None:
        with quiet_broken_pipe() as pipe:
            yield Output(sys.stdout.buffer, sys.stdout)
        if pipe.broken:
            raise typer.Exit(pipe.exit_code)
        return
    file = ResultFile(path)
    try:
        yield file.output
        file.commit()
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        file.abandon()  # does nothing if the file is complete
