"""The threshold of `flagged`: the margin that a stated share of clean files reaches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from maltriage import bundle as bundles
from maltriage.bundle import BENIGN, Bundle, Card, Threshold
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.metrics import clopper_pearson, margins
from maltriage.report.documents.calibration import KindThreshold, MalwareLike, ThresholdFigures
from maltriage.report.documents.record import Failed, Result, Skipped
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan


def files_needed(fpr: float) -> int:
    """How many clean files a false-positive rate needs: 3 / fpr.

    With as many files and none of them flagged, the rate is at most `fpr` at 95 % (the rule of
    three; Hanley and Lippman-Hand, JAMA 249, 1983). Of fewer, a rate that small is not known.
    """
    return math.ceil(3 / fpr - 1e-9)


def threshold_for(
    paths: Iterable[str],
    bundle: Bundle,
    fpr: float,
    name: str,
    options: ScanOptions,
    *,
    kind_files: int | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> ThresholdFigures:
    """Set a threshold on clean files, scanned the way that users scan.

    Equal files count once. At most `fpr` of the files reach the threshold, which lies
    halfway to the next margin below it. Each kind of file (`Layout.kind`) that there are
    enough of has a threshold of its own; the others have that of all files.

    Args:
        name: what the card calls the files.
        kind_files: how many files of a kind are enough, 1 / fpr or more; None: as many as for
            all together (`files_needed`).

    Raises:
        MaltriageError: no benign label, or too few files; says how many are needed.
    """
    if bundle.card.benign is None:
        raise MaltriageError(f"{bundle.path}: no benign label, so nothing can be flagged")
    enough = files_needed(fpr) if kind_files is None else kind_files
    if math.floor(fpr * enough) < 1:
        raise MaltriageError(
            f"{enough} files of a kind: a rate of {fpr:g} needs {math.ceil(1 / fpr)}"
        )
    found: dict[str, _Clean] = {}
    unreadable = 0
    for record in scan(paths, bundle, options, changed=changed):
        if isinstance(record, Result) and record.verdict.margin is not None:
            top = record.verdict.ranked[0].label
            kind = record.layout.kind or ""
            found[record.sha256] = _Clean(record.verdict.margin, record.path, kind, top)
        elif isinstance(record, Failed | Skipped):
            unreadable += 1
    if len(found) < files_needed(fpr):
        raise MaltriageError(
            f"{len(found)} different clean files: a rate of {fpr:g} needs {files_needed(fpr)}"
            " (3 / rate)"
        )
    ranked = sorted(found.values(), reverse=True)
    by_kind: dict[str, list[float]] = {}
    for file in ranked:
        by_kind.setdefault(file.kind, []).append(file.margin)
    own = {
        kind: limit_at(margins, fpr)
        for kind, margins in by_kind.items()
        if kind and len(margins) >= enough
    }
    common = _common([(file.margin, own.get(file.kind)) for file in ranked], fpr)
    kinds = list[KindThreshold]()
    for kind, of_kind in sorted(by_kind.items()):
        limit = own.get(kind, common)
        flagged = sum(margin >= limit for margin in of_kind)
        rate = clopper_pearson(flagged, len(of_kind))
        kinds.append(KindThreshold(kind, limit, kind in own, len(of_kind), flagged, rate))
    files = [
        MalwareLike(file.path, file.label, file.margin, file.margin >= own.get(file.kind, common))
        for file in ranked
    ]
    flagged = sum(file.flagged for file in files)
    return ThresholdFigures(
        margin=common,
        fpr=fpr,
        goodware=name,
        files=len(files),
        flagged=flagged,
        rate=clopper_pearson(flagged, len(files)),
        kinds=kinds,
        malware_like=[file for file in files if file.flagged or file.label != BENIGN],
        unreadable=unreadable,
    )


class _Clean(NamedTuple):
    """What is kept of a clean file, in the order by which files are ranked."""

    margin: float
    path: str
    kind: str
    label: str


def threshold_of(found: ThresholdFigures) -> Threshold:
    """The threshold as it stands in a card."""
    return Threshold(
        margin=found.margin,
        kinds={row.kind: row.margin for row in found.kinds if row.own},
        fpr=found.fpr,
        goodware=found.goodware,
        files=found.files,
        flagged=found.flagged,
        low=found.rate.low,
        high=found.rate.high,
        malware=found.malware,
        malware_flagged=found.malware_flagged,
    )


def _common(ranked: list[tuple[float, float | None]], fpr: float) -> float:
    """The margin of files whose kind has none of its own: that of all files, or a higher one
    where all margins together would otherwise flag too many.

    Args:
        ranked: margin of each file, highest first, and the limit of its kind if it has one.
    """
    allowed = math.floor(fpr * len(ranked))
    limit = _limit([margin for margin, _ in ranked], allowed)
    rest = [margin for margin, own in ranked if own is None]
    taken = sum(own is not None and margin >= own for margin, own in ranked)
    return max(limit, _limit(rest, allowed - taken)) if rest else limit


def limit_at(margins: Iterable[float], fpr: float) -> float:
    """The margin that at most the share `fpr` of clean files reaches.

    Args:
        margins: of one file or more.
    """
    ranked = sorted(margins, reverse=True)
    return _limit(ranked, math.floor(fpr * len(ranked)))


def _limit(ranked: list[float], allowed: int) -> float:
    """Halfway between the lowest of the margins that may be flagged and the next below it.

    Args:
        ranked: margins, highest first, of one file or more.
        allowed: how many of them may reach the limit.
    """
    values = np.array(ranked)
    below = float(values[allowed]) if allowed < len(values) else float(values[-1]) - 1.0
    reached = int((values > below).sum())  # fewer than allowed where margins are equal
    return (float(values[reached - 1]) + below) / 2 if reached else below + 1e-6


def malware_rate(
    folds: Sequence[tuple[Bundle, Predictions]],
    paths: Sequence[str],
    fpr: float,
    options: ScanOptions,
    kind_files: int | None = None,
    *,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> tuple[int, int]:
    """How much malware that a net had not seen it flags, at its own threshold for `fpr`.

    The net that ships has seen every sample, so its own rate on them says nothing. The nets
    of its cross-validation stand in for it: each gets its threshold from the same clean
    files, and is held against the fold that it had not seen.

    Args:
        folds: the bundle of each fold, and what that net said of its fold.
        paths: of clean files, which none of the nets was trained on.
        kind_files: as of `threshold_for`.

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
        limits = threshold_for(
            paths, bundle, fpr, "", options, kind_files=kind_files, changed=changed
        )
        limit = threshold_of(limits).at(kind)
        bad = found.truth != bundle.card.benign
        malware += int(bad.sum())
        flagged += int((margins(found.logits[bad], bundle.card.benign) >= limit).sum())
    return malware, flagged


def write(bundle: Bundle, output: Path, **changes: Any) -> Card:
    """Write the bundle with other fields of the card; the weights and their digest stay."""
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    card = msgspec.structs.replace(bundle.card, created=created, **changes)
    try:
        return bundles.with_card(bundle, card, output)
    except OSError as error:
        raise MaltriageError(f"cannot write {output}: {error.strerror}") from error
