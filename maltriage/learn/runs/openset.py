"""Nets for the open-set protocol: each is trained without one family."""

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
"""One fold of so many is held back, for files of known labels that the net had not seen."""


@dataclass(frozen=True)
class Without:
    """A net that was trained without a label; `train` and `test` are rows of the corpus."""

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
    """Train a net without each label in turn; those that are finished are not trained again.

    Args:
        corpus: with the views of `views_for(options.fit)`.
        labels: to leave out.
        options: of all runs; the folder is that of the whole.
        progress: told after each step.
        stop: asked after each step; once true, the run under way is saved and all ends.

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
    """Of a folder; labels come from folders or from a table, which may hold anything."""
    return "without-" + re.sub(r"[^A-Za-z0-9._-]", lambda m: f"%{ord(m[0]):x}", label)
