"""Edges of hot ranges moved to those of what they cut: a function, a string, a resource, a field.

Heat is summed in blocks of a fixed length, so the edges of a hot range are those of a grid and
say nothing. Moved edges do, and whoever has the heat sums it anew over the bytes between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from maltriage.probe.inspect.image import Thing
from maltriage.sample.types import Region

SNAP_OUT, SNAP_IN = 256, 64
"""Bytes that an edge moves outwards or inwards at most. Outwards as far as a block of heat is
long; inwards less, since what is left out was hot."""


@dataclass(frozen=True)
class Range:
    """Bytes [start, end) of a region; `focus` is the offset of the hottest."""

    start: int
    end: int
    focus: int
    region: Region


@dataclass(frozen=True)
class Snapped:
    """A range, and by how many bytes its edges have moved outwards."""

    range: Range
    before: int = 0
    after: int = 0


ThingsAt = Callable[[Range, int], list[Thing]]
"""What an edge of a range may cut, the first before the others."""


def snapped(ranges: list[Range], things_at: ThingsAt) -> list[Snapped]:
    """Ranges with their edges moved, none over a neighbour or out of its region.

    Two of one region that touch are one then, and stand where the first of them stood in
    `ranges`; but for that the order is kept. The ranges given must not overlap. One without bytes
    stays where it is.
    """
    order = sorted(range(len(ranges)), key=lambda index: ranges[index].start)
    placed: list[tuple[int, Snapped]] = []
    for position, index in enumerate(order):
        item = ranges[index]
        if item.start == item.end:
            placed.append((index, Snapped(item)))
            continue
        low, high = item.region.start, item.region.end
        if placed:
            low = max(low, placed[-1][1].range.end)
        if position + 1 < len(order):
            high = min(high, ranges[order[position + 1]].start)
        start = _edge(things_at(item, item.start), item.start, low, item.end - 1, -1)
        end = _edge(things_at(item, item.end), item.end, start + 1, high, +1)
        focus = min(max(item.focus, start), end - 1)
        moved = replace(item, start=start, end=end, focus=focus)
        placed.append((index, Snapped(moved, item.start - start, end - item.end)))
        if len(placed) > 1 and _touch(placed[-2][1].range, moved):
            placed[-2:] = [_joined(placed[-2], placed[-1])]
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def _touch(first: Range, second: Range) -> bool:
    return first.end == second.start and first.region == second.region


def _joined(first: tuple[int, Snapped], second: tuple[int, Snapped]) -> tuple[int, Snapped]:
    """Two neighbours as one; the focus is that of the one which came first among the ranges."""
    index, hotter = min(first, second, key=lambda pair: pair[0])
    whole = replace(hotter.range, start=first[1].range.start, end=second[1].range.end)
    return index, Snapped(whole, first[1].before, second[1].after)


def _edge(things: list[Thing], edge: int, low: int, high: int, outwards: int) -> int:
    """Where an edge moves to within [low, high]: the nearer end of the first of `things` that it
    cuts and that has one near enough; outwards where both are as near. An end beyond a neighbour
    counts as lying at the neighbour.

    Args:
        outwards: -1 for the start of a range, +1 for its end.
    """
    for thing in things:
        if not thing.cut_by(edge):
            continue
        ends = []
        outer, inner = (thing.start, thing.end) if outwards < 0 else (thing.end, thing.start)
        for target in (min(max(outer, low), high), inner):
            move = (target - edge) * outwards
            if low <= target <= high and -SNAP_IN <= move <= SNAP_OUT:
                ends.append((abs(move), -move, target))
        if ends:
            return min(ends)[2]
    return edge
