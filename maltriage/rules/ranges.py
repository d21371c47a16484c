"""The ranges of an explained file that strings are taken from, and the evidence on each."""

from __future__ import annotations

from collections.abc import Sequence

from maltriage.probe.inspect.snap import Range
from maltriage.report.documents.evidence import Check, Status
from maltriage.report.documents.record import Result
from maltriage.rules.types import Evidence

REFUSED: tuple[Status, ...] = ("contradicted", "negligible")
"""Checks of the ranges that no string is taken from; of sections only where all else fails."""


def ranges_of(result: Result, number: int, *, whole: bool) -> tuple[list[Range], list[Evidence]]:
    """The hot ranges of a result, hottest first, and the evidence on each.

    Args:
        number: of the file among those given.
        whole: then also the sections with heat for the label, but for those that their check
            contradicts: where the hottest bytes are those of any program, a file's own are beside
            them.
    """
    checks = result.evidence.checks
    status = _statuses([] if checks is None else checks.hot)
    ranges, found = [], list[Evidence]()
    for hot in result.evidence.hot:
        region = result.layout.region_at(hot.start)
        if region is None:
            continue
        ranges.append(Range(hot.start, hot.end, hot.start, region))
        at = hot.start, hot.end
        found.append(Evidence(number, at, hot.region, hot.contribution, status.get(at)))
    if not whole:
        return ranges, found
    status = _statuses([] if checks is None else checks.regions)
    for part in sorted(result.evidence.regions, key=lambda part: -part.contribution):
        region = result.layout.region_at(part.start)
        if region is None or part.kind != "section" or part.contribution <= 0.0:
            continue
        at = part.start, part.end
        if status.get(at) == "contradicted":
            continue
        ranges.append(Range(part.start, part.end, part.start, region))
        heat = part.contribution
        found.append(Evidence(number, at, part.name, heat, status.get(at), whole=True))
    return ranges, found


def _statuses(checks: Sequence[Check]) -> dict[tuple[int, int], Status]:
    return {(check.start, check.end): check.status for check in checks}
