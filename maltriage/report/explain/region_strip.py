"""The strip of an explanation: all regions in the order of the file, and what each of them is.

Below the regions are the hot ranges. What is said of each is made of the record, as lines of text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from maltriage.report import numbers
from maltriage.report.documents import facts
from maltriage.report.documents.evidence import Check, Evidence, HotRange, RegionHeat
from maltriage.report.explain import hot_ranges
from maltriage.report.explain.score_table import digits_for, offsets
from maltriage.report.sanitize import clean
from maltriage.sample.findings import HotContent

WIDTH = 1000
"""Width of the strip in units of its drawing."""
LITTLE = 0.2
"""Share of what decided, by the view `body`, below which the byteplot tells little: then the strip
is large and the byteplot small."""
MAX_STRINGS, MAX_STRING = 6, 60
MAX_HOT = 4
_CHARACTER = 7
_BAR = 6
_ABOUT_WIDTH = 120


@dataclass(frozen=True)
class Size:
    """Heights of a strip: its regions, the longest bars above and below zero, the hot ranges."""

    regions: int
    above: int
    below: int
    marks: int

    @property
    def axis(self) -> int:
        return self.regions + 2 + self.above

    @property
    def marks_at(self) -> int:
        return self.axis + self.below + 3

    @property
    def height(self) -> int:
        return self.marks_at + self.marks


SMALL, LARGE = Size(18, 28, 18, 6), Size(28, 64, 32, 14)


@dataclass(frozen=True)
class Part:
    """A region in the strip: its place, its bar, its name if it fits.

    The bar is in the middle of the region, as high as its contribution. All bars have the same
    width, so that a wide region does not look hotter than it is.
    """

    key: str
    """Names what is said of it."""
    light: str
    """Key of what lights it in the byteplot; empty: its row is folded."""
    x: float
    width: float
    label: str
    middle: float
    top: float
    height: float
    contribution: float


@dataclass(frozen=True)
class Mark:
    """A hot range in the strip."""

    key: str
    x: float
    width: float
    contribution: float


@dataclass(frozen=True)
class Strip:
    size: Size
    parts: list[Part]
    marks: list[Mark]
    said: dict[str, list[str]]
    """Lines on each part and mark, by key. Sanitize them."""


def body_share(evidence: Evidence) -> float | None:
    """The share of what decided that the view `body` carries; None: it is not known."""
    every = sum(abs(view.contribution) for view in evidence.views)
    body = facts.of_body(evidence)
    return None if body is None or not every else abs(body) / every


def strip(
    evidence: Evidence,
    shown: Sequence[RegionHeat],
    ranges: Sequence[HotRange],
    size: int,
    dimensions: Size,
) -> Strip:
    """All regions of a file of `size` bytes, and the hot ranges that are listed.

    Args:
        shown: regions that have a row of the table; their keys are `r0`, `r1`, ...
        ranges: hot ranges that are listed; their keys are `h0`, `h1`, ...
    """
    rows = {id(region): f"r{index}" for index, region in enumerate(shown)}
    digits = digits_for(size)
    checks = evidence.checks
    checked = {(c.start, c.end): c for c in (*checks.regions, *checks.hot)} if checks else {}
    parts, said = [], {}
    strongest = max((abs(r.contribution) for r in evidence.regions), default=0.0)
    for index, region in enumerate(evidence.regions):
        light = rows.get(id(region), "")
        part = _part(region, light or f"x{index}", light, size, strongest, dimensions)
        parts.append(part)
        said[part.key] = list(_on_region(region, evidence.hot, digits, checked))
    marks = []
    for index, item in enumerate(ranges):
        x, width = _place(item.start, item.end, size, 2.0)
        marks.append(Mark(f"h{index}", x, width, item.contribution))
        said[f"h{index}"] = list(_on_range(item, digits, checked))
    return Strip(dimensions, parts, marks, said)


def _part(
    region: RegionHeat, key: str, light: str, size: int, strongest: float, dimensions: Size
) -> Part:
    x, width = _place(region.start, region.end, size, 1.0)
    name = facts.region_name(region.name)
    bar = region.contribution / strongest if strongest else 0.0
    height = abs(bar) * (dimensions.above if bar > 0 else dimensions.below)
    return Part(
        key=key,
        light=light,
        x=x,
        width=width,
        label=name if len(clean(name)) * _CHARACTER < width - 6 else "",
        middle=round(min(max(x + width / 2 - _BAR / 2, 0), WIDTH - _BAR), 2),
        top=round(dimensions.axis - (height if bar > 0 else 0), 2),
        height=round(height, 2),
        contribution=region.contribution,
    )


def _place(start: int, end: int, size: int, least: float) -> tuple[float, float]:
    """Start and width in the strip; what is tiny is still seen."""
    unit = WIDTH / max(size, 1)
    width = max((end - start) * unit, least)
    return round(min(start * unit, WIDTH - width), 2), round(width, 2)


def _on_region(
    region: RegionHeat,
    hot: Iterable[HotRange],
    digits: int,
    checked: Mapping[tuple[int, int], Check],
) -> Iterator[str]:
    place = offsets(region.start, region.end, digits)
    name = facts.region_name(region.name)
    yield f"{name}, {region.kind}: {place}, {numbers.size(region.end - region.start)}"
    amount = _amount(region.contribution, checked.get((region.start, region.end)))
    yield f"{amount}, {numbers.share(region.share)} of all; entropy {region.entropy:.2f}"
    if region.common is not None and region.common.packages:
        yield facts.common(region.common)
    inside = [h for h in hot if region.start <= h.start < region.end]
    inside.sort(key=lambda item: -abs(item.contribution))
    if inside:
        named = ", ".join(
            f"{offsets(h.start, h.end, digits)} {numbers.signed(h.contribution)}"
            for h in inside[:MAX_HOT]
        )
        more = len(inside) - MAX_HOT
        yield f"hot ranges: {named}" + (f" and {more} more" if more > 0 else "")
    yield from _contents(h.content for h in inside)


def _on_range(
    item: HotRange, digits: int, checked: Mapping[tuple[int, int], Check]
) -> Iterator[str]:
    place = offsets(item.start, item.end, digits)
    name = facts.region_name(item.region)
    yield f"hot range {place}, {numbers.size(item.end - item.start)} in {name}"
    yield _amount(item.contribution, checked.get((item.start, item.end)))
    yield from (line.plain for line in hot_ranges.about(item, _ABOUT_WIDTH, 0))
    yield from _contents([item.content])


def _amount(contribution: float, check: Check | None) -> str:
    said = f"contribution {numbers.signed(contribution)}"
    return said + (f", measured {numbers.signed(check.measured)} {check.status}" if check else "")


def _contents(contents: Iterable[HotContent | None]) -> Iterator[str]:
    """The first strings and imported names of what was looked into."""
    looked = [content for content in contents if content is not None]
    found = {
        "strings": [item.text for content in looked for item in content.strings],
        "imports": [name for c in looked for row in c.imports for name in row.functions],
    }
    for noun, texts in found.items():
        if texts:
            shown = ", ".join(clean(text, MAX_STRING) for text in texts[:MAX_STRINGS])
            more = len(texts) - MAX_STRINGS
            yield f"{noun}: {shown}" + (f" and {more:,} more" if more > 0 else "")
