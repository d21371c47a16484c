"""Hot ranges with their content: merged, snapped to sensible edges, and summed anew.

Heat is conserved: a range's heat is always the difference of the cumulative heat at its edges,
wherever those moved, and ranges neither overlap nor cross a region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from maltriage.probe.common import Runs
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import Inspected, InspectOptions, common, inspect, spell
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.report.documents.evidence import HOT_BLOCK, Common, Evidence, HotRange, Word
from maltriage.sample.errors import SampleError
from maltriage.sample.findings import HotContent
from maltriage.sample.types import Layout, Notice, Region
from maltriage.sample.views.scattered import ScatteredGeometry
from maltriage.triage.evidence import Part, heat_on
from maltriage.work.job import Job
from maltriage.work.workers import LOST, Workers, reason_of

MERGE_GAP = HOT_BLOCK
"""Most bytes between two hot ranges of a region that are merged."""
FOCUS = 128
"""Bytes of the hottest part of a range, where its listing begins: about a window's view of one
cell."""

MAX_WORDS = 16

Spell = Callable[[list[tuple[int, int]]], list[str]]
"""Reads the letters in byte ranges of the file, in a worker."""

Look = Callable[[list[Range], bool], list[Inspected]]
"""Inspects ranges, the hottest first, in a worker; the flag: whether their edges may move."""


def look_into(
    workers: Workers,
    prepared: Prepared,
    parts: Sequence[Part] | None,
    evidence: Evidence,
    options: PrepareOptions,
    signatures: Path | None = None,
) -> tuple[Evidence, list[Notice]]:
    """The evidence with the content of its hot ranges and its strongest words, read in a worker; a
    notice instead if the worker is lost, or cannot read what it needs besides the file.

    Args:
        parts: see `inspected`.
        options: that the sample was prepared with.
        signatures: of library functions; None: they are not named.

    Raises:
        SampleError: the file is gone, or has changed.
    """

    def look(ranges: list[Range], snap: bool) -> list[Inspected]:
        how = _reading(prepared, options, snap, signatures)
        found: list[Inspected] = workers.submit(inspect, prepared.path, ranges, how).result()
        return found

    def letters(places: list[tuple[int, int]]) -> list[str]:
        how = _reading(prepared, options)
        found: list[str] = workers.submit(spell, prepared.path, places, how).result()
        return found

    try:
        evidence = inspected(prepared.layout, parts, evidence, look)
        words = strongest(prepared.layout, parts or (), letters)
        return msgspec.structs.replace(evidence, words=words), []
    except Exception as error:
        if _is_of_the_file(error):
            raise
        return evidence, [_not_inspected(error, workers)]


def look_up(
    workers: Workers, prepared: Prepared, index: Path, options: PrepareOptions
) -> Job[Runs]:
    """Have a worker find what of a file clean programs have, while other work goes on.

    Args:
        index: of what clean programs have in common.
        options: that the sample was prepared with.
    """
    return workers.submit(common, prepared.path, index, _reading(prepared, options))


def looked_up(
    workers: Workers,
    prepared: Prepared,
    parts: Sequence[Part],
    evidence: Evidence,
    job: Job[Runs],
) -> tuple[Evidence, list[Notice]]:
    """The evidence with the answer of `look_up`; a notice instead if the worker is lost, or cannot
    read the index.

    Raises:
        SampleError: the file is gone, or has changed.
    """
    try:
        return with_common(evidence, parts, job.result(), prepared.identity.size), []
    except Exception as error:
        if _is_of_the_file(error):
            raise
        reason = reason_of(error, workers.timeout).reason
        text = f"What of it clean programs have could not be looked up: {reason}."
        return evidence, [Notice("not-inspected", text)]


def _is_of_the_file(error: Exception) -> bool:
    """Whether an error of a worker says something of its file, and not of the worker: an index or
    signatures that cannot be read are `internal` there."""
    return isinstance(error, SampleError) and error.code not in LOST


def _reading(
    prepared: Prepared,
    options: PrepareOptions,
    snap: bool = False,
    signatures: Path | None = None,
) -> InspectOptions:
    return InspectOptions(
        prepared.identity.sha256,
        snap,
        signatures,
        max_size=options.max_size,
        formats=options.formats,
        archives=options.archives,
        unmapped=options.unmapped,
        in_part=options.in_part,
    )


def _not_inspected(error: Exception, workers: Workers) -> Notice:
    reason = reason_of(error, workers.timeout).reason
    text = f"What is in the hot bytes could not be looked into: {reason}."
    return Notice("not-inspected", text)


def with_common(evidence: Evidence, parts: Sequence[Part], runs: Runs, size: int) -> Evidence:
    """The evidence with what of it lies on bytes that clean programs have.

    Args:
        size: of the file, in bytes.
    """

    def within(start: int, end: int) -> Common:
        cut = runs.ranges.clip(start, end)
        there = cut[:, 1] > cut[:, 0]
        cut = cut[there]
        lengths, counts = cut[:, 1] - cut[:, 0], runs.counts[there]
        order = np.argsort(counts, kind="stable")
        before = lengths[order].cumsum()
        middle = order[np.searchsorted(before, before[-1] / 2)] if len(cut) else None
        heat = heat_on(parts, cut) if len(cut) else np.zeros(0)
        return Common(
            share=float(lengths.sum() / max(1, end - start)),
            packages=0 if middle is None else int(counts[middle]),
            of=runs.packages,
            contribution=float(heat.sum()),
            texts=float(heat[runs.texts[there]].sum()),
        )

    hot = [
        msgspec.structs.replace(item, common=within(item.start, item.end)) for item in evidence.hot
    ]
    regions = [
        msgspec.structs.replace(item, common=within(item.start, item.end))
        for item in evidence.regions
    ]
    return msgspec.structs.replace(evidence, hot=hot, regions=regions, common=within(0, size))


def inspected(
    layout: Layout, parts: Sequence[Part] | None, evidence: Evidence, look: Look
) -> Evidence:
    """The evidence with its hot ranges merged, snapped and inspected.

    Args:
        parts: the heat that the evidence accounts for; None: ranges stay as they are.
        look: called once; a second time, with fixed edges, only if a range with moved edges had no
            more heat for the label than against it.
    """
    if not evidence.hot:
        return evidence
    if parts is None:
        found = look([_as_it_is(layout, item) for item in evidence.hot], False)
        sums = [item.contribution for item in evidence.hot]
    else:
        ranges = merged(layout, parts, evidence.hot)
        found = look(ranges, True)
        if min(_sums(parts, found)) <= 0.0:
            found = look(ranges, False)
        sums = _sums(parts, found)
    hot = [
        HotRange(
            start=item.start,
            end=item.end,
            region=item.region.name,
            rva=_rva(item.region, item.start),
            contribution=value,
            hex=item.hex,
            content=_with_heat(parts or (), item.content),
        )
        for item, value in zip(found, sums, strict=True)
    ]
    hot.sort(key=lambda item: -item.contribution)
    return msgspec.structs.replace(evidence, hot=hot)


def merged(layout: Layout, parts: Sequence[Part], hot: Sequence[HotRange]) -> list[Range]:
    """Hot ranges to inspect, the hottest first.

    Neighbours of one region with at most `MERGE_GAP` bytes between them are merged, unless the
    bytes between count so much against the label that the whole would have less heat than a part.
    """
    joined: list[tuple[int, int, float, Region]] = []
    for item in sorted(hot, key=lambda item: item.start):
        region = _region(layout, item.start)
        if joined:
            start, end, value, before = joined[-1]
            if before == region and item.start - end <= MERGE_GAP:
                whole = float(heat_on(parts, np.array([(start, item.end)]))[0])
                if whole >= max(value, item.contribution):
                    joined[-1] = start, item.end, whole, region
                    continue
        joined.append((item.start, item.end, item.contribution, region))
    joined.sort(key=lambda part: -part[2])
    return [
        Range(start, end, _focus(parts, start, end), region) for start, end, _, region in joined
    ]


def _as_it_is(layout: Layout, item: HotRange) -> Range:
    return Range(item.start, item.end, item.start, _region(layout, item.start))


def _region(layout: Layout, offset: int) -> Region:
    region = layout.region_at(offset)
    assert region is not None  # a hot range lies in one region
    return region


def _rva(region: Region, offset: int) -> int | None:
    return None if region.rva is None else region.rva + offset - region.start


def _sums(parts: Sequence[Part], found: Sequence[Inspected]) -> list[float]:
    """Heat on each inspected range."""
    heat = heat_on(parts, np.array([(item.start, item.end) for item in found]))
    return [float(value) for value in heat]


def _focus(parts: Sequence[Part], start: int, end: int) -> int:
    """Start of the `FOCUS` bytes with the most heat, in steps of half of them."""
    starts = np.arange(start, end - FOCUS + 1, FOCUS // 2)
    if len(starts) < 2:
        return start
    heat = heat_on(parts, np.stack((starts, starts + FOCUS), axis=1))
    return int(starts[int(np.argmax(heat))])


def _with_heat(parts: Sequence[Part], content: HotContent | None) -> HotContent | None:
    """Content with the heat of the header fields that a view reads byte by byte."""
    if content is None or not content.fields:
        return content
    spans = {}
    for geometry, grid in parts:
        if shown := geometry.bytewise(grid):
            low, high = shown
            for field in content.fields:
                if low <= field.offset and field.offset + field.size <= high:
                    spans[field.offset] = (field.offset, field.offset + field.size)
    if not spans:
        return content
    heat = dict(zip(spans, heat_on(parts, np.array(list(spans.values()))).tolist(), strict=True))
    fields = [
        msgspec.structs.replace(field, contribution=heat[field.offset])
        if field.offset in heat
        else field
        for field in content.fields
    ]
    return msgspec.structs.replace(content, fields=fields)


def strongest(layout: Layout, parts: Sequence[Part], spell: Spell) -> list[Word]:
    """The words with most |heat|, the strongest first; none if no view of the model reads words."""
    chosen = [
        (float(grid.ravel()[cell]), places)
        for geometry, grid in parts
        if isinstance(geometry, ScatteredGeometry)
        for cell in np.argsort(-np.abs(grid.ravel()), kind="stable")[:MAX_WORDS]
        if grid.ravel()[cell] and (places := geometry.cell_ranges((0, int(cell)), (1, grid.size)))
    ]
    if not chosen:
        return []
    texts = spell([places[0] for _, places in chosen])
    words = []
    for (value, places), text in zip(chosen, texts, strict=True):
        start = places[0][0]
        region = layout.region_at(start)
        name = "" if region is None else region.name
        words.append(Word(text, value, len(places), start, name))
    return words
