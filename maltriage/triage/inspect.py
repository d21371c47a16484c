"""Hot ranges with what is in them: merged, snapped to sensible edges, and summed anew.

Heat is conserved: what a range carries is always the difference of the cumulative heat at its
edges, wherever those have moved to, and ranges neither overlap nor cross a region.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from maltriage.report.document import Evidence, HotRange
from maltriage.sample.byteplot import WindowGeometry
from maltriage.sample.content import HotContent
from maltriage.sample.inspect.snap import Range
from maltriage.sample.inspect.worker import Inspected
from maltriage.sample.prepare import Prepared
from maltriage.sample.types import Layout, Region
from maltriage.triage.evidence import HOT_BLOCK, Floats, cumulative

MERGE_GAP = HOT_BLOCK
"""Bytes between two hot ranges of a region that may be taken into one with them."""
FOCUS = 128
"""Bytes of the hottest part of a range, where a listing of it begins: about what a cell of a
window sees."""

Look = Callable[[list[Range], bool], list[Inspected]]
"""Looks into ranges, the hottest first, in a worker; whether their edges may move."""


def inspected(
    prepared: Prepared, maps: dict[str, Floats], evidence: Evidence, look: Look
) -> Evidence:
    """The evidence with its hot ranges merged, snapped and looked into.

    Args:
        maps: the heat by view, as `account` has it.
        look: is called once; a second time, with edges left where they are, only where a range
            with its edges moved had no more heat for the label than against it.
    """
    if not evidence.hot:
        return evidence
    ranges = merged(prepared, maps, evidence.hot)
    found = look(ranges, True)
    if min(_sums(prepared, maps, [(item.start, item.end) for item in found])) <= 0.0:
        found = look(ranges, False)
    sums = _sums(prepared, maps, [(item.start, item.end) for item in found])
    hot = [
        HotRange(
            start=item.start,
            end=item.end,
            region=item.region.name,
            rva=_rva(item.region, item.start),
            contribution=value,
            hex=item.hex,
            content=_with_heat(prepared, maps, item.content),
        )
        for item, value in zip(found, sums, strict=True)
    ]
    hot.sort(key=lambda item: -item.contribution)
    return msgspec.structs.replace(evidence, hot=hot)


def merged(prepared: Prepared, maps: dict[str, Floats], hot: list[HotRange]) -> list[Range]:
    """Hot ranges as they are looked into, the hottest first.

    Neighbours of one region with at most `MERGE_GAP` bytes between them are one, unless the bytes
    between speak so much against the label that the whole would have less heat than a part.
    """
    joined: list[tuple[int, int, float, Region]] = []
    for item in sorted(hot, key=lambda item: item.start):
        region = _region(prepared.layout, item.start)
        if joined:
            start, end, value, before = joined[-1]
            if before == region and item.start - end <= MERGE_GAP:
                (whole,) = _sums(prepared, maps, [(start, item.end)])
                if whole >= max(value, item.contribution):
                    joined[-1] = start, item.end, whole, region
                    continue
        joined.append((item.start, item.end, item.contribution, region))
    joined.sort(key=lambda part: -part[2])
    return [
        Range(start, end, _focus(prepared, maps, start, end), region)
        for start, end, _, region in joined
    ]


def _region(layout: Layout, offset: int) -> Region:
    region = layout.region_at(offset)
    assert region is not None  # a hot range is a piece of a region
    return region


def _rva(region: Region, offset: int) -> int | None:
    return None if region.rva is None else region.rva + offset - region.start


def _sums(prepared: Prepared, maps: dict[str, Floats], spans: list[tuple[int, int]]) -> list[float]:
    """Heat on each byte range."""
    edges = np.unique(np.array(spans, dtype=np.int64))
    heat = cumulative(prepared, maps, edges)
    first, last = (edges.searchsorted([span[side] for span in spans]) for side in (0, 1))
    return [float(value) for value in heat[last] - heat[first]]


def _focus(prepared: Prepared, maps: dict[str, Floats], start: int, end: int) -> int:
    """Where the `FOCUS` bytes with the most heat begin, in steps of half of them."""
    if end - start <= FOCUS:
        return start
    edges = np.arange(start, end + 1, FOCUS // 2, dtype=np.int64)
    heat = cumulative(prepared, maps, edges)
    return int(edges[int(np.argmax(heat[2:] - heat[:-2]))])


def _with_heat(
    prepared: Prepared, maps: dict[str, Floats], content: HotContent | None
) -> HotContent | None:
    """Content with the heat of the header fields that a view reads byte by byte."""
    if content is None or not content.fields:
        return content
    spans = {}
    for name, grid in maps.items():
        geometry = prepared.views[name].geometry
        if isinstance(geometry, WindowGeometry) and grid.size == geometry.length:
            low, high = geometry.start, geometry.start + geometry.present
            for field in content.fields:
                if low <= field.offset and field.offset + field.size <= high:
                    spans[field.offset] = (field.offset, field.offset + field.size)
    if not spans:
        return content
    heat = dict(zip(spans, _sums(prepared, maps, list(spans.values())), strict=True))
    fields = [
        msgspec.structs.replace(field, contribution=heat[field.offset])
        if field.offset in heat
        else field
        for field in content.fields
    ]
    return msgspec.structs.replace(content, fields=fields)
