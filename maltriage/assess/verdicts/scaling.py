"""Fits the temperature of a bundle to labelled samples that were not in training.

A temperature fitted to training samples would measure memory. So there are two sources: the
out-of-fold predictions of the bundle's cross-validation, which list the training files by digest,
and the user's own labelled files. These are compared with that list, with the digest in the card,
and with the model's accuracy on held-back files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from maltriage import metrics
from maltriage.assess.verdicts.evaluate import log_probabilities
from maltriage.assess.verdicts.quality import reliability
from maltriage.bundle import Bundle, Card
from maltriage.corpus.predictions import Predictions, join, load_predictions
from maltriage.corpus.split_file import manifest_of
from maltriage.errors import MaltriageError
from maltriage.report import numbers
from maltriage.report.documents.calibration import IN_INDEX, TemperatureFigures
from maltriage.report.documents.record import Failed, Result, Skipped, path_fields
from maltriage.similar.index_file import files_beside
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan

MIN_LABELLED = 50
"""Fewest labelled samples for a temperature."""
_INDEXED = f"left out: {IN_INDEX}"
FOLDS = 5
"""Number of folds for files without folds."""


@dataclass(frozen=True)
class Labelled:
    """A bundle's predictions on labelled files, each file once."""

    found: Predictions
    left_out: int = 0
    in_index: int = 0
    """Files left out, since they are in the index of the bundle."""
    unknown_labels: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    trained: bool = False
    """True if these are exactly the training files of the card."""
    as_many: bool = False
    """True if they are as many as the training samples without added clean files."""


def held_back(path: Path, bundle: Bundle) -> Predictions:
    """Load a run's predictions and check them against the bundle to calibrate.

    Raises:
        MaltriageError: see `load_predictions`; or they are another net's, have other labels, or
            other samples than a cross-validated bundle was trained on.
    """
    found = load_predictions(path)
    training = bundle.card.training
    if found.recipe not in _recipes(bundle.card) or found.seed != training.seed:
        raise MaltriageError(
            f"{path}: predictions of {found.recipe}, seed {found.seed}, not of {bundle.card.name},"
            f" seed {training.seed}"
        )
    if found.labels != bundle.card.labels:
        raise MaltriageError(f"{path}: predictions over other labels than those of {bundle.path}")
    names = (found.labels[label] for label in found.truth)
    if training.folds and manifest_of(zip(found.sha256, names, strict=True)) != (
        training.manifest_sha256
    ):
        why = "the samples are not those it was trained on"
        if training.split not in ("grouped", "random"):  # by time the oldest are never tested
            why = f"folds by {training.split} leave samples out that it was trained on"
        raise MaltriageError(f"{path}: not the out-of-fold predictions of {bundle.path}: {why}")
    return found


def _recipes(card: Card) -> frozenset[str]:
    """Names of a net's predictions: its own, and those beside other precisions."""
    if card.quantization is None:
        return frozenset((card.name, f"{card.name} float32"))
    precision = card.quantization.precision
    name = card.name.removesuffix(f"-{precision}")
    return frozenset((card.name, name, f"{name} float32", f"{name} {precision}"))


def ask(
    samples: Sequence[tuple[str, str]],
    bundle: Bundle,
    options: ScanOptions,
    *,
    trained_on: frozenset[str] = frozenset(),
    changed: Callable[[Progress], None] = lambda progress: None,
) -> Labelled:
    """Scan labelled files the way that users scan, and keep the logits.

    Args:
        samples: pairs of path and label.
        trained_on: digests of training files; they are left out, and so are the files in the
            bundle's own index, which is usually of its training files.

    Raises:
        MaltriageError: nothing is left, or the index cannot be read.
    """
    card = bundle.card
    index = {label: i for i, label in enumerate(card.labels)}
    label_of = {path_fields(path)[0]: label for path, label in samples if label in index}
    unknown: dict[str, int] = {}
    for _, label in samples:
        if label not in index:
            unknown[label] = unknown.get(label, 0) + 1
    scanned = list[tuple[str, str]]()
    kept: dict[str, tuple[int, list[float]]] = {}
    indexed = files_beside(bundle) or frozenset[str]()
    left_out = in_index = 0
    unread = list[Failed | Skipped]()
    paths = [path for path, label in samples if label in index]
    for record in scan(paths, bundle, options, changed=changed) if paths else ():
        if isinstance(record, Result):
            label = label_of[record.path]
            scanned.append((record.sha256, label))
            if record.sha256 in trained_on:
                left_out += 1
            elif record.sha256 in indexed:
                in_index += 1
            else:
                kept.setdefault(record.sha256, (index[label], _logits(record, card)))
        elif isinstance(record, Failed | Skipped):
            unread.append(record)
    if not kept:
        why = "none has a label that the model knows"
        if in_index:
            why = f"{numbers.count(in_index, 'file')} {_INDEXED}"
        elif left_out:
            why = "all of them are among the samples of the predictions"
        elif unread:
            why = f"none could be read, the first: {unread[0].path}: {unread[0].reason}"
        raise MaltriageError(f"no labelled files to calibrate on: {why}")
    own = card.training.samples - card.training.goodware_samples
    return Labelled(
        Predictions(
            recipe=card.name,
            seed=card.training.seed,
            labels=card.labels,
            sha256=tuple(kept),
            truth=np.array([truth for truth, _ in kept.values()], dtype=np.int64),
            fold=np.array([int(sha256[:8], 16) % FOLDS for sha256 in kept], dtype=np.int64),
            added=np.zeros(len(kept), dtype=np.bool_),
            logits=np.array([logits for _, logits in kept.values()]),
        ),
        left_out,
        in_index,
        unknown,
        len(unread),
        manifest_of(scanned) == card.training.manifest_sha256,
        len(samples) == own,
    )


