"""Trains nets for the open-set protocol, each without one family."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maltriage.corpus.corpus import Corpus
from maltriage.corpus.splits import check_folds
from maltriage.learn.runs.crossval import FoldTick, train_fold
from maltriage.learn.runs.options import RunOptions

FOLDS = 5
"""One of this many folds is held back, to have unseen files of known labels."""


@dataclass(frozen=True)
class Without:
    """A net trained without a label; `train` and `test` are rows of the corpus."""

    label: str
    bundle: Path
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def train_without(
    corpus: Corpus,
    labels: Sequence[str],
    options: RunOptions,
    *,
    progress: Callable[[str, FoldTick], None] = lambda label, tick: None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Without]:
    """Train a net without each label in turn; finished nets are not trained again.

    Args:
        corpus: with the views of `views_for(options.fit)`.
        labels: the labels to leave out.
        options: of all runs; the folder is their parent.
        progress: called after each step.
        stop: called after each step; once true, the current run is saved and all ends.

    Raises:
        MaltriageError: see `train`.
    """
    for label in labels:
        kept = corpus.label != corpus.labels.index(label)
        part, rows = corpus.take(kept), np.flatnonzero(kept)
        check_folds(part, options.split, options.split_seed, FOLDS)
        run = replace(options, folder=options.folder / _name(label), folds=FOLDS)

        def show(tick: FoldTick, label: str = label) -> None:
            progress(label, tick)

        outcome = train_fold(part, run, 0, progress=show, stop=stop)
        if outcome.bundle is None:
            return
        parts = outcome.divided.parts
        yield Without(label, outcome.bundle, rows[parts == "train"], rows[parts == "test"])


def _name(label: str) -> str:
    """The folder name of a label, which may have any characters."""
    return "without-" + re.sub(r"[^A-Za-z0-9._-]", lambda m: f"%{ord(m[0]):x}", label)
