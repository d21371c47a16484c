"""Turns heat on the cells of views into an account of the score, by bytes and regions.

Heat is conserved: regions + padding = the sum of all heat (to 1e-6 of the sum of |heat|), and for
an additive bundle that plus the bias is the explained score.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from maltriage.bundle import Card
from maltriage.probe.prepare import Prepared
from maltriage.report.documents.evidence import (
    HOT_BLOCK,
    Evidence,
    HotRange,
    Plane,
    RegionHeat,
    ViewHeat,
)
from maltriage.report.documents.record import finite
from maltriage.sample.byteplot import View
from maltriage.sample.geometry import BodyGeometry
from maltriage.sample.types import Layout, Region
from maltriage.sample.views import EntropySpec, WordsSpec, program_end
from maltriage.triage.verdict import Question

HOT_QUANTILE = 0.95
"""A block is hot if its heat per byte is above this quantile of the file's blocks."""
_SAME = 1e-9
"""Relative difference allowed between sums of one value, due to rounding."""
MAX_HOT = 16
"""Hot ranges kept, the hottest first."""

Floats = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Heat:
    """The graph's answer for one sample: a map per view, and the score they account for.

    `same_as`: other methods with the same maps by construction. `additive`: whether the maps and
    the baseline sum to the score.
    """

    maps: dict[str, npt.NDArray[np.float32]]
    baseline: float
    score: float
    additive: bool
    method: str
    same_as: tuple[str, ...] = ()


def account(
    prepared: Prepared, heat: Heat, question: Question, card: Card, *, plane: bool = False
) -> Evidence:
    """The evidence of one sample.

    Args:
        plane: also the body view as a picture, for people (it adds about 8 KB).

    Raises:
        MaltriageError: the model returned a value that is not a number.
    """
    maps = {name: np.asarray(grid, dtype=np.float64) for name, grid in heat.maps.items()}
    for grid in maps.values():  # before sums and quantiles, which would warn on stderr
        finite(float(np.abs(grid).max(initial=0.0)))
    division = divide(prepared, parts_of(prepared, maps))
    ending = _ending(prepared, card)
    return Evidence(
        method=heat.method,
        same_as=list(heat.same_as),
        label=card.labels[question.label],
        against=None if question.against is None else card.labels[question.against],
        additive=heat.additive,
        total=finite(division.total),
        bias=finite(heat.baseline),
        logit=finite(heat.score),
        regions=division.regions,
        padding=division.padding,
        hot=division.hot,
        views=[
            _view_heat(name, prepared.views[name], grid, ends=name in ending)
            for name, grid in maps.items()
        ],
        plane=_plane(prepared.views, maps) if plane else None,
        log_odds=question.is_odds,
    )


class Places(Protocol):
    """Places of the cells of a map in the file: the geometry of a view, or another one."""

    def integrate(self, heat: Floats, offsets: npt.NDArray[np.int64]) -> Floats:
        """Heat on the bytes [0, offset) of the file, for ascending offsets."""
        ...

    def integrate_steps(self, heat: Floats, step: int, count: int, others: Offsets) -> Floats:
        """The same for the offsets k * step, k = 0 to `count`, and then for each of `others`."""
        ...

    def bytewise(self, heat: Floats) -> tuple[int, int] | None:
        """The bytes [start, end) that each have a cell of their own; None: no bytes do."""
        ...


Part = tuple[Places, Floats]
"""A map and the places of its cells."""


def parts_of(prepared: Prepared, maps: Mapping[str, npt.NDArray[np.floating]]) -> list[Part]:
    """Maps by view, with the geometry of their views."""
    return [
        (prepared.views[name].geometry, np.asarray(grid, dtype=np.float64))
        for name, grid in maps.items()
    ]


@dataclass(frozen=True)
class Division:
    """All heat of a sample, divided over its bytes: regions + padding = total."""

    total: float
    padding: float
    regions: list[RegionHeat]
    hot: list[HotRange]


def divide(prepared: Prepared, parts: Sequence[Part]) -> Division:
    """Divide the heat of maps over the regions and hot ranges of a sample."""
    layout = prepared.layout
    within = _within(prepared, parts)
    sums = np.diff(within.at([region.start for region in layout.regions] + [within.size]))
    padding = within.padding
    scale = float(np.abs(sums).sum()) + abs(padding)
    regions = [
        RegionHeat(
            name=region.name,
            kind=region.kind,
            start=region.start,
            end=region.end,
            entropy=region.entropy,
            contribution=float(value),
            share=float(value) / scale if scale else 0.0,
        )
        for region, value in zip(layout.regions, sums, strict=True)
    ]
    return Division(float(sums.sum()) + padding, padding, regions, _hot_ranges(within, layout))


def heat_on(parts: Sequence[Part], ranges: npt.NDArray[np.int64]) -> Floats:
    """Heat on byte ranges of a file, all maps together.

    Args:
        ranges: [start, end) of each, shape (n, 2).

    Returns:
        Shape (n,).
    """
    offsets, place = np.unique(ranges, return_inverse=True)
    heat = np.zeros(len(offsets))
    for places, grid in parts:
        heat += places.integrate(grid, offsets)
    edges = heat[place.reshape(ranges.shape)]
    return np.asarray(edges[:, 1] - edges[:, 0])


