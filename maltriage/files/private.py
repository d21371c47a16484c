"""Private folders for files kept between runs: results, prepared samples, lists of good files.

These files are trusted, so no other user may have written them, or a link to another place.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
PRIVATE = 0o700
"""Mode of a folder that only its owner may read."""


def trouble(folder: Path, *, of_root: bool = False) -> str | None:
    """The reason why a folder's files cannot be trusted; None: they can.

    Args:
        of_root: trust a folder of root as well, e.g. one that an administrator fills for all.

    Raises:
        OSError: there is no such folder.
    """
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "no folder"
    if sys.platform == "win32":  # where permissions are inherited from the user's own folder
        return None
    if status.st_uid not in ((os.geteuid(), 0) if of_root else (os.geteuid(),)):
        return "the folder belongs to another user"
    return "others may write to the folder" if status.st_mode & _OTHERS_WRITE else None


def make_private(folder: Path) -> None:
    """Make a folder for its owner alone; an existing one stays as it is.

    Raises:
        OSError: the folder cannot be made, is another user's, or others may write to it.
    """
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    wrong = trouble(folder)
    if wrong is not None:
        raise PermissionError(errno.EPERM, wrong, str(folder))
