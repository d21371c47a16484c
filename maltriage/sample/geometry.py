"""Geometry of a view: carries heat from its cells to bytes of the file, and bytes to cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from maltriage.sample import native

Floats = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]

_KIB = 1024
WIDTHS = (
    (10 * _KIB, 32),
    (30 * _KIB, 64),
    (60 * _KIB, 128),
    (100 * _KIB, 256),
    (200 * _KIB, 384),
    (500 * _KIB, 512),
    (1000 * _KIB, 768),
)
"""(file size below, width in bytes) after Nataraj et al. 2011, table 1; 1024 above."""


def width_for(size: int) -> int:
    """Width in bytes of the byteplot of a file of `size` bytes."""
    return next((width for limit, width in WIDTHS if size < limit), 1024)


class Geometry(Protocol):
    """Places in the file of the cells of maps over a view; it shows [start, start + present).

    Offsets are file offsets. The methods are described in `BodyGeometry`.
    """

    @property
    def whole(self) -> bool:
        """Whether the view shows the whole file, of any size."""

    @property
    def start(self) -> int: ...

    @property
    def present(self) -> int: ...

    def integrate(self, heat: Floats, offsets: Offsets) -> Floats: ...

    def integrate_steps(self, heat: Floats, step: int, count: int, others: Offsets) -> Floats: ...

    def cell_ranges(
        self, cell: tuple[int, int], shape: tuple[int, int]
    ) -> list[tuple[int, int]]: ...

    def bytewise(self, heat: Floats) -> tuple[int, int] | None: ...


def _plain(heat: Floats) -> Floats:
    """As the kernel reads it."""
    return np.ascontiguousarray(heat, dtype=np.float64)


def _prefix_at(prefix: Floats, at: Floats) -> Floats:
    """Linear interpolation of `prefix` (values at 0, 1, 2, ... along axis 0) at `at`."""
    low = np.minimum(at.astype(np.int64), len(prefix) - 2)
    share = at - low
    return np.asarray(prefix[low] * (1.0 - share) + prefix[low + 1] * share)


@dataclass(frozen=True)
class BodyGeometry:
    """Places in the file of the cells of a map over the body view.

    The plot has `width` bytes a row and as many rows as `length` bytes need; the end of
    its last row is padding. Any h x w map divides that rectangle evenly, so a map of any
    size can be carried back, finer or coarser than a byte.
    """

    length: int
    width: int
    whole: ClassVar[bool] = True
    start: ClassVar[int] = 0

    @property
    def present(self) -> int:
        """Bytes that are shown."""
        return self.length

    def bytewise(self, heat: Floats) -> tuple[int, int] | None:
        """The bytes [start, end) that each have a cell of their own; None: no bytes do."""
        return None

    @property
    def rows(self) -> int:
        return max(1, -(-self.length // self.width))

    @property
    def plotted(self) -> int:
        """Bytes of the rectangle, padding included."""
        return self.rows * self.width

    def integrate(self, heat: Floats, offsets: Offsets) -> Floats:
        """Heat on the bytes [0, offset) of the file, for each offset.

        Heat is spread evenly over a cell's area, so the integral over whole rows is
        linear between the cells' edges, and over a part of a row bilinear.

        Args:
            heat: map over this view, shape (h, w).
            offsets: file offsets, shape (n,), ascending; those past the end count as the end.

        Returns:
            Shape (n,), float64.
        """
        h, w = heat.shape
        row, column = np.divmod(np.minimum(offsets, self.length), self.width)
        prefix = np.zeros((h + 1, w + 1))
        prefix[1:, 1:] = heat.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
        flat = prefix.ravel()
        total = _prefix_at(prefix[:, -1], np.minimum(row * (h / self.rows), h))
        # Most offsets begin a row, where no part of one is to add.
        inside = column.nonzero()[0]
        row, x = row[inside], column[inside] * (w / self.width)
        x0 = np.minimum(x.astype(np.int64), w - 1)
        fx = x - x0

        def corner(y: Floats) -> Floats:
            y = np.minimum(y, h)
            y0 = np.minimum(y.astype(np.int64), h - 1)
            fy = y - y0
            at = y0 * (w + 1) + x0
            return np.asarray(
                flat[at] * (1 - fy) * (1 - fx)
                + flat[at + (w + 1)] * fy * (1 - fx)
                + flat[at + 1] * (1 - fy) * fx
                + flat[at + (w + 2)] * fy * fx
            )

        total[inside] += corner((row + 1) * (h / self.rows)) - corner(row * (h / self.rows))
        return total

    def integrate_steps(self, heat: Floats, step: int, count: int, others: Offsets) -> Floats:
        """Heat on the bytes [0, offset) of the file, for mostly regular offsets.

        Offsets at the same place in their rows are computed together, which is much faster than
        `integrate`.

        Args:
            heat: map over this view, shape (h, w).
            step, count: the offsets k * step, for k = 0 to `count`.
            others: a few more offsets, shape (n,).

        Returns:
            Shape (count + 1 + len(others),), float64.
        """
        h, w = heat.shape
        unit = math.gcd(step, self.width)
        cuts = self.width // unit  # places in a row at which a step can end
        if self.rows * cuts > 4 * count + 1024:
            steps = self.integrate(heat, np.arange(count + 1) * step)
            rest = [float(self.integrate(heat, np.array([other]))[0]) for other in others]
            return np.concatenate((steps, rest))
        if native.kernel is not None:
            found = np.empty(count + 1 + len(others))
            plot = self.rows, self.width, self.length
            native.kernel.body_heat(_plain(heat), h, *plot, step, count, others, found)
            return found
        prefix = np.zeros((h + 1, w + 1))
        heat.cumsum(axis=0, dtype=np.float64).cumsum(axis=1, out=prefix[1:, 1:])
        x = np.arange(1, cuts + 1) * (w / cuts)
        x0 = np.minimum(x.astype(np.int64), w - 1)
        left, columns = prefix[:, x0], prefix[:, x0 + 1]
        columns -= left
        columns *= x - x0
        columns += left
        y = np.arange(self.rows + 1) * (h / self.rows)
        y0 = np.minimum(y.astype(np.int64), h - 1)
        # In the rows above each one, and in the columns left of each place: (rows + 1, cuts).
        above = columns[y0]
        above += (columns[y0 + 1] - above) * (y - y0)[:, None]
        ends = np.empty(self.rows * cuts + 1)
        ends[0] = 0.0
        np.subtract(above[1:], above[:-1], out=ends[1:].reshape(self.rows, cuts))
        ends[1:].reshape(self.rows, cuts)[:] += above[:-1, -1:]
        steps = ends[: self.length // unit + 1 : step // unit][: count + 1]
        found = np.empty(count + 1 + len(others))
        found[: len(steps)] = steps
        if len(steps) <= count:
            found[len(steps) : count + 1] = self._at(prefix, self.length)
        for place, other in enumerate(others.tolist(), count + 1):
            found[place] = self._at(prefix, min(other, self.length))
        return found

    def _at(self, prefix: Floats, offset: int) -> float:
        """`integrate` for one offset, with the sums of the map over all cells above and left."""
        h, w = prefix.shape[0] - 1, prefix.shape[1] - 1
        row, column = divmod(offset, self.width)
        x = column * w / self.width
        x0 = min(int(x), w - 1)

        def corner(row: int, x0: int, share: float) -> float:
            y = row * h / self.rows
            y0 = min(int(y), h - 1)
            low = prefix.item(y0, x0) * (1 - share) + prefix.item(y0, x0 + 1) * share
            high = prefix.item(y0 + 1, x0) * (1 - share) + prefix.item(y0 + 1, x0 + 1) * share
            return float(low + (high - low) * (y - y0))

        total = corner(row, w - 1, 1.0)
        if column:
            total += corner(row + 1, x0, x - x0) - corner(row, x0, x - x0)
        return total

    def cell_ranges(self, cell: tuple[int, int], shape: tuple[int, int]) -> list[tuple[int, int]]:
        """Byte ranges that a cell of a map of `shape` touches, one for each row of the plot."""
        (i, j), (h, w) = cell, shape
        left, right = j * self.width // w, -(-(j + 1) * self.width // w)
        ranges = []
        for row in range(i * self.rows // h, -(-(i + 1) * self.rows // h)):
            start = row * self.width + left
            end = min(row * self.width + right, self.length)
            if start < end:
                ranges.append((start, end))
        return ranges

    def bands(self, ranges: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
        """Runs [first, end) of rows of an image of `size` rows that show a byte of the ranges."""
        touched = np.zeros(size + 2, dtype=np.int8)
        for start, end in ranges:
            first = start // self.width * size // self.rows
            touched[1 + first : 1 - (-((end - 1) // self.width + 1) * size // self.rows)] = 1
        edges = np.flatnonzero(np.diff(touched))
        return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@dataclass(frozen=True)
class WindowGeometry:
    """Places of the cells of a map over a window: `present` bytes from file offset `start`.

    The window is `length` bytes long; bytes past the present ones are padding. Heat
    is read along the bytes, so a map has shape (1, w) and each byte belongs to one cell.
    """

    start: int
    present: int
    length: int
    whole: ClassVar[bool] = False

    def bytewise(self, heat: Floats) -> tuple[int, int] | None:
        """See `BodyGeometry.bytewise`."""
        return (self.start, self.start + self.present) if heat.size == self.length else None

    def integrate(self, heat: Floats, offsets: Offsets) -> Floats:
        """Heat on the bytes [0, offset) of the file; see `BodyGeometry.integrate`."""
        total = np.zeros(len(offsets))
        if not self.present:
            return total
        # Most offsets lie ahead of a window or past it and need no work.
        first = int(offsets.searchsorted(self.start, side="right"))
        past = int(offsets.searchsorted(self.start + self.present))
        inside = self._inside(heat, np.append(offsets[first:past], self.start + self.present))
        total[first:past], total[past:] = inside[:-1], inside[-1]
        return total

    def integrate_steps(self, heat: Floats, step: int, count: int, others: Offsets) -> Floats:
        """Heat on the bytes [0, offset) of the file; see `BodyGeometry.integrate_steps`."""
        if native.kernel is not None:
            total = np.empty(count + 1 + len(others))
            span = self.start, self.present, self.length
            native.kernel.window_heat(_plain(heat), *span, step, count, others, total)
            return total
        total = np.zeros(count + 1 + len(others))
        if self.present:
            end = self.start + self.present
            first = min(self.start // step + 1, count + 1)
            past = max(first, min(-(-end // step), count + 1))
            steps = np.arange(first, past) * step
            inside = self._inside(heat, np.concatenate((steps, [end], others)))
            total[first:past] = inside[: past - first]
            total[past : count + 1] = inside[past - first]
            total[count + 1 :] = inside[past - first + 1 :]
        return total

    def _inside(self, heat: Floats, offsets: Offsets) -> Floats:
        """`integrate` for a few offsets in any order."""
        flat = heat.reshape(-1)
        prefix = np.zeros(len(flat) + 1)
        flat.cumsum(dtype=np.float64, out=prefix[1:])
        at = np.minimum(offsets - self.start, self.present)  # values below 0 count as 0
        return np.interp(at * (len(flat) / self.length), np.arange(len(prefix)), prefix)

    def cell_ranges(self, cell: tuple[int, int], shape: tuple[int, int]) -> list[tuple[int, int]]:
        """Byte ranges that a cell of a map of `shape` touches: one, or none in padding."""
        left = cell[1] * self.length // shape[1]
        right = -(-(cell[1] + 1) * self.length // shape[1])
        start, end = self.start + left, self.start + min(right, self.present)
        return [(start, end)] if start < end else []


class StepGeometry(WindowGeometry):
    """Places of the cells of a map over the whole file, each of the same number of bytes."""

    whole: ClassVar[bool] = True
