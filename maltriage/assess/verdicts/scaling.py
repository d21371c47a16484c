"""The temperature of a bundle, from labelled samples that the nets had not learned from.

Fitted to samples that a net was trained on, a temperature says how sure it is of what it
remembers. So there are two sources: the out-of-fold predictions of the bundle's
cross-validation, which name the files of training by their digest, and labelled files of one's
own, which are held against that list, against the digest in the card, and against how often the
model was right on files that were held back.
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
from maltriage.corpus.splits import manifest_of
from maltriage.errors import MaltriageError
from maltriage.report.documents.calibration import TemperatureFigures
from maltriage.report.documents.record import Failed, Result, Skipped, path_fields
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan

MIN_LABELLED = 50
"""Labelled samples from which on a temperature is fitted: one number, but not out of nothing."""
FOLDS = 5
"""Into how many folds files are dealt that come without."""


@dataclass(frozen=True)
class Labelled:
    """What a bundle says of labelled files, each file once."""

    found: Predictions
    left_out: int = 0
    unknown_labels: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    trained: bool = False
    """Whether these are, file by file, what the card says that the model was trained on."""
    as_many: bool = False
    """Whether they are as many as the samples of training without added clean files."""


def held_back(path: Path, bundle: Bundle) -> Predictions:
    """Predictions that a run wrote, held against the bundle that they are to calibrate.

    Raises:
        MaltriageError: see `load_predictions`; or of other labels, or not of the samples that a
            cross-validated bundle was trained on.
    """
    found = load_predictions(path)
    training = bundle.card.training
    if found.labels != bundle.card.labels:
        raise MaltriageError(f"{path}: predictions over other labels than those of {bundle.path}")
    names = (found.labels[label] for label in found.truth)
    if training.folds and manifest_of(zip(found.sha256, names, strict=True)) != (
        training.manifest_sha256
    ):
        raise MaltriageError(
            f"{path}: not the out-of-fold predictions of {bundle.path}: they are of other samples"
            " than those it was trained on"
        )
    return found


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
        trained_on: digests of files that the model was trained on; they are left out.

    Raises:
        MaltriageError: nothing is left.
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
    left_out = 0
    unread = list[Failed | Skipped]()
    paths = [path for path, label in samples if label in index]
    for record in scan(paths, bundle, options, changed=changed) if paths else ():
        if isinstance(record, Result):
            label = label_of[record.path]
            scanned.append((record.sha256, label))
            if record.sha256 in trained_on:
                left_out += 1
            else:
                kept.setdefault(record.sha256, (index[label], _logits(record, card)))
        elif isinstance(record, Failed | Skipped):
            unread.append(record)
    if not kept:
        why = "there are none of labels that the model knows"
        if left_out:
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
        unknown,
        len(unread),
        manifest_of(scanned) == card.training.manifest_sha256,
        len(samples) == own,
    )


def _logits(record: Result, card: Card) -> list[float]:
    """Logits of a record up to a constant, which no probability depends on."""
    return [(card.temperature or 1.0) * value for value in log_probabilities(record, card)]


def fit(
    bundle: Bundle,
    predictions: Predictions | None,
    labelled: Labelled | None,
    name: str = "",
) -> tuple[TemperatureFigures, Predictions]:
    """Fit the temperature of a bundle, and say how good its probabilities are.

    Args:
        predictions: see `held_back`.
        labelled: see `ask`.
        name: what the card calls the labelled files.

    Returns:
        The figures, and the samples that they are of: a row each, with its fold.

    Raises:
        MaltriageError: fewer than `MIN_LABELLED` samples, or files that the model was trained on,
            or samples that are all right (or all wrong), which no temperature follows from.
    """
    warnings = list[str]()
    if labelled is not None:
        warnings = _known(bundle.card, labelled)
    parts = [] if predictions is None else [predictions]
    parts += [] if labelled is None else [labelled.found]
    found = join(parts)
    if len(found) < MIN_LABELLED:
        raise MaltriageError(
            f"{len(found)} labelled samples: a temperature needs {MIN_LABELLED} or more"
        )
    logits, truth = found.logits, found.truth
    right = logits.argmax(axis=1) == truth
    scale = metrics.temperature(logits, truth)
    assert scale is not None
    bound = 1.001
    if not metrics.MIN_TEMPERATURE * bound < scale < metrics.MAX_TEMPERATURE / bound:
        raise MaltriageError(
            f"the model is right on {int(right.sum())} of {len(found)} labelled samples and no"
            " temperature follows from them: it needs samples that are right and samples that are"
            " wrong"
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
        unknown_labels=labelled.unknown_labels if labelled else {},
        unreadable=labelled.unreadable if labelled else 0,
        warnings=warnings,
    ), replace(found, fold=fold)


def _folds(found: Predictions) -> metrics.Ints:
    """The folds of the samples; where all are in one, others by their digests."""
    if len(np.unique(found.fold)) > 1:
        return found.fold
    return np.array([int(sha256[:8], 16) % FOLDS for sha256 in found.sha256], dtype=np.int64)


def _known(card: Card, labelled: Labelled) -> list[str]:
    """Warnings about labelled files that the model seems to remember.

    Raises:
        MaltriageError: they are those that it was trained on.
    """
    lies = (
        "probabilities fitted to them would say how sure the model is of what it remembers; give"
        " the predictions of samples that were held back (--predictions)"
    )
    if labelled.trained:
        raise MaltriageError(f"the model was trained on these labelled files: {lies}")
    told = card.metrics.get("out_of_fold_accuracy", card.metrics.get("test_accuracy"))
    found = labelled.found
    hits = int((found.logits.argmax(axis=1) == found.truth).sum())
    if told is None or metrics.clopper_pearson(hits, len(found)).low <= told:
        return []
    much = (
        f"right on {hits} of {len(found)} labelled files ({hits / len(found):.1%}), of files that"
        f" were held back on {told:.1%}"
    )
    if labelled.as_many:
        raise MaltriageError(
            f"{much}, and they are as many as it was trained on: they are those files; {lies}"
        )
    warning = (
        f"{much}: if the model was trained on some of them, its probabilities are now too sure;"
        " --predictions of its cross-validation leaves those out"
    )
    return [warning]
