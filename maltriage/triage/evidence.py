"""From heat on the cells of views to an account of the score in bytes and regions.

Nothing is lost on the way: regions + padding = the sum of all heat (to 1e-6 of the sum of
|heat|), and for an additive bundle that plus the bias is the explained score.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.bundle import Card
from maltriage.report.document import Evidence, HotRange, Plane, RegionHeat, ViewHeat, finite
from maltriage.sample.byteplot import BodyGeometry, View
from maltriage.sample.prepare import Prepared
from maltriage.sample.types import Layout
from maltriage.triage.verdict import Question

HOT_BLOCK = 256
"""Bytes of a block in which heat is summed to find hot ranges."""
HOT_QUANTILE = 0.95
"""A block is hot if its heat per byte is above this quantile of the file's blocks."""
MAX_HOT = 16
"""Hot ranges kept, the hottest first."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Heat:
    """The graph's answer for one sample: a map per view, and the score they account for."""

    maps: dict[str, npt.NDArray[np.float32]]
    baseline: float
    score: float


def account(
    prepared: Prepared, heat: Heat, question: Question, card: Card, *, plane: bool = False
) -> Evidence:
    """The evidence of one sample.

    Args:
        plane: also the body view as a picture, for people (it adds about 8 KB).
    """
    maps = {name: np.asarray(grid, dtype=np.float64) for name, grid in heat.maps.items()}
    layout = prepared.layout
    edges = np.array([r.start for r in layout.regions] + [prepared.identity.size])
    sums = np.diff(_integrate(prepared.views, maps, edges))
    padding = sum(prepared.views[name].geometry.padding(grid) for name, grid in maps.items())
    total = float(sums.sum()) + padding
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
    return Evidence(
        method=card.method,
        label=card.labels[question.label],
        against=None if question.against is None else card.labels[question.against],
        additive=card.additive,
        total=finite(total),
        bias=finite(heat.baseline),
        logit=finite(heat.score),
        regions=regions,
        padding=padding,
        hot=_hot_ranges(prepared, maps),
        views=[_view_heat(name, prepared.views[name], grid) for name, grid in maps.items()],
        plane=_plane(prepared.views, maps) if plane else None,
    )


def _integrate(
    views: dict[str, View], maps: dict[str, Floats], offsets: npt.NDArray[np.int64]
) -> Floats:
    """Heat of all views on the bytes [0, offset), for each offset."""
    total = np.zeros(len(offsets))
    for name, grid in maps.items():
        total += views[name].geometry.integrate(grid, offsets)
    return total


def _hot_ranges(prepared: Prepared, maps: dict[str, Floats]) -> list[HotRange]:
    """Runs of neighbouring blocks with much heat for the label; runs end at regions."""
    size = prepared.identity.size
    edges = np.append(np.arange(0, size, HOT_BLOCK), size)
    heat = np.diff(_integrate(prepared.views, maps, edges))
    density = heat / np.diff(edges)
    hot = (density > np.quantile(density, HOT_QUANTILE)) & (density > 0)
    if len(density) == 1:
        hot = density > 0
    bounds = np.flatnonzero(np.diff(np.concatenate(([0], hot.astype(np.int8), [0]))))
    firsts, lasts = bounds[::2], bounds[1::2]
    prefix = np.concatenate(([0.0], heat.cumsum()))
    hottest = np.argsort(prefix[firsts] - prefix[lasts], kind="stable")[:MAX_HOT]
    pieces = [
        piece
        for run in hottest
        for piece in _cut(int(edges[firsts[run]]), int(edges[lasts[run]]), prepared.layout)
    ]
    offsets = np.array([offset for piece in pieces for offset in piece[:2]], dtype=np.int64)
    values = np.diff(_integrate(prepared.views, maps, offsets))[::2]
    ranges = [
        HotRange(start, end, name, prepared.layout.rva_of(start), float(value))
        for (start, end, name), value in zip(pieces, values, strict=True)
        if value > 0
    ]
    return sorted(ranges, key=lambda hot_range: -hot_range.contribution)[:MAX_HOT]


def _cut(start: int, end: int, layout: Layout) -> list[tuple[int, int, str]]:
    return [
        (max(start, region.start), min(end, region.end), region.name)
        for region in layout.regions
        if region.start < end and start < region.end
    ]


def _view_heat(name: str, view: View, grid: Floats) -> ViewHeat:
    value = float(grid.sum())
    if isinstance(view.geometry, BodyGeometry):
        return ViewHeat(name, value, None, None)
    start, present = view.geometry.start, view.geometry.present
    return (
        ViewHeat(name, value, start, start + present)
        if present
        else ViewHeat(name, value, None, None)
    )


def _plane(views: dict[str, View], maps: dict[str, Floats]) -> Plane | None:
    """The body's first channel with its heat; None in a bundle that has no body view."""
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
            )
    return None
