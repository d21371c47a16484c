"""Out-of-fold predictions: what nets said of samples that they had not been trained on.

A CSV file that any classifier can write, so that a net and a model of another kind are
compared on the same samples in the same folds.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maltriage.errors import MaltriageError
from maltriage.files.atomic import replace_text

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COLUMNS = ("recipe", "seed", "sha256", "label", "fold", "added")
"""Followed by a column for the logit of each label."""
PREDICTIONS_FILE = "predictions.csv"
"""In the folder of a run: what its net said of the samples it held back."""
OUT_OF_FOLD_FILE = "out-of-fold.csv"
"""In the folder of a cross-validation: those of all folds."""


def fold_folder(run: Path, fold: int | str) -> Path:
    """Where the run that holds a fold back lies in the folder of a cross-validation."""
    return run / f"fold-{fold}"


@dataclass(frozen=True)
class Predictions:
    """Logits of every sample of a corpus, each from the fold that held it back; rows agree."""

    recipe: str
    """What made them: the name of a net, of a model."""
    seed: int
    labels: tuple[str, ...]
    sha256: tuple[str, ...]
    truth: Integers
    """Index into `labels`, [n]."""
    fold: Integers
    """[n], from 0."""
    added: npt.NDArray[np.bool_]
    """Whether a sample is a clean file that was added to the dataset, [n]."""
    logits: Floats
    """Or any log-probabilities, [n, K]."""

    def __len__(self) -> int:
        return len(self.sha256)

    @property
    def folds(self) -> int:
        return int(self.fold.max(initial=-1)) + 1

    @property
    def duplicates(self) -> int:
        """How many samples have their very bytes in another fold."""
        folds = dict[str, set[int]]()
        for sha256, fold in zip(self.sha256, self.fold.tolist(), strict=True):
            folds.setdefault(sha256, set()).add(fold)
        return sum(len(folds[sha256]) > 1 for sha256 in self.sha256)

    def take(self, rows: npt.NDArray[np.bool_]) -> Predictions:
        """Those of some samples, by a mask [n]."""
        return Predictions(
            self.recipe,
            self.seed,
            self.labels,
            tuple(sha256 for sha256, kept in zip(self.sha256, rows, strict=True) if kept),
            self.truth[rows],
            self.fold[rows],
            self.added[rows],
            self.logits[rows],
        )


def join(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several folds of one recipe as one, in the order given."""
    first = parts[0]
    if any(part.labels != first.labels for part in parts):
        raise MaltriageError("predictions over different labels cannot be joined")
    return Predictions(
        first.recipe,
        first.seed,
        first.labels,
        tuple(sha256 for part in parts for sha256 in part.sha256),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.fold for part in parts]),
        np.concatenate([part.added for part in parts]),
        np.concatenate([part.logits for part in parts]),
    )


def save_predictions(found: Predictions, path: Path) -> None:
    """Write predictions as CSV, atomically."""
    with replace_text(path, errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, *found.labels))
        for i, sha256 in enumerate(found.sha256):
            row = (
                *(found.recipe, found.seed, sha256, found.labels[found.truth[i]]),
                *(int(found.fold[i]), int(found.added[i])),
            )
            writer.writerow((*row, *(f"{value:.7g}" for value in found.logits[i])))


def load_predictions(path: Path) -> Predictions:
    """Read predictions.

    Raises:
        MaltriageError: missing, not of this form, or damaged; says in which line.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, csv.Error) as error:
        raise MaltriageError(f"cannot read predictions {path}: {error}") from error
    labels = tuple(header[len(COLUMNS) :])
    if tuple(header[: len(COLUMNS)]) != COLUMNS or len(set(labels)) < max(2, len(labels)):
        raise MaltriageError(
            f"{path}: not predictions: the first line must name {', '.join(COLUMNS)}"
            " and two labels or more"
        )
    if not rows:
        raise MaltriageError(f"{path}: no predictions in it")
    place = {label: i for i, label in enumerate(labels)}
    truth, fold, added, logits = [], [], [], []
    for line, row in enumerate(rows, 2):
        try:
            if len(row) != len(header):
                raise ValueError(f"{len(row)} fields instead of {len(header)}")
            if row[:2] != rows[0][:2]:
                raise ValueError("another recipe or seed than in the lines before")
            values = [float(value) for value in row[len(COLUMNS) :]]
            if not all(map(math.isfinite, values)):
                raise ValueError("a logit that is no number")
            truth.append(place[row[3]])
            fold.append(int(row[4]))
            added.append(bool(int(row[5])))
            logits.append(values)
            if fold[-1] < 0:
                raise ValueError("a negative fold")
        except KeyError as error:
            raise MaltriageError(f"{path}: line {line}: no such label: {error}") from error
        except ValueError as error:
            raise MaltriageError(f"{path}: line {line}: {error}") from error
    try:
        seed = int(rows[0][1])
    except ValueError as error:
        raise MaltriageError(f"{path}: line 2: {error}") from error
    return Predictions(
        rows[0][0],
        seed,
        labels,
        tuple(row[2] for row in rows),
        np.array(truth, dtype=np.int64),
        np.array(fold, dtype=np.int64),
        np.array(added, dtype=np.bool_),
        np.array(logits, dtype=np.float64),
    )
