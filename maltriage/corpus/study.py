"""A study: cells of nets, seeds and folds in one folder, which several processes may share.

`<out>/<net>/seed-<s>/fold-<i>/` is the run that holds fold i back (without folds the run is
`<out>/<net>/seed-<s>/`). A process locks its cell's file in `<out>/locks/`; the system
releases the lock when the process ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maltriage.corpus.predictions import fold_folder

LOCKS = "locks"


@dataclass(frozen=True, order=True)
class Cell:
    """One run: a net, a seed and the fold held back (None: a test part)."""

    net: str
    seed: int
    fold: int | None

    def __str__(self) -> str:
        where = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.net}, seed {self.seed}{where}"

    def study(self, out: Path) -> Path:
        """Folder of the cell's cross-validation; without folds, of the run."""
        return out / self.net / f"seed-{self.seed}"

    def folder(self, out: Path) -> Path:
        """Folder of the run."""
        study = self.study(out)
        return study if self.fold is None else fold_folder(study, self.fold)

    def bundle(self, out: Path) -> Path:
        """The bundle, which a run writes last: a cell that has it is finished."""
        return self.folder(out) / f"{self.net}.onnx"

    def lock(self, out: Path) -> Path:
        """The file that a process locks while it works on the cell."""
        where = "" if self.fold is None else f"-fold-{self.fold}"
        return out / LOCKS / f"{self.net}-seed-{self.seed}{where}.lock"
