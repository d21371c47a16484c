"""A study: cells of nets, seeds and folds in one folder, which several processes may share.

`<out>/<net>/seed-<s>/fold-<i>/` is the run that holds fold i back (without folds the run is
`<out>/<net>/seed-<s>/`). Whoever works on a cell holds its file in `<out>/locks/`; the system
gives it back when the process ends, however it ends.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from maltriage.corpus.predictions import fold_folder
from maltriage.errors import MaltriageError

LOCKS = "locks"


@dataclass(frozen=True, order=True)
class Cell:
    """One run: a net under one seed with one fold held back, or with a part (`fold` None)."""

    net: str
    seed: int
    fold: int | None

    def __str__(self) -> str:
        where = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.net}, seed {self.seed}{where}"

    def study(self, out: Path) -> Path:
        """Of the cross-validation that it is part of; without folds, of the run."""
        return out / self.net / f"seed-{self.seed}"

    def folder(self, out: Path) -> Path:
        """Of its run."""
        study = self.study(out)
        return study if self.fold is None else fold_folder(study, self.fold)

    def bundle(self, out: Path) -> Path:
        """The last thing that its run writes: a cell that has it is finished."""
        return self.folder(out) / f"{self.net}.onnx"

    def lock(self, out: Path) -> Path:
        """The file that whoever works on it holds."""
        where = "" if self.fold is None else f"-fold-{self.fold}"
        return out / LOCKS / f"{self.net}-seed-{self.seed}{where}.lock"


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a lock file for the time of the block, if nobody else does.

    The file stays: to remove it would let two processes hold two files of one name.

    Yields:
        Whether it is held.

    Raises:
        MaltriageError: the file cannot be made, or the file system knows no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise MaltriageError(f"cannot write {path}: {error.strerror}") from error
    with file:
        yield _hold(file, path)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _hold(file: BinaryIO, path: Path) -> bool:
    try:
        _lock(file)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise MaltriageError(f"cannot lock {path}: {error.strerror}") from error
    return True
