"""Moves edges of hot ranges to those of what they cut: a function, string, resource or field.

Heat is summed in blocks of a fixed length, so the edges of a hot range are those of a grid and
mean nothing. After moving, the owner of the heat sums it anew between the new edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from maltriage.probe.inspect.image import Thing
from maltriage.sample.types import Region

SNAP_OUT, SNAP_IN = 256, 64
"""Most bytes that an edge moves outwards or inwards. Outwards up to the length of a block of heat;
inwards less, since the bytes left out were hot."""


@dataclass(frozen=True)
class Range:
    """Bytes [start, end) of a region; `focus` is the offset of the hottest."""

    start: int
    end: int
    focus: int
    region: Region


@dataclass(frozen=True)
class Snapped:
    """A range, and the bytes by which its edges moved outwards."""

    range: Range
    before: int = 0
    after: int = 0


ThingsAt = Callable[[Range, int], list[Thing]]
"""Things that an edge of a range may cut, in order of preference."""


def snapped(ranges: list[Range], things_at: ThingsAt) -> list[Snapped]:
    """Ranges with their edges moved, none over a neighbour or out of its region.

    Two of one region that then touch are joined, at the place of the first of them in `ranges`;
    otherwise the order is kept. The given ranges must not overlap. An empty one stays where it
    is.
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
    """Two neighbours as one; the focus is that of the one first among the ranges."""
    index, hotter = min(first, second, key=lambda pair: pair[0])
    whole = replace(hotter.range, start=first[1].range.start, end=second[1].range.end)
    return index, Snapped(whole, first[1].before, second[1].after)


def _edge(things: list[Thing], edge: int, low: int, high: int, outwards: int) -> int:
    """New place of an edge within [low, high]: the nearer end of the first of `things` that it cuts
    and that has one near enough; the outward one at equal distance. An end beyond a neighbour
    counts as at the neighbour.

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
