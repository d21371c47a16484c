"""Cross-validation: every sample is predicted by a net that had not seen it.

The folder of a cross-validation is that of the net that ships, trained on every sample, and
holds besides `fold-<i>/`, the run that held fold i back, and out-of-fold.csv, what those nets
said of the samples they had not seen. From that come the temperature and the figures in the
card. Folds are runs of their own: several processes may train different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from maltriage.corpus.splits import SplitFile
from maltriage.errors import MaltriageError
from maltriage.learn.fit.loop import Tick
from maltriage.learn.runs.options import RunOptions
from maltriage.learn.runs.train import Calibration, Outcome, train


@dataclass(frozen=True)
class FoldTick:
    """How far a cross-validation is: `run` is the fold under way, or the number of folds
    while the net on every sample is trained."""

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
    """Train the run of a cross-validation that holds one fold back, if it is not there yet."""
    part = replace(options, folder=fold_folder(options.folder, fold), fold=fold)
    return train(corpus, part, progress=_at(fold, options.folds, progress), stop=stop)


def cross_validate(
    corpus: Corpus,
    options: RunOptions,
    *,
    progress: Callable[[FoldTick], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Train what is missing of all folds, then the net on every sample.

    Args:
        corpus: with the views of `views_for(options.fit)`.
        options: of the whole, with `folds` of 2 or more and no `fold`.
        progress: told after each step.
        stop: asked after each step; once true, the run under way is saved and all ends.

    Returns:
        Of the net on every sample; of the run that was interrupted, without a bundle.

    Raises:
        MaltriageError: see `train`.
    """
    parts, divided = [], []
    for fold in range(options.folds):
        outcome = train_fold(corpus, options, fold, progress=progress, stop=stop)
        if outcome.bundle is None:
            return outcome
        parts.append(load_predictions(outcome.bundle.parent / PREDICTIONS_FILE))
        divided.append(outcome.divided)
    found = join(parts)
    try:
        save_predictions(found, options.folder / OUT_OF_FOLD_FILE)
    except OSError as error:
        raise MaltriageError(f"cannot write run {options.folder}: {error}") from error
    return train(
        corpus,
        replace(options, fold=None),
        calibration=calibration(found, divided),
        progress=_at(options.folds, options.folds, progress),
        stop=stop,
    )


def calibration(found: Predictions, divided: Sequence[SplitFile]) -> Calibration:
    """Temperature and figures of out-of-fold predictions, with the twins that the splits of
    their folds count.

    The calibration error is that of temperatures fitted to the other folds: the one in the
    card, fitted to all, would be measured on what it was fitted to. Accuracy and macro-F1
    are of the dataset alone, without the clean files that were added.
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
            "out_of_fold_ece": metrics.fold_calibration_error(
                found.logits, found.truth, found.fold
            ),
        },
    )


def _at(
    run: int, folds: int, progress: Callable[[FoldTick], None] | None
) -> Callable[[Tick], None] | None:
    return None if progress is None else lambda tick: progress(FoldTick(run, folds, tick))
