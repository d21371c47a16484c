"""Means over the values of a column and the seeds of a recipe; every value counts the same."""

from __future__ import annotations

from collections.abc import Sequence

from maltriage.report.documents.by_column import (
    KINDS,
    ColumnFigures,
    Counted,
    MeanArea,
    MeanRates,
)


def mean_rates(runs: Sequence[ColumnFigures]) -> list[MeanRates]:
    """The mean shares flagged, by recipe, threshold and kind."""
    rows = [
        ((run.name, threshold.set_on, row.kind), row)
        for run in runs
        for value in run.values
        for threshold in value.thresholds
        for row in threshold.kinds
    ]
    found = list[MeanRates]()
    for key in sorted({key for key, _ in rows}, key=_order):
        of = [row for other, row in rows if other == key]
        clean, malware = _shares([row.clean for row in of]), _shares([row.malware for row in of])
        found.append(
            MeanRates(
                name=key[0],
                set_on=key[1],
                kind=key[2],
                clean_values=len(clean),
                malware_values=len(malware),
                clean=_mean(clean),
                worst_clean=max(clean, default=None),
                malware=_mean(malware),
                least_malware=min(malware, default=None),
            )
        )
    return found


def mean_areas(runs: Sequence[ColumnFigures]) -> list[MeanArea]:
    """The mean areas, by recipe, net that answers for the clean files, and kind."""
    rows = [
        ((run.name, row.clean_by, row.kind), row.auc.value)
        for run in runs
        for value in run.values
        for row in value.against
    ]
    found = list[MeanArea]()
    for key in sorted({key for key, _ in rows}, key=_order):
        of = [area for other, area in rows if other == key]
        found.append(MeanArea(*key, len(of), sum(of) / len(of), min(of)))
    return found


def _order(key: tuple[str, str, str]) -> tuple[str, str, int]:
    return key[0], key[1], KINDS.index(key[2])


def _shares(counts: Sequence[Counted | None]) -> list[float]:
    return [count.rate.value for count in counts if count is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
