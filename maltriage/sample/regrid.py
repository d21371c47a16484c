"""Resamples heat to another grid over the same view, by area: it stays on its bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maltriage.sample.geometry import BodyGeometry, Geometry

Floats = npt.NDArray[np.float64]

_AT_ONCE = 1 << 20
"""Bytes whose heat is held at once."""


def overlap(before: int, after: int, first: int = 0, last: int | None = None) -> Floats:
    """Share of each old cell that lies in each new one, in one direction.

    Both grids divide one line evenly.

    Args:
        before: number of old cells.
        after: number of new cells.
        first, last: only the old cells [first, last); None: up to the last one.

    Returns:
        Shape (after, last - first); the columns sum to 1.
    """
    old = np.arange(first, (before if last is None else last) + 1, dtype=np.float64) * after
    new = np.arange(after + 1, dtype=np.float64) * before
    low = np.maximum(new[:-1, None], old[None, :-1])
    high = np.minimum(new[1:, None], old[None, 1:])
    return np.asarray((high - low).clip(min=0) / after)


def regrid(heat: Floats, shape: tuple[int, int]) -> Floats:
    """A map [h, w] on another grid over the same view; the sum stays.

    Heat is spread evenly over a cell, and a new cell takes what lies within its area. Both grids
    divide one rectangle evenly, so this is the geometry of the bytes, whatever the file's size.
    """
    return np.asarray(overlap(heat.shape[0], shape[0]) @ heat @ overlap(heat.shape[1], shape[1]).T)


def onto_plane(
    heat: Floats, window: Geometry, plane: BodyGeometry, shape: tuple[int, int]
) -> Floats:
    """The heat of a window on a grid over the body, at the place of each byte in the byteplot.

    Args:
        heat: map over the window, [1, w].
        shape: of the grid, (H, W).

    Returns:
        Shape (H, W). Heat on no byte of the plot is left out.
    """
    end = min(window.start + window.present, plane.rows * plane.width)
    found, step = np.zeros(shape), max(1, _AT_ONCE // plane.width)
    for first in range(window.start // plane.width, -(-end // plane.width), step):
        last = min(first + step, -(-end // plane.width))
        low, high = max(window.start, first * plane.width), min(end, last * plane.width)
        rows = np.zeros(((last - first), plane.width))
        begin = low - first * plane.width
        heats = np.diff(window.integrate(heat, np.arange(low, high + 1)))
        rows.reshape(-1)[begin : begin + high - low] = heats
        down, across = overlap(plane.rows, shape[0], first, last), overlap(plane.width, shape[1])
        found += down @ rows @ across.T
    return found
