"""Sets the threshold of `flagged` for a false-positive rate on clean files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from maltriage import bundle as bundles
from maltriage.bundle import BENIGN, Bundle, Card, OperatingPoint, Threshold
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError, cannot_write
from maltriage.metrics import clopper_pearson, margins
from maltriage.report.documents.calibration import (
    IN_INDEX,
    KindThreshold,
    MalwareLike,
    ThresholdFigures,
)
from maltriage.report.documents.record import Failed, Result, Skipped
from maltriage.report.scan.strip import reasons
from maltriage.similar.index_file import files_beside
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.triage.verdict import has_headers

_ROUNDING = 1e-9
"""More than a product of a rate and a number of files is rounded by."""


def files_needed(fpr: float) -> int:
    """Number of clean files that a false-positive rate needs: 3 / fpr.

    If none of that many files is flagged, the rate is at most `fpr` at 95 % (the rule of three;
    Hanley and Lippman-Hand, JAMA 249, 1983). Fewer files cannot show so small a rate.
    """
    return math.ceil(3 / fpr - _ROUNDING)


def files_allowed(fpr: float, files: int) -> int:
    """Number of clean files that a false-positive rate allows to be flagged: 3 of 5,000 at 0.0006,
    although the product is a little less than 3 as a floating-point number.
    """
    return math.floor(fpr * files + _ROUNDING)


def threshold_for(
    paths: Iterable[str],
    bundle: Bundle,
    fpr: float,
    name: str,
    options: ScanOptions,
    *,
    kind_files: int | None = None,
    trained_on: frozenset[str] = frozenset(),
    changed: Callable[[Progress], None] = lambda progress: None,
) -> ThresholdFigures:
    """Set a threshold on clean files, scanned the way that users scan.

    Equal files count once. A file that is never flagged, since its headers cannot be read, has no
    say and counts as unreadable. Files in the bundle's own index, which is usually of its training
    files, are left out: the model is surer of them than of others. At most `fpr` of the files reach
    the threshold, which lies halfway to the next margin below it. Each kind of file (`Layout.kind`)
    with enough files has its own threshold; the others share that of all files.

    Args:
        name: of the files, for the card.
        kind_files: least number of files for a kind's own threshold, 1 / fpr or more; None: as
            many as for all together (`files_needed`).
        trained_on: digests of files that are left out as well.

    Raises:
        MaltriageError: no benign label, or too few files; the message has the number needed and
            what was left out; or the index cannot be read.
    """
    if bundle.card.benign is None:
        raise MaltriageError(f"{bundle.path}: no benign label, so nothing can be flagged")
    enough = files_needed(fpr) if kind_files is None else kind_files
    if files_allowed(fpr, enough) < 1:
        least = math.ceil(1 / fpr - _ROUNDING)
        raise MaltriageError(f"{enough} files of a kind: a rate of {fpr:g} needs {least}")
    trained_on |= files_beside(bundle) or frozenset()
    found: dict[str, _Clean] = {}
    skipped, failed = Counter[str](), 0
    headless, in_index = set[str](), set[str]()
    for record in scan(paths, bundle, options, changed=changed):
        if isinstance(record, Result) and record.sha256 in trained_on:
            in_index.add(record.sha256)
        elif isinstance(record, Result) and not has_headers(record.layout.kind, record.format):
            headless.add(record.sha256)
        elif isinstance(record, Result) and record.verdict.margin is not None:
            top = record.verdict.ranked[0].label
            kind = record.layout.kind or ""
            found[record.sha256] = _Clean(record.verdict.margin, record.path, kind, top)
        elif isinstance(record, Skipped):
            skipped[record.code] += 1
        elif isinstance(record, Failed):
            failed += 1
    if len(found) < files_needed(fpr):
        left_out = [
            f"{skipped.total():,} skipped ({reasons(skipped)})" if skipped else "",
            f"{failed:,} failed" if failed else "",
            f"{len(headless):,} without headers" if headless else "",
            f"{len(in_index):,} {IN_INDEX}" if in_index else "",
        ]
        raise MaltriageError(
            f"{len(found)} different clean files: a rate of {fpr:g} needs {files_needed(fpr)}"
            " (3 / rate)" + ("; left out: " + ", ".join(filter(None, left_out))) * any(left_out)
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
        unreadable=skipped.total() + failed + len(headless),
        in_index=len(in_index),
        warnings=below_even_odds(common, own),
    )


def below_even_odds(margin: float, kinds: Mapping[str, float]) -> list[str]:
    """A warning of a threshold below 0, where the model takes a file for clean rather than malware.

    Args:
        margin: of all files.
        kinds: of those with a threshold of their own.
    """
    low = [f"{margin:+.3f}"] if margin < 0 else []
    low += [f"{limit:+.3f} ({kind})" for kind, limit in sorted(kinds.items()) if limit < 0]
    if not low:
        return []
    warning = (
        f"margin {', '.join(low)} is below even odds: it flags files that the model takes for clean"
        " rather than malware (a malware probability below 50%)"
    )
    return [warning]


class _Clean(NamedTuple):
    """The stored fields of a clean file, in the order by which files are ranked."""

    margin: float
    path: str
    kind: str
    label: str


def threshold_of(found: ThresholdFigures) -> Threshold:
    """The threshold for a card."""
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
        points=tuple(
            OperatingPoint(
                fpr=point.fpr,
                margin=point.margin,
                flagged=point.flagged,
                low=point.rate.low,
                high=point.rate.high,
                malware_flagged=point.malware_flagged,
                worst=point.worst,
            )
            for point in found.points
        ),
        worst=max((row.without.value for row in found.values if row.without), default=None),
    )


def _common(ranked: list[tuple[float, float | None]], fpr: float) -> float:
    """The threshold of kinds without their own: that of all files, or a higher one if all
    thresholds together would flag too many.

    Args:
        ranked: margin of each file, highest first, and the threshold of its kind, if any.
    """
    allowed = files_allowed(fpr, len(ranked))
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
    return _limit(ranked, files_allowed(fpr, len(ranked)))


def _limit(ranked: list[float], allowed: int) -> float:
    """Halfway between the lowest of the margins that may be flagged and the next below it.

    Args:
        ranked: margins, highest first, of one file or more.
        allowed: how many of them may reach the threshold.
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
    trained_on: frozenset[str] = frozenset(),
    changed: Callable[[Progress], None] = lambda progress: None,
) -> tuple[int, int]:
    """Count out-of-fold malware flagged at each net's own threshold for `fpr`.

    The net that ships has seen every sample, so its own rate means nothing. The nets of its
    cross-validation stand in: each gets its threshold from the same clean files, and is
    measured on the fold that it held back.

    Args:
        folds: bundle and predictions of each fold.
        paths: of clean files that none of the nets was trained on.
        kind_files, trained_on: see `threshold_for`.

    Returns:
        The number of malware samples in all folds, and of those flagged.
    """
    malware = flagged = 0
    for bundle, found in folds:
        if found.labels != bundle.card.labels or bundle.card.benign is None:
            raise MaltriageError(f"{bundle.path}: its predictions have other labels")
        # Predictions lack the kind of a sample: the commonest kind of malware is taken.
        kinds = bundle.card.training.malware_kinds
        kind = max(kinds, key=lambda name: kinds[name], default=None)
        limits = threshold_for(
            *(paths, bundle, fpr, "", options),
            kind_files=kind_files,
            trained_on=trained_on,
            changed=changed,
        )
        limit = threshold_of(limits).at(kind)
        bad = found.truth != bundle.card.benign
        malware += int(bad.sum())
        flagged += int((margins(found.logits[bad], bundle.card.benign) >= limit).sum())
    return malware, flagged


def write(bundle: Bundle, output: Path, **changes: Any) -> Card:
    """Write the bundle with changed card fields; the weights and their digest stay."""
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    card = msgspec.structs.replace(bundle.card, created=created, **changes)
    try:
        return bundles.with_card(bundle, card, output)
    except OSError as error:
        raise cannot_write(output, error) from error
