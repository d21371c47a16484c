"""False positives of a bundle on clean files, by kind and by folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

import numpy as np

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.metrics import Interval, bootstrap, clopper_pearson
from maltriage.report.documents.evaluation import CleanKind, CleanReport
from maltriage.report.documents.facts import UNKNOWN
from maltriage.report.documents.record import Failed, ModelRef, Result, Skipped
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan

MIN_FOLDERS = 10
"""Fewest folders that show how much folders differ."""


def false_positives(folder: str, bundle: Bundle, options: ScanOptions) -> CleanReport:
    """Scan clean files the way that users scan, and count what is flagged.

    Equal files count once, under the first of them.

    Raises:
        MaltriageError: the bundle has no threshold, or there is nothing to scan.
    """
    if bundle.card.threshold is None:
        raise MaltriageError(f"{bundle.path}: no threshold, so nothing can be flagged")
    found: dict[str, Result] = {}
    unreadable = 0
    for record in scan([folder], bundle, options):
        if isinstance(record, Result):
            found.setdefault(record.sha256, record)
        elif isinstance(record, Failed | Skipped):
            unreadable += 1
    if not found:
        raise MaltriageError(f"{folder}: no files that could be scanned")
    results = list(found.values())
    kinds: dict[str, list[Result]] = {}
    folders: dict[str, list[Result]] = {}
    for result in results:
        kinds.setdefault(result.layout.kind or "none", []).append(result)
        folders.setdefault(_first_level(result.path, folder), []).append(result)
    by_folder = [_count(name, folders[name]) for name in sorted(folders)]
    flagged = sorted((r for r in results if r.verdict.flagged), key=_margin, reverse=True)
    return CleanReport(
        model=ModelRef(bundle.card.name, bundle.card.weights_sha256),
        all=_count("all", results),
        kinds=[_count(kind, kinds[kind]) for kind in sorted(kinds)],
        by_folder=over_folders(by_folder),
        folders=by_folder,
        unknown=sum(
            result.verdict.label == UNKNOWN and not result.verdict.flagged for result in results
        ),
        unreadable=unreadable,
        malware_like=[result.path for result in flagged],
    )


def _count(kind: str, results: Iterable[Result]) -> CleanKind:
    flags = [bool(result.verdict.flagged) for result in results]
    return CleanKind(kind, len(flags), sum(flags), clopper_pearson(sum(flags), len(flags)))


def over_folders(folders: Sequence[CleanKind]) -> Interval | None:
    """The rate over all files, with an interval for folders, not files, as the drawn units."""
    if len(folders) < MIN_FOLDERS:
        return None
    files, flagged = np.array([(folder.files, folder.flagged) for folder in folders]).T
    return bootstrap(lambda drawn: float(flagged[drawn].sum() / files[drawn].sum()), len(folders))


def _first_level(path: str, folder: str) -> str:
    """The folder directly below the scanned one, `.` for a file in the scanned one itself."""
    parts = PurePath(path).parts[len(PurePath(folder).parts) :]
    return parts[0] if len(parts) > 1 else "."


def _margin(result: Result) -> float:
    return result.verdict.margin or 0.0
