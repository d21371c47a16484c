"""Measures recipes by their out-of-fold predictions, and compares them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maltriage import metrics
from maltriage.assess.verdicts import quality
from maltriage.assess.verdicts.conformal import coverage_of
from maltriage.bundle import BENIGN
from maltriage.corpus.predictions import Predictions, fold_folder
from maltriage.corpus.split_file import SPLIT_FILE, load
from maltriage.errors import MaltriageError
from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import (
    Difference,
    FoldFigures,
    FoldReport,
    LabelSpread,
    RecipeFigures,
    SetFigures,
)


def assess_folds(
    runs: Sequence[Predictions],
    *,
    added: bool = False,
    test_share: float | None = None,
    coverage: float | None = None,
) -> FoldReport:
    """Figures of each recipe, and differences of the first from every other.

    Args:
        runs: of any number of recipes; runs of one name are its seeds. Recipes are compared on
            common seeds.
        added: count clean files added to the dataset too; without them all recipes are measured
            on the same samples.
        test_share: test samples / training samples, needed for predictions of a single split; see
            `training_share`.
        coverage: of prediction sets, measured on all predictions, added files included, like the
            scores in a card; None: not measured.

    Returns:
        The report; recipes with fewer than two folds of common seeds have no difference. Folds
        that several seeds share count once, with the mean of their figures.

    Raises:
        MaltriageError: other samples or folds under the same seed, a seed given twice, one split
            without `test_share`, or a single fold with `coverage`.
    """
    recipes: dict[str, dict[int, Predictions]] = {}
    for run in runs:
        if missing := sorted(set(range(run.folds)) - set(_folds(run))):
            raise MaltriageError(f"{run.recipe}, seed {run.seed}: no samples in fold {missing[0]}")
        kept = run if added else run.take(~run.added)
        if not len(kept):
            raise MaltriageError(f"{run.recipe}, seed {run.seed}: no samples of the dataset")
        if recipes.setdefault(run.recipe, {}).setdefault(run.seed, kept) is not kept:
            raise MaltriageError(f"{run.recipe}, seed {run.seed}: given twice")
    names = list(recipes)
    first = names[0]
    compared = [
        _difference(first, recipes[first], name, recipes[name], test_share) for name in names[1:]
    ]
    sets: dict[str, list[SetFigures]] = {}
    if coverage is not None:
        for run in runs:
            sets.setdefault(run.recipe, []).append(coverage_of(run, coverage))
    return FoldReport(
        recipes=[_recipe(name, recipes[name], sets.get(name, [])) for name in names],
        differences=[difference for difference in compared if difference is not None],
    )


def _folds(run: Predictions) -> list[int]:
    """The folds with samples that count: one may have clean files alone that were added."""
    return [int(fold) for fold in np.unique(run.fold)]


def _by_fold(run: Predictions) -> list[FoldFigures]:
    guess = run.logits.argmax(axis=1)
    rows = []
    for fold in _folds(run):
        at = run.fold == fold
        rows.append(
            FoldFigures(
                seed=run.seed,
                fold=fold,
                samples=int(at.sum()),
                accuracy=metrics.accuracy(run.truth[at], guess[at]),
                macro_f1=metrics.macro_f1(run.truth[at], guess[at], len(run.labels)),
            )
        )
    return rows


def _recipe(name: str, seeds: dict[int, Predictions], sets: list[SetFigures]) -> RecipeFigures:
    runs = list(seeds.values())
    labels = runs[0].labels
    if any(run.labels != labels for run in runs):
        raise MaltriageError(f"{name}: other labels in another seed")
    folds = [row for run in runs for row in _by_fold(run)]
    matrices = [
        metrics.confusion(run.truth, run.logits.argmax(axis=1), len(labels)) for run in runs
    ]
    figures = [quality.label_figures(matrix, labels) for matrix in matrices]
    plain, scaled, truth = _together(runs)
    guess = plain.argmax(axis=2)
    detection = curves = None
    if BENIGN in labels:
        benign = labels.index(BENIGN)
        scores = metrics.margins(plain.reshape(-1, len(labels)), benign).reshape(truth.shape)
        curves = quality.detection(scores, truth != benign)
        areas = [metrics.auc(metrics.margins(r.logits, benign), r.truth != benign) for r in runs]
        detection = quality.spread(areas)
    return RecipeFigures(
        recipe=name,
        samples=len(runs[0]),
        seeds=sorted(seeds),
        accuracy=quality.spread([row.accuracy for row in folds]),
        macro_f1=quality.spread([row.macro_f1 for row in folds]),
        pooled_macro_f1=quality.spread(
            [metrics.macro_f1(run.truth, run.logits.argmax(axis=1), len(labels)) for run in runs]
        ),
        ece=quality.spread(
            [metrics.fold_calibration_error(r.logits, r.truth, r.fold) for r in runs]
        ),
        detection=detection,
        duplicates=max(run.duplicates for run in runs),
        folds=folds,
        labels=[
            LabelSpread(
                label=label,
                support=int(matrices[0][i].sum()),
                precision=quality.spread([f[i].precision for f in figures]),
                recall=quality.spread([f[i].recall for f in figures]),
                f1=quality.spread([f[i].f1 for f in figures]),
                f1_interval=quality.f1_interval(truth, guess, i),
            )
            for i, label in enumerate(labels)
        ],
        confusion=np.sum(matrices, axis=0).tolist(),
        reliability=quality.reliability(scaled, truth),
        detection_curves=curves,
        sets=sets,
    )


def _together(runs: Sequence[Predictions]) -> tuple[metrics.Floats, metrics.Floats, metrics.Ints]:
    """Raw logits, logits at the temperatures of the other folds, and the truth, of all seeds.

    Returns:
        [S, n, K], [S, n, K] and [S, n], with samples in one order for all seeds. If the seeds
        have different samples, their rows are concatenated and S is 1.
    """
    orders = [np.argsort(run.sha256, kind="stable") for run in runs]
    names = [
        tuple(zip(np.array(run.sha256)[at], run.truth[at].tolist(), strict=True))
        for run, at in zip(runs, orders, strict=True)
    ]
    plain = [run.logits[at] for run, at in zip(runs, orders, strict=True)]
    scaled = [
        metrics.fold_scaled(run.logits, run.truth, run.fold)[at]
        for run, at in zip(runs, orders, strict=True)
    ]
    truth = [run.truth[at] for run, at in zip(runs, orders, strict=True)]
    if any(other != names[0] for other in names):
        return (
            np.concatenate(plain)[None],
            np.concatenate(scaled)[None],
            np.concatenate(truth)[None],
        )
    return np.stack(plain), np.stack(scaled), np.stack(truth)


_Sample = tuple[str, int, str]


def _samples(run: Predictions) -> list[_Sample]:
    """Digest, fold and label of each sample, sorted."""
    names = [run.labels[label] for label in run.truth]
    return sorted(zip(run.sha256, run.fold.tolist(), names, strict=True))


def _first_other(ours: list[_Sample], theirs: list[_Sample]) -> str:
    """Where two lists of samples differ, in words."""
    alone = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    sample = min((*alone[0], *alone[1]))
    sha256, fold, label = sample
    which = "first" if sample in alone[0] else "second"
    return (
        f"{len(ours):,} and {len(theirs):,} samples; {sha256[:12]} of {label} in fold {fold} is"
        f" only in the {which}"
    )


def check_splits(paths: Sequence[Path]) -> None:
    """Raise MaltriageError if predictions are of splits of different kinds, which are no seeds of
    one study.

    Args:
        paths: of predictions; of those outside of a run nothing is known.
    """
    kinds: dict[str, Path] = {}
    for path in paths:
        split = fold_folder(path.parent, 0) / SPLIT_FILE
        if split.is_file():
            kinds.setdefault(load(split).kind, path)
    if len(kinds) > 1:
        said = ", ".join(f"{path} ({kind})" for kind, path in kinds.items())
        raise MaltriageError(f"predictions of different splits: {said}")


def training_share(path: Path, found: Predictions) -> float | None:
    """Test samples / training samples, the mean over the folds, by the splits of a run.

    Args:
        path: of the predictions in the folder of a cross-validation.

    Returns:
        None where the folder of a fold has no split: the folds then count as equal parts, all
        others of which were trained on.
    """
    shares = []
    for fold in range(found.folds):
        split = fold_folder(path.parent, fold) / SPLIT_FILE
        if not split.is_file():
            return None
        parts = load(split).parts
        shares.append(float((parts == "test").sum() / max(1, (parts == "train").sum())))
    return float(np.mean(shares))


def _with_equal_folds(runs: Sequence[Predictions]) -> list[list[int]]:
    """Numbers of the folds of all runs, one after the other, that hold the same files back.

    Further seeds on the same folds are no further draws of files: counted as such they would make
    an interval narrower, as often as one likes. Of single splits each seed is by itself, since
    there is nothing else to take an interval over.
    """
    found: dict[object, list[int]] = {}
    count = 0
    for seed, run in enumerate(runs):
        folds = _folds(run)
        files = seed if len(folds) < 2 else tuple(_samples(run))
        for fold in folds:
            found.setdefault((files, fold), []).append(count)
            count += 1
    return list(found.values())


def _difference(
    first: str,
    a: dict[int, Predictions],
    second: str,
    b: dict[int, Predictions],
    test_share: float | None,
) -> Difference | None:
    shared = sorted(set(a) & set(b))
    if not shared:
        raise MaltriageError(f"{first} and {second} have no seed in common")
    for seed in shared:
        samples = _samples(a[seed]), _samples(b[seed])
        if samples[0] != samples[1]:
            raise MaltriageError(
                f"{first} and {second}: other samples, labels or folds under seed {seed}:"
                f" {_first_other(*samples)}"
            )
    ours, theirs = ([row for seed in shared for row in _by_fold(runs[seed])] for runs in (a, b))
    if len(ours) < 2:
        return None
    if test_share is not None:
        share = test_share
    elif any(run.folds < 2 for run in a.values()):
        raise MaltriageError(f"{first} and {second}: one split of unknown training share")
    else:
        share = float(np.mean([row.samples / (len(a[row.seed]) - row.samples) for row in ours]))

    alike = _with_equal_folds([a[seed] for seed in shared])

    def paired(figure: str) -> Interval:
        first, second = (
            np.array([np.mean([getattr(rows[i], figure) for i in at]) for at in alike])
            for rows in (ours, theirs)
        )
        return metrics.paired_difference(first, second, share)

    return Difference(
        first=first,
        second=second,
        seeds=shared,
        accuracy=paired("accuracy"),
        macro_f1=paired("macro_f1"),
    )
