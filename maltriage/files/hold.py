"""Locks on open files and folders, held by the system for as long as a process has them open."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

LEFTOVER_SECONDS = 24 * 3600.0
"""What was not written to for this long, and is not held, belongs to a process that was killed."""


def hold(descriptor: int) -> None:
    """Lock an open file or folder, without waiting. Does nothing on Windows.

    Raises:
        OSError: another process holds it, or the file system knows no locks.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def hold_leftover(path: Path, *, folder: bool = False) -> int:
    """Open and lock what a killed process of this user left: a file, or a folder.

    Returns:
        A descriptor, for the caller to close.

    Raises:
        OSError: it is of another kind, another user's, or not old enough; a process holds it; or
            this is Windows, where nothing tells whose a file is.
    """
    if sys.platform == "win32":
        raise PermissionError(str(path))
    kind = os.O_DIRECTORY if folder else os.O_NONBLOCK  # a FIFO must not block
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | kind)
    try:
        status = os.fstat(descriptor)
        right = stat.S_ISDIR(status.st_mode) if folder else stat.S_ISREG(status.st_mode)
        old = status.st_mtime < time.time() - LEFTOVER_SECONDS
        if not (right and old and status.st_uid == os.geteuid()):
            raise PermissionError(str(path))
        hold(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
