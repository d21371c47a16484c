"""The folder of a run before its first checkpoint.

A run that was stopped that early left nothing to go on with, so it may begin again in the same
folder. Files that `train` did not write are never overwritten.
"""

from __future__ import annotations

import re
from pathlib import Path

from maltriage.corpus.predictions import fold_folder
from maltriage.corpus.split_file import SPLIT_FILE
from maltriage.errors import MaltriageError
from maltriage.files.atomic import part_pattern

LOCK = "run.lock"
"""Held while a process trains the run; the first file in its folder."""
CONFIG_FILE, ENVIRONMENT_FILE = "config.json", "environment.json"
GUIDE_FILE = "guide.npz"
_EARLY = frozenset((LOCK, SPLIT_FILE, CONFIG_FILE, ENVIRONMENT_FILE, GUIDE_FILE))
"""Files of a run that are written before its first checkpoint."""
_UNFINISHED = re.compile(part_pattern(".+"))
_FOLD = re.compile(re.escape(str(fold_folder(Path(), ""))) + r"\d+")


class BusyError(MaltriageError):
    """Another process trains the run."""


def is_free(folder: Path) -> bool:
    """Whether a run may begin in a folder: it is missing or empty, or holds nothing but what a run
    or runs of folds wrote before their first checkpoint.
    """
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    files, others = list[str](), list[Path]()
    for path in folder.iterdir():
        early = path.name in _EARLY or _UNFINISHED.fullmatch(path.name) is not None
        if early and path.is_file() and not path.is_symlink():
            files.append(path.name)
        else:
            others.append(path)
    if files and LOCK not in files:  # of somebody else, who calls a file config.json, say
        return False
    return all(
        _FOLD.fullmatch(path.name) is not None
        and path.is_dir()
        and not path.is_symlink()
        and is_free(path)
        for path in others
    )
