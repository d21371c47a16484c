"""The threshold of `flagged`: the margin that a stated share of clean files reaches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from maltriage import bundle as bundles
from maltriage.bundle import Bundle, Card, Threshold
from maltriage.corpus.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    fold_folder,
    load_predictions,
)
from maltriage.errors import MaltriageError
from maltriage.metrics import clopper_pearson, margins
from maltriage.report.document import Result
from maltriage.report.measures import Interval
from maltriage.triage.pipeline import Progress, ScanOptions, scan


class Calibrated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new threshold and what it was measured on.

    `flagged` are the clean files at or above it, `malware_like` the highest margins among
    them: look at those files, one may not be clean.
    """

    threshold: Threshold
    rate: Interval
    malware_like: list[str]


def threshold_for(
    paths: Iterable[str],
    bundle: Bundle,
    fpr: float,
    name: str,
    options: ScanOptions,
    *,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> Calibrated:
    """Set a threshold on clean files, scanned the way that users scan.

    Equal files count once. At most `fpr` of the files reach the threshold, which lies
    halfway to the next margin below it. Each kind of file (`Layout.kind`) that there are
    enough of has a threshold of its own.

    Raises:
        MaltriageError: no benign label, or fewer than 1 / fpr files.
    """
    if bundle.card.benign is None:
        raise MaltriageError(f"{bundle.path}: no benign label, so nothing can be flagged")
    found: dict[str, tuple[float, str, str]] = {}
    for record in scan(paths, bundle, options, changed=changed):
        if isinstance(record, Result) and record.verdict.margin is not None:
            kind = record.layout.kind or ""
            found[record.sha256] = (record.verdict.margin, record.path, kind)
    if math.floor(fpr * len(found)) < 1:
        needed = math.ceil(1 / fpr)
        raise MaltriageError(
            f"{len(found)} different clean files: a rate of {fpr:g} needs {needed}"
        )
    ranked = sorted(found.values(), reverse=True)
    by_kind: dict[str, list[float]] = {}
    for value, _, kind in ranked:
        by_kind.setdefault(kind, []).append(value)
    threshold = Threshold(
        margin=_limit([value for value, _, _ in ranked], fpr),
        kinds={
            kind: _limit(values, fpr)
            for kind, values in sorted(by_kind.items())
            if kind and math.floor(fpr * len(values)) >= 1
        },
        fpr=fpr,
        goodware=name,
        files=len(found),
        flagged=0,
    )
    reached = [path for value, path, kind in ranked if value >= threshold.at(kind)]
    return Calibrated(
        threshold=msgspec.structs.replace(threshold, flagged=len(reached)),
        rate=clopper_pearson(len(reached), len(found)),
        malware_like=reached,
    )


def _limit(ranked: list[float], fpr: float) -> float:
    """Halfway between the lowest of the margins that may be flagged and the next below it.

    Args:
        ranked: margins, highest first, of 1 / fpr files or more.
        fpr: share of them that may reach the limit.
    """
    values, allowed = np.array(ranked), math.floor(fpr * len(ranked))
    below = float(values[allowed]) if allowed < len(values) else float(values[-1]) - 1.0
    reached = int((values > below).sum())  # fewer than allowed where margins are equal
    return (float(values[reached - 1]) + below) / 2 if reached else below + 1e-6


def fold_bundles(run: Path, bundle: Bundle) -> list[tuple[Bundle, Predictions]]:
    """Bundle and predictions of each fold of a bundle's cross-validation.

    Args:
        run: folder of the cross-validation.

    Raises:
        MaltriageError: a fold is missing, or of other data or another recipe.
    """
    training = bundle.card.training
    found = []
    for fold in range(training.folds):
        folder = fold_folder(run, fold)
        paths = sorted(folder.glob("*.onnx"))
        if len(paths) != 1:
            raise MaltriageError(f"{folder}: no bundle of this fold")
        part = bundles.load(paths[0])
        other = part.card.training
        if (other.manifest_sha256, _as_asked(other.recipe)) != (
            training.manifest_sha256,
            _as_asked(training.recipe),
        ):
            raise MaltriageError(f"{paths[0]}: of other data or another recipe than the model")
        found.append((part, load_predictions(folder / PREDICTIONS_FILE)))
    if not found:
        raise MaltriageError(f"{bundle.path}: not from a cross-validation")
    return found


def _as_asked(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what came of it: each fold's net has teachers of its own, of the same
    nets and views, and they choose other tokens.
    """
    guide = recipe.get("guide")
    if not isinstance(guide, dict):
        return recipe
    asked = {key: value for key, value in guide.items() if key not in _FOUND}
    teachers = [{**teacher, "weights_sha256": None} for teacher in guide.get("teachers") or []]
    return {**recipe, "guide": {**asked, "teachers": teachers}}


_FOUND = ("kept", "similarity")
"""What a guide notes of the maps of its teachers."""


def malware_rate(
    folds: Sequence[tuple[Bundle, Predictions]],
    paths: Sequence[str],
    fpr: float,
    options: ScanOptions,
) -> tuple[int, int]:
    """How much malware that a net had not seen it flags, at its own threshold for `fpr`.

    The net that ships has seen every sample, so its own rate on them says nothing. The nets
    of its cross-validation stand in for it: each gets its threshold from the same clean
    files, and is held against the fold that it had not seen.

    Args:
        folds: the bundle of each fold, and what that net said of its fold.
        paths: of clean files, which none of the nets was trained on.

    Returns:
        Malware in all folds, and how much of it is flagged.
    """
    malware = flagged = 0
    for bundle, found in folds:
        if found.labels != bundle.card.labels or bundle.card.benign is None:
            raise MaltriageError(f"{bundle.path}: its predictions have other labels")
        # Which kind a sample is of is not in its predictions: that of most malware it is.
        kinds = bundle.card.training.malware_kinds
        kind = max(kinds, key=lambda name: kinds[name], default=None)
        limit = threshold_for(paths, bundle, fpr, "", options).threshold.at(kind)
        bad = found.truth != bundle.card.benign
        malware += int(bad.sum())
        flagged += int((margins(found.logits[bad], bundle.card.benign) >= limit).sum())
    return malware, flagged


def write(bundle: Bundle, threshold: Threshold, output: Path) -> Card:
    """Write the bundle with another threshold; the weights and their digest stay."""
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    card = msgspec.structs.replace(bundle.card, threshold=threshold, created=created)
    return bundles.with_card(bundle, card, output)
