"""Opens files that the user named, which may be pipes or devices."""

from __future__ import annotations

import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from maltriage.errors import MaltriageError


def open_regular(path: Path | str) -> BufferedReader:
    """Open a file to read it.

    Raises:
        MaltriageError: it is no regular file.
        OSError: it cannot be opened.
    """
    # Without O_NONBLOCK, opening a FIFO that nobody writes to would hang.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    number = os.open(path, flags)
    try:
        file = open(number, "rb")  # noqa: SIM115 (the caller closes it)
    except OSError:  # a folder
        os.close(number)
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise MaltriageError(f"{path}: no regular file")
    return file


def digest_of(path: Path | str, what: str) -> str:
    """SHA-256 of a file, in hex.

    Args:
        what: the file is, for the error.

    Raises:
        MaltriageError: it is no regular file, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MaltriageError(f"cannot read {what} {path}: {error.strerror}") from error
