"""Cross-validation: every sample is predicted out of fold.

The folder of a cross-validation is that of the net that ships, trained on every sample. It also
has `fold-<i>/`, the run that held fold i back, and out-of-fold.csv, the predictions of the fold
nets on their held-back samples, which give the temperature and the figures in the card. Folds are
separate runs: several processes may train different ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from maltriage import metrics
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.predictions import (
    OUT_OF_FOLD_FILE,
    PREDICTIONS_FILE,
    Predictions,
    fold_folder,
    join,
    load_predictions,
    save_predictions,
)
from maltriage.corpus.split_file import SplitFile
from maltriage.errors import MaltriageError
from maltriage.files.lock import locked
from maltriage.learn.fit.loop import Tick
from maltriage.learn.runs.options import RunOptions
from maltriage.learn.runs.run_folder import LOCK, BusyError
from maltriage.learn.runs.train import Calibration, Outcome, check_begun, train

WAIT = 0.5
"""Seconds between looks at runs that other processes train."""


@dataclass(frozen=True)
class FoldTick:
    """Progress of a cross-validation: `run` is the current fold, or the number of folds while
    the net on every sample is trained."""

    run: int
    folds: int
    tick: Tick


def train_fold(
    corpus: Corpus,
    options: RunOptions,
    fold: int,
    *,
    progress: Callable[[FoldTick], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Train the run of a cross-validation that holds one fold back, unless it exists.

    Raises:
        MaltriageError: see `train`; also, before any training, if the folder has the run of another
            net on every sample.
    """
    check_begun(corpus, replace(options, fold=None))
    return _train_fold(corpus, options, fold, progress, stop)


def _train_fold(
    corpus: Corpus,
    options: RunOptions,
    fold: int,
    progress: Callable[[FoldTick], None] | None,
    stop: Callable[[], bool] | None,
) -> Outcome:
    part = _of_fold(options, fold)
    return train(corpus, part, progress=_at(fold, options.folds, progress), stop=stop)


def _of_fold(options: RunOptions, fold: int) -> RunOptions:
    return replace(options, folder=fold_folder(options.folder, fold), fold=fold)


def cross_validate(
    corpus: Corpus,
    options: RunOptions,
    *,
    progress: Callable[[FoldTick], None] | None = None,
    waiting: Callable[[int], None] = lambda fold: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome | None:
    """Train the missing folds, then the net on every sample.

    What another process trains is waited for once nothing else is left, and trained here if that
    process dies.

    Args:
        corpus: with the views of `views_for(options.fit)`.
        options: with `folds` of 2 or more and no `fold`.
        progress: called after each step.
        waiting: called with a fold that another process trains when nothing else is left, or with
            the number of folds if that is the net on every sample.
        stop: called after each step and while it waits; once true, the current run is saved and
            all ends.

    Returns:
        The outcome of the net on every sample; after an interruption, that of the interrupted
        run, without a bundle, or None if it was a wait that was interrupted.

    Raises:
        MaltriageError: see `train`; also, before any training, if the folder has runs that cannot
            be gone on with.
    """
    for run in (replace(options, fold=None), *(_of_fold(options, i) for i in range(options.folds))):
        check_begun(corpus, run)
    done = dict[int, Outcome]()
    while left := [fold for fold in range(options.folds) if fold not in done]:
        free = [fold for fold in left if not _busy(_of_fold(options, fold))]
        for fold in free[:1]:
            with suppress(BusyError):  # another process was faster
                done[fold] = _train_fold(corpus, options, fold, progress, stop)
                if done[fold].bundle is None:
                    return done[fold]
        if not free:
            waiting(left[0])
            if stop():
                return None
            time.sleep(WAIT)
    parts, divided = [], []
    for _, outcome in sorted(done.items()):
        assert outcome.bundle is not None
        parts.append(load_predictions(outcome.bundle.parent / PREDICTIONS_FILE))
        divided.append(outcome.divided)
    found = join(parts)
    try:
        save_predictions(found, options.folder / OUT_OF_FOLD_FILE)
    except OSError as error:
        raise MaltriageError(f"cannot write run {options.folder}: {error}") from error
    whole = replace(options, fold=None)
    while True:
        with suppress(BusyError):
            if not _busy(whole):
                return train(
                    corpus,
                    whole,
                    calibration=calibration(found, divided),
                    progress=_at(options.folds, options.folds, progress),
                    stop=stop,
                )
        waiting(options.folds)
        if stop():
            return None
        time.sleep(WAIT)


def _busy(options: RunOptions) -> bool:
    """Whether another process trains a run now: `train` finds that out after its preparation."""
    lock = options.folder / LOCK
    if not lock.exists():
        return False
    with locked(lock) as held:
        return not held


def calibration(found: Predictions, divided: Sequence[SplitFile]) -> Calibration:
    """Temperature and figures of out-of-fold predictions, with the near duplicates counted by
    the splits of their folds.

    The calibration error uses temperatures fitted to the other folds: the card's, fitted to all,
    would be measured on its own data. All figures leave out added clean files.
    """
    own = found.take(~found.added)
    guess = own.logits.argmax(axis=1)
    temperature = metrics.temperature(found.logits, found.truth)
    assert temperature is not None
    return Calibration(
        temperature=temperature,
        calibrated_on=f"out-of-fold predictions of {len(found)} samples in {found.folds} folds",
        metrics={
            "out_of_fold_accuracy": metrics.accuracy(own.truth, guess),
            "out_of_fold_macro_f1": metrics.macro_f1(own.truth, guess, len(own.labels)),
            "out_of_fold_samples": float(len(own)),
            "out_of_fold_duplicates": float(sum(split.duplicates for split in divided)),
            "out_of_fold_near_twins": float(sum(split.leaks for split in divided)),
            "out_of_fold_ece": metrics.fold_calibration_error(own.logits, own.truth, own.fold),
        },
    )


def _at(
    run: int, folds: int, progress: Callable[[FoldTick], None] | None
) -> Callable[[Tick], None] | None:
    return None if progress is None else lambda tick: progress(FoldTick(run, folds, tick))
