"""Atomic files and folders: written under another name, then renamed.

The other name lies in the same folder and ends in `PART`. An error or Ctrl-C removes the unfinished
file; a killed process leaves it, and the next writer of that file a day later removes it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO, Self, TextIO

from maltriage.files.hold import LEFTOVER_SECONDS, hold, hold_leftover
from maltriage.files.private import PRIVATE, make_private

PART = ".part"
"""Ends the name of an unfinished file."""
_TOKEN = r"\.[0-9a-f]{16}(?:[0-9a-f]{16})?"  # 32 digits: of earlier versions
_NO_FSYNC = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP))
"""Errors of file systems that have no fsync."""


def part_pattern(names: str) -> str:
    """Regular expression of the unfinished files of a file whose name matches `names`."""
    return f"(?:{names}){_TOKEN}{re.escape(PART)}"


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART}")


def remove_leftovers(folder: Path, names: str, seconds: float = LEFTOVER_SECONDS) -> None:
    """Remove unfinished files that no process writes to any more.

    Args:
        names: regular expression of their whole names.
        seconds: since the last write to one.
    """
    before = time.time() - seconds
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if re.fullmatch(names, path.name)]:
            with contextlib.suppress(OSError):  # another process removes it, too
                if path.is_dir():
                    if max(one.stat().st_mtime for one in (path, *path.iterdir())) < before:
                        shutil.rmtree(path, ignore_errors=True)
                elif path.stat().st_mtime < before:
                    path.unlink()


def is_part_of(part: str, path: str) -> bool:
    """Whether a file has the name of a numbered part of another, and goes when that is whole."""
    return re.fullmatch(re.escape(path) + r"(\.\d+)?" + re.escape(PART), part) is not None


def _remove_numbered(path: Path) -> None:
    """Remove numbered parts that killed processes left of a file that is whole now."""
    with contextlib.suppress(OSError):
        for part in [part for part in path.parent.iterdir() if is_part_of(part.name, path.name)]:
            with contextlib.suppress(OSError):
                descriptor = hold_leftover(part)
                try:
                    part.unlink()
                finally:
                    os.close(descriptor)


class PartFile:
    """A file under another name, until `commit` gives it its own.

    Args:
        path: of the file; one that is there stays as it is until then.
        numbered: call it `NAME.part`, for a user to see, or `NAME.2.part` and so on where that
            is taken. What a killed process left under such a name stays until a day has passed
            and a whole file has the name.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, *, numbered: bool = False) -> None:
        self.path, self.part, self._whole = path, _part_of(path), False
        self._numbered = numbered
        if not numbered:
            remove_leftovers(path.parent, part_pattern(re.escape(path.name)))
            self.stream: BinaryIO = self.part.open("xb")
            return
        for number in count(1):
            middle = "" if number == 1 else f".{number}"
            self.part = path.with_name(f"{path.name}{middle}{PART}")
            with contextlib.suppress(FileExistsError):  # a process was killed, or still writes
                self.stream = self.part.open("xb")
                with contextlib.suppress(OSError):  # a file system that knows no locks
                    hold(self.stream.fileno())
                return

    def commit(self, *, sync: bool = False) -> None:
        """Close the file and give it its name.

        Args:
            sync: wait until the data is on the disk: a power cut leaves the old or the new file.

        Raises:
            OSError: e.g. the disk is full. Call `discard` then.
        """
        self.stream.flush()
        if sync:
            try:
                os.fsync(self.stream.fileno())
            except OSError as error:
                if error.errno not in _NO_FSYNC:
                    raise
        self.stream.close()
        self.part.replace(self.path)
        self._whole = True
        if self._numbered:
            _remove_numbered(self.path)

    def close(self) -> None:
        """Close the stream; an error, e.g. a full disk, is ignored."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.close()

    def discard(self) -> None:
        """Remove the file, unless it was committed."""
        self.close()
        if not self._whole:  # another process's file may have the other name by now
            with contextlib.suppress(OSError):
                self.part.unlink(missing_ok=True)


@contextmanager
def replace_file(path: Path, *, sync: bool = False) -> Iterator[BinaryIO]:
    """Write a file that gets its name when the block ends without an error.

    Args:
        sync: see `PartFile.commit`.

    Yields:
        A binary stream.

    Raises:
        OSError: the file cannot be written; an existing one stays.
    """
    file = PartFile(path)
    try:
        yield file.stream
        file.commit(sync=sync)
    finally:
        file.discard()  # does nothing after a commit


@contextmanager
def replace_text(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """As `replace_file`, for UTF-8 text; line ends are written as given."""
    with replace_file(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors=errors, newline="")
        yield text
        text.detach()


def write_file(path: Path, data: bytes) -> None:
    """As `replace_file`, for bytes in memory."""
    with replace_file(path) as stream:
        stream.write(data)


class PartFolder:
    """A folder under another name, until `commit` gives it its own; readable by its owner alone.

    A context manager: a folder that was not committed is removed at the end of the block.

    Args:
        path: of the folder; its parents are made.

    Raises:
        OSError: the folder cannot be made, or others may write to its parent.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, _part_of(path)
        make_private(path.parent)
        self.part.mkdir(mode=PRIVATE)

    def commit(self) -> bool:
        """Give the folder its name; False where that name exists already."""
        with contextlib.suppress(OSError):
            self.part.rename(self.path)
            return True
        return False

    def discard(self) -> None:
        """Remove the folder, if it was not committed."""
        shutil.rmtree(self.part, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()
