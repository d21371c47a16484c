"""The tables of the explained score: by region, with sums that add up, and by view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.aligned import INDENT
from maltriage.report.documents import facts, methods
from maltriage.report.documents.evidence import (
    MIN_RANKED,
    Check,
    Checks,
    Evidence,
    RegionHeat,
    ViewHeat,
)
from maltriage.report.sanitize import untrusted

DEFAULT_REGIONS = 16
MAX_NAME = 16
MAX_BAR = 32
MIN_BAR = 8

_TITLES = ("region", "kind", "offsets", "size", "entropy", "common", "contrib.", "share", "per KiB")
_CHECKED = (*_TITLES[:-1], "measured", "check")
_NUMERIC = frozenset(("size", "entropy", "common", "contrib.", "share", "per KiB", "measured"))
_AMOUNT, _SHARE, _COMMON = "contrib.", "share", "common"
_SPARED = (_COMMON, _SHARE, "kind", "entropy")
"""Columns that a narrow screen leaves out, in this order."""


def offsets(start: int, end: int, digits: int) -> str:
    """`[start, end)` in hexadecimal, padded to `digits`."""
    return f"{start:0{digits}x}-{end:0{digits}x}"


def digits_for(end: int) -> int:
    """Hexadecimal digits for every offset up to `end`; an even number."""
    digits = len(f"{max(end, 0):x}")
    return max(4, digits + digits % 2)


def title(evidence: Evidence, *, exact: bool = False) -> tuple[str, str]:
    """Heading of the regions table, and the unit of its numbers. Holds labels: sanitize it.

    Args:
        exact: with the exact term of what is explained.
    """
    term, occluded = facts.score_name(evidence), evidence.occluded
    if occluded is not None:
        how = f"window by window of {occluded.window:,} bytes ({occluded.mask})"
        lost = term if exact else facts.UNIT
        return "What masking takes away", f"loss of {lost}, {how}; does not add up"
    if evidence.additive:
        return "What decided", f"in {facts.UNIT}" + (f": {term}" if exact else "")
    score = term if exact else "the log odds"
    what = methods.known(evidence.method).title.format(name=evidence.method, score=score)
    return "Where the net looked", f"{what}; does not add up to it"


def regions(
    evidence: Evidence, top: int | None, width: int, *, exact: bool = False
) -> Iterator[Text]:
    """The regions table, strongest first, and the sums below it.

    Args:
        top: most rows, the rest is folded into one; None: `DEFAULT_REGIONS`, 0: all.
        exact: name the sum by its exact term.
    """
    ordered = sorted(evidence.regions, key=lambda r: -abs(r.contribution))
    limit = DEFAULT_REGIONS if top is None else top or len(ordered)
    # Never fold a single region: its row takes the same space.
    limit = len(ordered) if len(ordered) == limit + 1 else limit
    shown, folded = ordered[:limit], ordered[limit:]
    digits = digits_for(max((r.end for r in ordered), default=0))
    checks = evidence.checks
    known = facts.checks_of(evidence, "regions") if checks else None
    rows = [_region(region, digits, known) for region in shown]
    rest = sum(r.contribution for r in folded)
    weight = sum(abs(r.contribution) for r in ordered) + abs(evidence.padding)
    titles = list(_TITLES if known is None else _CHECKED)

    def part_of(value: float) -> float:
        return value / weight if weight else 0.0

    sums = (evidence.total, evidence.bias, evidence.logit, rest, evidence.padding)
    least = {
        _AMOUNT: max(len(numbers.heat(value).plain) for value in sums),
        _SHARE: max(len(numbers.share(part_of(value))) for value in (rest, evidence.padding)),
    }
    layout = _columns(titles, rows, least)
    for spared in _SPARED:
        wide = known is not None and aligned.width_of(layout, 1) > width - INDENT
        if not wide and (spared != _COMMON or evidence.common is not None):
            break
        at = titles.index(spared)
        titles.pop(at)
        rows = [cells[:at] + cells[at + 1 :] for cells in rows]
        layout = _columns(titles, rows, least)
    amount = titles.index(_AMOUNT)
    gap, bar = _bar_width(layout, width - INDENT)
    axis = numbers.Axis.over([*(r.contribution for r in shown), rest, evidence.padding], bar)
    barred = [*layout, aligned.Column("", bar)]
    # Rows of sums: a label over the first columns, numbers below the numbers.
    label = aligned.Column("", aligned.width_of(layout[:amount], gap))
    plain = [label, *barred[amount:]]

    def extra(text: Text, value: float, part: float | None) -> Text:
        known = {_AMOUNT: numbers.heat(value)}
        if part is not None:
            known[_SHARE] = Text(numbers.share(part))
        stroke = Text() if part is None else axis.bar(value)
        cells = [text, *(known.get(title, Text()) for title in titles[amount:]), stroke]
        return aligned.line(cells, plain, gap, INDENT)

    def ruled() -> Text:
        return aligned.rule(layout[amount].width, INDENT + label.width + gap)

    yield aligned.header(barred, gap, INDENT)
    yield aligned.rule(aligned.width_of(layout, gap), INDENT)
    for region, cells in zip(shown, rows, strict=True):
        yield aligned.line([*cells, axis.bar(region.contribution)], barred, gap, INDENT)
    if folded:
        yield extra(Text(f"… {len(folded):,} more regions", style="dim"), rest, part_of(rest))
    padding = Text("padding (plotted, but no byte of the file)", style="dim")
    yield extra(padding, evidence.padding, part_of(evidence.padding))
    yield ruled()
    yield extra(Text("total: all bytes and padding"), evidence.total, None)
    whole = facts.score_name(evidence) if exact else facts.in_all(evidence)
    name = untrusted(whole, "bold", 64)
    if not evidence.additive:
        yield extra(name, evidence.logit, None)
        yield Text(" " * INDENT + methods.known(evidence.method).remark, style="dim")
        return
    yield extra(Text("baseline + bias: what no byte carries"), evidence.bias, None)
    yield ruled()
    yield extra(name, evidence.logit, None)
    if evidence.common is not None:
        for whose, value in facts.origins(evidence, evidence.common):
            yield extra(Text(whose, style="dim"), value, None)
    terms = [r.contribution for r in shown] + [rest] * bool(folded) + [evidence.padding]
    printed = sum(round(term, 3) for term in terms)
    if abs(printed - round(evidence.total, 3)) > 5e-4 or _off(evidence):
        remark = "Rounded to three digits: the last digit of a sum may be off."
        yield Text(" " * INDENT + remark, style="dim")


def split(views: Sequence[ViewHeat]) -> tuple[list[ViewHeat], str]:
    """The views that have a row, and what is said of the others: of the image views if none adds
    anything, as to whether a file is malware."""
    images = [view for view in views if view.name not in facts.THIN]
    if len(images) < 2 or any(view.contribution for view in images):
        return list(views), ""
    rest = [view for view in views if view.name in facts.THIN]
    return rest, f"{numbers.count(len(images), 'image view')}: 0"


def views(evidence: Evidence, width: int) -> Iterator[Text]:
    """The same total, divided over the views of the bundle."""
    parts = evidence.views
    weight = sum(abs(view.contribution) for view in parts)
    digits = digits_for(max((view.end or 0 for view in parts), default=0))
    shown, idle = split(parts)
    rows = [_view(view, weight, digits) for view in shown]
    total = sum(view.contribution for view in parts)
    last = [Text("total"), Text(), numbers.heat(total), Text()]
    layout = aligned.columns(("view", "reads", "contrib.", "share"), [*rows, last], (2, 3))
    gap, bar = _bar_width(layout, min(width - INDENT, 100))
    barred = [*layout, aligned.Column("", bar)]
    axis = numbers.Axis.over([view.contribution for view in parts], bar)
    yield aligned.header(barred, gap, INDENT)
    yield aligned.rule(aligned.width_of(layout, gap), INDENT)
    for view, cells in zip(shown, rows, strict=True):
        yield aligned.line([*cells, axis.bar(view.contribution)], barred, gap, INDENT)
    if idle:
        yield Text(" " * INDENT + idle, style="dim")
    yield aligned.rule(layout[2].width, INDENT + aligned.width_of(layout[:2], gap) + gap)
    yield aligned.line(last, layout, gap, INDENT)


def _columns(
    titles: list[str], rows: list[list[Text]], least: dict[str, int]
) -> list[aligned.Column]:
    """Columns of the regions table; the sums below need at least `least` cells, by title."""
    layout = aligned.columns(titles, rows, [i for i, t in enumerate(titles) if t in _NUMERIC])
    return [aligned.Column(c.title, max(c.width, least.get(c.title, 0)), c.right) for c in layout]


def _region(
    region: RegionHeat, digits: int, checks: dict[tuple[int, int], Check] | None
) -> list[Text]:
    size = region.end - region.start
    name = untrusted(
        facts.region_name(region.name), "bold" if region.contribution > 0 else "", MAX_NAME
    )
    cells = [
        name,
        Text(region.kind, style="dim"),
        Text(offsets(region.start, region.end, digits)),
        Text(numbers.size(size)),
        Text(f"{region.entropy:.2f}"),
        Text("" if region.common is None else numbers.share(region.common.share), style="dim"),
        numbers.heat(region.contribution),
        Text(numbers.share(region.share)),
    ]
    if checks is None:
        return [*cells, Text(signed_per_kib(region.contribution, size), style="dim")]
    return cells + checked(checks.get((region.start, region.end)))


def checked(check: Check | None) -> list[Text]:
    """Measured change and status of a check; blank if the range was not checked."""
    if check is None:
        return [Text(), Text()]
    status = Text(check.status, style=_STATUS_STYLES.get(check.status, ""))
    if check.controls is None:
        status.append("*")
    return [numbers.heat(check.measured), status]


def verdict_on(checks: Checks) -> Iterator[str]:
    """The agreement of masking with the claims, and the meaning of the asterisk, in words."""
    count = len(checks.regions)
    if checks.rank_correlation is None and count < MIN_RANKED:
        yield f"{numbers.count(count, 'region')}, too few for a rank correlation"
    elif checks.rank_correlation is None:
        yield f"no rank correlation over {numbers.count(count, 'region')}, which are all alike"
    else:
        yield (
            f"rank correlation {numbers.signed(checks.rank_correlation, 2)} of claimed and "
            f"measured, over {numbers.count(count, 'region')}"
        )
    every = facts.claims(checks)
    counts = Counter[str](check.status for check in every)
    slight = counts.pop("negligible", 0)
    summed = ", ".join(f"{counts[name]} {name}" for name in _STATUS_STYLES if counts[name])
    more = f"; {slight} more negligible" if slight else ""
    yield f"of {numbers.count(counts.total(), 'claim')}: {summed or 'none'}{more}"
    if any(check.controls is None for check in every):
        yield facts.WITHOUT_CONTROLS


LEGEND = "check: what masking these bytes did; elsewhere: as many other bytes"


def legend(checks: Checks) -> list[tuple[str, str]]:
    """The statuses of the checks, and what each means."""
    there = {check.status for check in facts.claims(checks)}
    return [(status, said) for status, said in facts.MEANINGS.items() if status in there]


_STATUS_STYLES = {
    "supported": "green",
    "understated": "green",
    "weak": "yellow",
    "contradicted": "bold red",
    "negligible": "dim",
}


def signed_per_kib(contribution: float, size: int) -> str:
    """Contribution per 1,024 bytes; empty for a region without bytes."""
    return numbers.signed(contribution / (size / 1024), 4) if size > 0 else ""


def _view(view: ViewHeat, weight: float, digits: int) -> list[Text]:
    if view.start is not None and view.end is not None and view.start < view.end:
        reads = Text(offsets(view.start, view.end, digits))
    elif view.name in facts.WHOLE:
        reads = Text("the whole file")
    else:
        reads = Text("not in this file", style="dim")
    part = view.contribution / weight if weight else 0.0
    name = untrusted(view.name, "", MAX_NAME)
    return [name, reads, numbers.heat(view.contribution), Text(numbers.share(part))]


def _bar_width(layout: Sequence[aligned.Column], width: int) -> tuple[int, int]:
    """The gap between columns, and the width of a bar after them (0: no room)."""
    for gap in (2, 1):
        bar = min(width - aligned.width_of(layout, gap) - gap, MAX_BAR)
        if bar >= MIN_BAR + (2 if gap == 2 else 0):
            return gap, bar
    return 1, 0


def _off(evidence: Evidence) -> bool:
    """Whether total + bias differs from the logit as printed."""
    printed = round(evidence.total, 3) + round(evidence.bias, 3)
    return abs(printed - round(evidence.logit, 3)) > 5e-4
