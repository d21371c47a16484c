"""Geometry of a view whose cells lie at places of their own, many of them at several.

Importing this costs numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from maltriage.sample import native

Floats = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScatteredGeometry:
    """Places of the cells of a map of shape (1, w): disjoint byte ranges in ascending order.

    Heat of a cell is spread evenly over its places, and over the bytes of each.

    Args:
        length: of the plotted bytes.
        gaps: bytes between the end of the place before, or 0, and each, little-endian uint32.
        sizes: their lengths in bytes, uint8.
        cells: the cell of each, little-endian uint16.

    The last three are bytes, so that a view is small to send; ValueError: they do not fit together.
    """

    length: int
    gaps: bytes
    sizes: bytes
    cells: bytes
    whole: ClassVar[bool] = True
    start: ClassVar[int] = 0

    def __post_init__(self) -> None:
        count = len(self.sizes)
        if (len(self.gaps), len(self.cells)) != (4 * count, 2 * count):
            raise ValueError("places, sizes and cells of different number")
        if count and self._edges[-1] > self.length:
            raise ValueError("places past the end")

    @classmethod
    def of(cls, length: int, start: Offsets, size: Offsets, cell: Offsets) -> ScatteredGeometry:
        """The geometry of places given as arrays, each of shape (n,).

        What is behind a gap of 4 GiB has no place; no program has one.
        """
        gaps = start.copy()
        gaps[1:] -= start[:-1] + size[:-1]
        far = np.flatnonzero(gaps >= 1 << 32)
        shown = slice(far[0] if len(far) else None)
        packed = gaps[shown].astype("<u4").tobytes(), size[shown].astype(np.uint8).tobytes()
        return cls(length, *packed, cell[shown].astype("<u2").tobytes())

    @property
    def present(self) -> int:
        """Bytes that are shown."""
        return self.length

    @property
    def count(self) -> int:
        """Number of places."""
        return len(self.sizes)

    @property
    def starts_and_cells(self) -> tuple[Offsets, Offsets]:
        """First byte and cell of each place."""
        return self._edges[::2], np.frombuffer(self.cells, dtype="<u2").astype(np.int64)

    @property
    def most(self) -> int:
        """One more than the highest cell that has a place."""
        return int(np.frombuffer(self.cells, dtype="<u2").max(initial=0)) + bool(self.cells)

    @cached_property
    def _edges(self) -> Offsets:
        """Start and end of each place, one after another, (2n,)."""
        steps = np.empty(2 * self.count, dtype=np.int64)
        steps[::2] = np.frombuffer(self.gaps, dtype="<u4")
        steps[1::2] = np.frombuffer(self.sizes, dtype=np.uint8)
        return steps.cumsum()

    def bytewise(self, heat: Floats) -> tuple[int, int] | None:
        """See `BodyGeometry.bytewise`."""
        return None

    def integrate(self, heat: Floats, offsets: Offsets) -> Floats:
        """Heat on the bytes [0, offset) of the file; see `BodyGeometry.integrate`."""
        cell = np.frombuffer(self.cells, dtype="<u2")
        if not len(cell):
            return np.zeros(len(offsets))
        often = np.bincount(cell, minlength=heat.size)
        sums = np.zeros(2 * len(cell) + 1)
        sums[1::2] = heat.ravel()[cell] / often[cell]
        return np.asarray(np.interp(offsets, self._edges, sums.cumsum()[:-1]))

    def integrate_steps(self, heat: Floats, step: int, count: int, others: Offsets) -> Floats:
        """Heat on the bytes [0, offset) of the file; see `BodyGeometry.integrate_steps`."""
        if native.kernel is not None:
            found = np.empty(count + 1 + len(others))
            flat = np.ascontiguousarray(heat, dtype=np.float64)
            places = self.gaps, self.sizes, self.cells
            native.kernel.scattered_heat(flat, *places, step, count, others, found)
            return found
        return self.integrate(heat, np.concatenate((np.arange(count + 1) * step, others)))

    def cell_ranges(self, cell: tuple[int, int], shape: tuple[int, int]) -> list[tuple[int, int]]:
        """Byte ranges of a cell of a map of `shape`: all its places."""
        own = np.flatnonzero(np.frombuffer(self.cells, dtype="<u2") == cell[1])
        edges: Sequence[Sequence[int]] = self._edges.reshape(-1, 2)[own].tolist()
        return [(start, end) for start, end in edges]