@dataclass(frozen=True)
class _Within:
    """Heat on the bytes [0, offset) of a file, computed once for all offsets needed.

    `blocks` has it at the edges of blocks, the last of which is the end of the file, and `others`
    at the other edges of regions. `padding` is the heat on no byte of the file.
    """

    size: int
    blocks: Floats
    others: dict[int, float]
    padding: float

    def at(self, offsets: list[int]) -> Floats:
        """Heat on the bytes [0, offset) for offsets that are such edges."""
        others, blocks = self.others, self.blocks
        return np.array(
            [
                others[offset] if offset in others else blocks[offset // HOT_BLOCK]
                for offset in offsets
            ]
        )


def _within(prepared: Prepared, parts: Sequence[Part]) -> _Within:
    size = prepared.read
    edges = {region.start for region in prepared.layout.regions if region.start % HOT_BLOCK}
    others = np.array([*edges, size], dtype=np.int64)
    count = (size - 1) // HOT_BLOCK
    heat = np.zeros(count + 1 + len(others))
    for places, grid in parts:
        heat += places.integrate_steps(grid, HOT_BLOCK, count, others)
    # The end of the file, which is the end of its last block, is the last of the others.
    found = heat[count + 1 :].tolist()
    blocks = heat[: count + 2]
    blocks[-1] = found[-1]
    padding = sum(float(grid.sum()) for _, grid in parts) - found[-1]
    return _Within(size, blocks, dict(zip(others.tolist(), found, strict=True)), padding)


def _hot_ranges(within: _Within, layout: Layout) -> list[HotRange]:
    """Runs of neighbouring blocks with much heat for the label; runs end at regions."""
    heat = np.diff(within.blocks)
    size, last = within.size, len(heat) - 1
    density = heat / HOT_BLOCK
    density[last] = heat[last] / (size - last * HOT_BLOCK)
    rank = int(last * HOT_QUANTILE)
    # Above the quantile, interpolated or not, means above the next lower value.
    hot = np.zeros(len(density) + 2, dtype=np.bool_)
    limit = float(np.partition(density, rank)[rank]) if last else 0.0
    np.greater(density, max(0.0, limit * (1 + _SAME)), out=hot[1:-1])
    if limit > 0 and not hot.any():  # many blocks share the highest value, e.g. in one cell
        np.greater(density, limit * (1 - _SAME), out=hot[1:-1])
    bounds = np.flatnonzero(hot[1:] != hot[:-1])
    firsts, lasts = bounds[::2], bounds[1::2]
    sums = within.blocks[lasts] - within.blocks[firsts]
    hottest = np.argsort(-sums, kind="stable")[:MAX_HOT]
    pieces = [
        piece
        for run in hottest
        for piece in _cut(
            int(firsts[run]) * HOT_BLOCK, min(int(lasts[run]) * HOT_BLOCK, size), layout
        )
    ]
    values = within.at([end for _, end, _ in pieces]) - within.at([start for start, _, _ in pieces])
    ranges = [
        HotRange(
            start,
            end,
            region.name,
            None if region.rva is None else region.rva + start - region.start,
            float(value),
        )
        for (start, end, region), value in zip(pieces, values, strict=True)
        if value > 0
    ]
    return sorted(ranges, key=lambda hot_range: -hot_range.contribution)[:MAX_HOT]


def _cut(start: int, end: int, layout: Layout) -> list[tuple[int, int, Region]]:
    """A run cut at region edges, each part with its region."""
    regions = layout.regions
    first = bisect_right(regions, start, key=_end_of)
    pieces = []
    for region in islice(regions, first, None):
        if region.start >= end:
            break
        pieces.append((max(start, region.start), min(end, region.end), region))
    return pieces


_end_of = attrgetter("end")


def _ending(prepared: Prepared, card: Card) -> set[str]:
    """Names of the views that end where the program does, if anything lies behind it."""
    if program_end(prepared.layout.anchors, prepared.read) >= prepared.read:
        return set()
    counted = (spec for spec in card.views if isinstance(spec, WordsSpec | EntropySpec))
    return {spec.name for spec in counted if spec.program}


def _view_heat(name: str, view: View, grid: Floats, *, ends: bool) -> ViewHeat:
    value = float(grid.sum())
    start, present = view.geometry.start, view.geometry.present
    if (view.geometry.whole and not ends) or not present:
        return ViewHeat(name, value, None, None)
    return ViewHeat(name, value, start, start + present)


def _plane(views: dict[str, View], maps: dict[str, Floats]) -> Plane | None:
    """The body's first channel with its heat; None in a bundle without a body view."""
    for name, view in views.items():
        if isinstance(view.geometry, BodyGeometry):
            pixels, grid = view.pixels[0], maps[name]
            return Plane(
                width=pixels.shape[1],
                height=pixels.shape[0],
                pixels=base64.b64encode(pixels.tobytes()).decode(),
                heat_width=grid.shape[1],
                heat_height=grid.shape[0],
                heat=[float(value) for value in grid.ravel()],
                length=view.geometry.length,
                row_bytes=view.geometry.width,
            )
    return None
