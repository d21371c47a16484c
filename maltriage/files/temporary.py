"""Temporary folders that are removed even where their process is killed.

A process holds its folder for as long as it lives. A killed one leaves a folder that nobody holds,
and the next process that makes one removes it a day later.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from maltriage.files.hold import hold, hold_leftover

PREFIX = "maltriage-"
_NAME = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}")


def make_folder(base: Path) -> Path:
    """Make a folder that no other process removes while this one lives.

    Leftovers of killed processes are removed from `base`. The caller removes the new folder.

    Raises:
        OSError: it cannot be made.
    """
    _remove_leftovers(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    with suppress(OSError):  # a file system that knows no locks: its age must do
        hold(os.open(folder, os.O_RDONLY))  # closed when the process ends
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder that `make_folder` made, in this process or in another; nothing else."""
    if _NAME.fullmatch(folder.name):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(base: Path) -> None:
    with suppress(OSError):
        for folder in [Path(base, name) for name in os.listdir(base) if _NAME.fullmatch(name)]:
            with suppress(OSError):
                descriptor = hold_leftover(folder, folder=True)
                try:
                    remove_folder(folder)
                finally:
                    os.close(descriptor)
