"""Files and folders that are whole or not there: written under another name, then renamed.

The other name lies in the same folder and ends in `PART`. An error or Ctrl-C removes what was
written; a process that is killed leaves it, and whoever writes that file a day later removes it.
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

from maltriage.files.private import PRIVATE, make_private

PART = ".part"
"""Ends the name of what is not whole yet."""
LEFTOVER_SECONDS = 24 * 3600.0
"""A part to which nothing was written for so long is of a process that was killed."""
_TOKEN = r"\.[0-9a-f]{16}(?:[0-9a-f]{16})?"  # 32 digits: of earlier versions
_NO_FSYNC = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP))
"""What file systems answer that cannot be asked to put a file on the disk."""


def part_pattern(names: str) -> str:
    """Regular expression of the parts of what has a name like `names`, itself one."""
    return f"(?:{names}){_TOKEN}{re.escape(PART)}"


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART}")


def remove_leftovers(folder: Path, names: str, seconds: float = LEFTOVER_SECONDS) -> None:
    """Remove parts that nobody writes to any more.

    Args:
        names: regular expression of their whole names.
        seconds: since something was last written to one.
    """
    before = time.time() - seconds
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if re.fullmatch(names, path.name)]:
            with contextlib.suppress(OSError):  # somebody else removes it, too
                if path.is_dir():
                    if max(one.stat().st_mtime for one in (path, *path.iterdir())) < before:
                        shutil.rmtree(path, ignore_errors=True)
                elif path.stat().st_mtime < before:
                    path.unlink()


class PartFile:
    """A file under another name, until `commit` gives it its own.

    Args:
        path: of the file; one that is there stays as it is until then.
        numbered: it is called `NAME.part`, which a user is told of, or `NAME.2.part` and so on
            where that is taken. What a killed process left under such a name is never removed.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, *, numbered: bool = False) -> None:
        self.path, self.part, self._whole = path, _part_of(path), False
        if not numbered:
            remove_leftovers(path.parent, part_pattern(re.escape(path.name)))
            self.stream: BinaryIO = self.part.open("xb")
            return
        for number in count(1):
            middle = "" if number == 1 else f".{number}"
            self.part = path.with_name(f"{path.name}{middle}{PART}")
            with contextlib.suppress(FileExistsError):  # of one that was killed, or still writes
                self.stream = self.part.open("xb")
                return

    def commit(self, *, sync: bool = False) -> None:
        """Close the file and give it its name.

        Args:
            sync: wait until it is on the disk, so that a power cut leaves the old or the new one.

        Raises:
            OSError: the disk is full, say. `discard` is still to be called then.
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

    def close(self) -> None:
        """Write no more; a full disk refuses the last bytes as well, which is no news."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.close()

    def discard(self) -> None:
        """Remove the file, if it has no name yet."""
        self.close()
        if not self._whole:  # somebody else's may have the other name by now
            with contextlib.suppress(OSError):
                self.part.unlink(missing_ok=True)


@contextmanager
def replace_file(path: Path, *, sync: bool = False) -> Iterator[BinaryIO]:
    """Write a file: it has its name once the block has ended well.

    Args:
        sync: see `PartFile.commit`.

    Yields:
        A binary stream.

    Raises:
        OSError: it cannot be written; one that was there stays.
    """
    file = PartFile(path)
    try:
        yield file.stream
        file.commit(sync=sync)
    finally:
        file.discard()  # nothing where it has its name


@contextmanager
def replace_text(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """As `replace_file`, of text in UTF-8 whose line ends are written as they are given."""
    with replace_file(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors=errors, newline="")
        yield text
        text.detach()


def write_file(path: Path, data: bytes) -> None:
    """As `replace_file`, of bytes that are there already."""
    with replace_file(path) as stream:
        stream.write(data)


class PartFolder:
    """A folder under another name, until `commit` gives it its own; for its owner alone.

    Use as a context manager: what has no name at the end of the block is removed.

    Args:
        path: of the folder; those that it lies in are made.

    Raises:
        OSError: it cannot be made, or others may write to the folder that it lies in.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, _part_of(path)
        make_private(path.parent)
        self.part.mkdir(mode=PRIVATE)

    def commit(self) -> bool:
        """Whether the folder took its name; False where it cannot: another is there already."""
        with contextlib.suppress(OSError):
            self.part.rename(self.path)
            return True
        return False

    def discard(self) -> None:
        """Remove what has no name yet."""
        shutil.rmtree(self.part, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()
