"""Out-of-fold predictions: logits of samples by nets that were not trained on them.

Any classifier can write the CSV file, so a net and a model of another kind can be compared
on the same samples in the same folds.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maltriage.bundle import MAX_LABELS
from maltriage.errors import MaltriageError
from maltriage.files.atomic import replace_text
from maltriage.metrics import Floats, Ints

COLUMNS = ("recipe", "seed", "sha256", "label", "fold", "added")
"""The first columns; the logits follow, a column for each label."""
PREDICTIONS_FILE = "predictions.csv"
"""In the folder of a run: the predictions of its held-back samples."""
VALIDATION_FILE = "validation.csv"
"""In the folder of a fold of a column: the predictions of its validation part."""
MAX_FOLDS = 100_000
MAX_LOGIT = 1e6
"""Of either sign; a net has tens, a log-probability of nearly nothing hundreds."""
_SHA256 = re.compile("[0-9a-fA-F]{64}")
OUT_OF_FOLD_FILE = "out-of-fold.csv"
"""In the folder of a cross-validation: the predictions of all folds."""


def fold_folder(run: Path, fold: int | str) -> Path:
    """The folder of a fold's run in the folder of a cross-validation."""
    return run / f"fold-{fold}"


@dataclass(frozen=True)
class Predictions:
    """Logits of the samples of a corpus, each by the net of the fold that held it back."""

    recipe: str
    """Name of the net or model."""
    seed: int
    labels: tuple[str, ...]
    sha256: tuple[str, ...]
    truth: Ints
    """Index into `labels`, [n]."""
    fold: Ints
    """[n], from 0."""
    added: npt.NDArray[np.bool_]
    """True for clean files added to the dataset, [n]."""
    logits: Floats
    """Logits or log-probabilities, [n, K]."""

    def __len__(self) -> int:
        return len(self.sha256)

    @property
    def folds(self) -> int:
        return int(self.fold.max(initial=-1)) + 1

    @property
    def duplicates(self) -> int:
        """Number of samples with an exact duplicate in another fold."""
        folds = dict[str, set[int]]()
        for sha256, fold in zip(self.sha256, self.fold.tolist(), strict=True):
            folds.setdefault(sha256, set()).add(fold)
        return sum(len(folds[sha256]) > 1 for sha256 in self.sha256)

    def take(self, rows: npt.NDArray[np.bool_]) -> Predictions:
        """The predictions of the samples in a mask [n]."""
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
    """The predictions of several folds of one recipe, concatenated in the order given."""
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


def _are_probabilities(values: Floats) -> bool:
    """Whether rows [n, K] are shares of one, as logits are only by a strange chance."""
    shares = ((values >= 0) & (values <= 1)).all()
    return bool(shares and np.allclose(values.sum(axis=1), 1.0, atol=1e-3))


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
        MaltriageError: the file is missing, damaged or of another form; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, csv.Error) as error:
        raise MaltriageError(f"cannot read predictions {path}: {error}") from error
    labels = tuple(header[len(COLUMNS) :])
    if tuple(header[: len(COLUMNS)]) != COLUMNS or len(set(labels)) < max(2, len(labels)):
        raise MaltriageError(
            f"{path}: not predictions: the first line must name {', '.join(COLUMNS)}"
            " and two labels or more"
        )
    if len(labels) > MAX_LABELS:
        raise MaltriageError(f"{path}: more than {MAX_LABELS:,} labels")
    if not rows:
        raise MaltriageError(f"{path}: no predictions in it")
    place = {label: i for i, label in enumerate(labels)}
    digests, truth, fold, added, logits = [], [], [], [], []
    for line, row in enumerate(rows, 2):
        try:
            if len(row) != len(header):
                raise ValueError(f"{len(row)} fields instead of {len(header)}")
            if row[:2] != rows[0][:2]:
                raise ValueError("recipe or seed differs from the lines before")
            values = [float(value) for value in row[len(COLUMNS) :]]
            if not all(abs(value) <= MAX_LOGIT for value in values):
                raise ValueError("a logit is not a number, or too large for one")
            if not _SHA256.fullmatch(row[2]):
                raise ValueError("the sha256 is not 64 hexadecimal digits")
            digests.append(row[2].lower())
            truth.append(place[row[3]])
            fold.append(int(row[4]))
            added.append(bool(int(row[5])))
            logits.append(values)
            if not 0 <= fold[-1] < MAX_FOLDS:
                raise ValueError(f"fold {fold[-1]}, not 0 to {MAX_FOLDS - 1}")
        except KeyError as error:
            raise MaltriageError(f"{path}: line {line}: no such label: {error}") from error
        except ValueError as error:
            raise MaltriageError(f"{path}: line {line}: {error}") from error
    if _are_probabilities(np.array(logits)):
        raise MaltriageError(
            f"{path}: probabilities, not logits: give their logarithms (of 0 that of 1e-6)"
        )
    try:
        seed = int(rows[0][1])
    except ValueError as error:
        raise MaltriageError(f"{path}: line 2: {error}") from error
    return Predictions(
        rows[0][0],
        seed,
        labels,
        tuple(digests),
        np.array(truth, dtype=np.int64),
        np.array(fold, dtype=np.int64),
        np.array(added, dtype=np.bool_),
        np.array(logits, dtype=np.float64),
    )
