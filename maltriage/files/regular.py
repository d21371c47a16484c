"""Opens files that the user named, which may be pipes or devices."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from maltriage.errors import MaltriageError


def open_regular(path: Path | str) -> BinaryIO:
    """Open a file to read it.

    Raises:
        MaltriageError: it is no regular file.
        OSError: it cannot be opened.
    """
    # Without O_NONBLOCK, opening a FIFO that nobody writes to would hang.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(path, flags), "rb")  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise MaltriageError(f"{path}: no regular file")
    return file
