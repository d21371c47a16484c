"""Deletion and insertion curves over a file's bytes: the order of blocks and the area.

Petsiuk et al. 2018 (RISE, arXiv 1806.07421) delete pixels in the order of a map's heat. Here
blocks of a file's bytes are deleted, since bytes are masked and maps are read back to bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from maltriage.metrics import Floats, Ints
from maltriage.probe.mask import Range
from maltriage.report.documents.evidence import HOT_BLOCK
from maltriage.sample.types import Layout
from maltriage.triage.evidence import Part

FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of a file's bytes masked, or shown, along a curve."""


@dataclass(frozen=True)
class Blocks:
    """A file in blocks of `HOT_BLOCK` bytes; the last one may be shorter.

    `edges` are 0 and the ends of the blocks, shape (n + 1,).
    """

    edges: Ints

    @classmethod
    def of(cls, size: int) -> Blocks:
        return cls(np.append(np.arange(0, size, HOT_BLOCK), size))

    @property
    def sizes(self) -> Ints:
        return np.diff(self.edges)

    def heat(self, parts: Iterable[Part]) -> Floats:
        """Heat on each block, shape (n,), from maps with their positions in the file."""
        total = sum(
            (places.integrate(grid, self.edges) for places, grid in parts),
            start=np.zeros(len(self.edges)),
        )
        return np.diff(total)

    def by_heat(self, heat: Floats) -> Ints:
        """The order of blocks by heat per byte, the hottest first; ties as in the file.

        Args:
            heat: of each block, shape (n,).
        """
        return np.argsort(-heat / self.sizes, kind="stable")

    def by_region(self, layout: Layout) -> Ints:
        """The order of blocks by the size of the region that they begin in, the largest first.

        Within a region, as in the file.
        """
        ordered = sorted(layout.regions, key=lambda region: -region.size)
        starts = np.array([region.start for region in layout.regions if region.size])
        rank = {region.start: i for i, region in enumerate(ordered) if region.size}
        place = np.searchsorted(starts, self.edges[:-1], side="right") - 1
        return np.argsort([rank[int(starts[i])] for i in place], kind="stable")

    def moved(self, order: Ints, by: int) -> Ints:
        """The order shifted `by` blocks in the file, wrapping at its end.

        Its first ranges are as many and as long as those of `order`, but elsewhere: the choice of
        a map without information.
        """
        return (order + by) % len(order)

    def divided(self, order: Ints, fraction: float) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
        """The bytes of the first blocks of an order and those of the others.

        Both are joined to ranges [start, end), ascending.

        Args:
            fraction: share of the first blocks' bytes, met as closely as blocks allow.
        """
        ends = np.concatenate(([0], np.cumsum(self.sizes[order])))
        count = int(np.abs(ends - fraction * ends[-1]).argmin())
        return self._ranges(order[:count]), self._ranges(order[count:])

    def _ranges(self, chosen: Ints) -> tuple[Range, ...]:
        inside = np.zeros(len(self.edges) + 1, dtype=np.int8)
        inside[1 + chosen] = 1
        at = np.flatnonzero(np.diff(inside))
        return tuple(
            (int(self.edges[first]), int(self.edges[end]))
            for first, end in zip(at[::2], at[1::2], strict=True)
        )


def area(values: Iterable[float]) -> float:
    """Area under a curve over `FRACTIONS`, by the trapezoidal rule."""
    return float(np.trapezoid(np.fromiter(values, dtype=np.float64), FRACTIONS))
