"""The ranges of an explained file that strings are taken from, and the evidence on each."""

from __future__ import annotations

from maltriage.probe.inspect.snap import Range
from maltriage.report.documents.evidence import HOT_BLOCK, Status
from maltriage.report.documents.record import Result

Claim = tuple[int, int, str, float, Status | None]
"""Start, end and name of a range, its heat and its check."""


def ranges_of(result: Result, *, whole: bool) -> tuple[list[Range], list[Claim]]:
    """The hot ranges of a result, hottest first, and the evidence on each.

    Args:
        whole: then also the sections with heat for the label, as ranges that nothing was checked
            of: where the hottest bytes are those of any program, a file's own are beside them.
    """
    checks = result.evidence.checks
    status: dict[tuple[int, int], Status] = (
        {} if checks is None else {(check.start, check.end): check.status for check in checks.hot}
    )
    ranges, claims = [], []
    for hot in result.evidence.hot:
        region = result.layout.region_at(hot.start)
        if region is None:
            continue
        ranges.append(Range(hot.start, hot.end, hot.start, region))
        found = status.get((hot.start, hot.end))
        claims.append((hot.start, hot.end, hot.region, hot.contribution, found))
    if not whole:
        return ranges, claims
    for part in sorted(result.evidence.regions, key=lambda part: -part.contribution):
        region = result.layout.region_at(part.start)
        if region is None or part.kind != "section" or part.contribution <= 0.0:
            continue
        ranges.append(Range(part.start, part.end, part.start, region))
        heat = part.contribution * HOT_BLOCK / (part.end - part.start)  # as of a hot range's block
        claims.append((part.start, part.end, part.name, heat, None))
    return ranges, claims