def _logits(record: Result, card: Card) -> list[float]:
    """Logits of a record up to a constant, which does not affect probabilities."""
    return [(card.temperature or 1.0) * value for value in log_probabilities(record, card)]


def fit(
    bundle: Bundle,
    predictions: Predictions | None,
    labelled: Labelled | None,
    name: str = "",
) -> tuple[TemperatureFigures, Predictions]:
    """Fit the temperature of a bundle, and measure its probabilities.

    Args:
        predictions: see `held_back`.
        labelled: see `ask`.
        name: of the labelled files, for the card.

    Returns:
        The figures, and their samples, a row each with its fold.

    Raises:
        MaltriageError: fewer than `MIN_LABELLED` samples, files of training, or samples that are
            all right or all wrong, which give no temperature.
    """
    warnings = list[str]()
    if labelled is not None:
        warnings = _known(bundle.card, labelled)
    parts = [] if predictions is None else [predictions]
    parts += [] if labelled is None else [labelled.found]
    found = join(parts)
    if len(found) < MIN_LABELLED:
        out = 0 if labelled is None else labelled.in_index
        more = f" ({numbers.count(out, 'more file')} {_INDEXED})" if out else ""
        raise MaltriageError(
            f"{len(found)} labelled samples: a temperature needs {MIN_LABELLED} or more{more}"
        )
    logits, truth = found.logits, found.truth
    right = logits.argmax(axis=1) == truth
    scale = metrics.temperature(logits, truth)
    assert scale is not None
    bound = 1.001
    if not metrics.MIN_TEMPERATURE * bound < scale < metrics.MAX_TEMPERATURE / bound:
        if right.all() or not right.any():
            why = "it needs samples that are right and samples that are wrong"
        else:
            bounds = f"{metrics.MIN_TEMPERATURE:g} to {metrics.MAX_TEMPERATURE:g}"
            wrong = "worse than equal ones" if scale > 1.0 else "too cautious"
            why = f"its probabilities are {wrong} at any from {bounds}"
        raise MaltriageError(
            f"the model is right on {int(right.sum())} of {len(found)} labelled samples and no"
            f" temperature follows from them: {why}"
        )
    fold = _folds(found)
    before = bundle.card.temperature
    was, now = logits / (before or 1.0), metrics.fold_scaled(logits, truth, fold)
    said = list[str]()
    if predictions is not None:
        said.append(
            f"out-of-fold predictions of {len(predictions)} samples in {predictions.folds} folds"
        )
    if labelled is not None:
        said.append(f"{len(labelled.found)} labelled files of {name}")
        said[-1] += " that may have been in training" if warnings else ""
    return TemperatureFigures(
        temperature=scale,
        before=before,
        on=" and ".join(said),
        samples=len(found),
        folds=len(np.unique(fold)),
        right=int(right.sum()),
        ece=reliability(now[None], truth[None]).ece,
        ece_before=reliability(was[None], truth[None]).ece,
        log_loss=metrics.log_loss(now, truth),
        log_loss_before=metrics.log_loss(was, truth),
        left_out=labelled.left_out if labelled else 0,
        in_index=labelled.in_index if labelled else 0,
        unknown_labels=labelled.unknown_labels if labelled else {},
        unreadable=labelled.unreadable if labelled else 0,
        warnings=warnings,
    ), replace(found, fold=fold)


def _folds(found: Predictions) -> metrics.Ints:
    """The folds of the samples; if there is only one, folds by digest."""
    if len(np.unique(found.fold)) > 1:
        return found.fold
    return np.array([int(sha256[:8], 16) % FOLDS for sha256 in found.sha256], dtype=np.int64)


def _known(card: Card, labelled: Labelled) -> list[str]:
    """Warnings about labelled files that the model seems to remember.

    Raises:
        MaltriageError: the labelled files are those of training.
    """
    lies = (
        "probabilities fitted to them would measure its memory; give the predictions of held-back"
        " samples (--predictions)"
    )
    if labelled.trained:
        raise MaltriageError(f"the model was trained on these labelled files: {lies}")
    told = card.metrics.get("out_of_fold_accuracy", card.metrics.get("test_accuracy"))
    found = labelled.found
    hits = int((found.logits.argmax(axis=1) == found.truth).sum())
    if told is None or metrics.clopper_pearson(hits, len(found)).low <= told:
        return []
    much = (
        f"right on {hits} of {len(found)} labelled files ({hits / len(found):.1%}), but on only"
        f" {told:.1%} of held-back files"
    )
    if labelled.as_many:
        raise MaltriageError(
            f"{much}, and they are as many as it was trained on, so they are training files; {lies}"
        )
    warning = (
        f"{much}: if the model was trained on some of them, its probabilities are now too sure;"
        " --predictions of its cross-validation leaves them out"
    )
    return [warning]
