"""Views of a sample and the geometry that carries their heat back to bytes.

`body` is the byteplot of Nataraj et al. 2011 ("Malware Images: Visualization and
Automatic Classification", section 4.1): the bytes row-major at a width that the file's
size sets, reduced by area to S x S. Windows are raw bytes at an anchor. Training and
scanning call the same functions, on the same trimmed bytes, for PE files and for PNGs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.sample.cells import cell_sums
from maltriage.sample.views import BODY_CHANNELS, BodySpec, ViewSpec, WindowSpec

Bytes = npt.NDArray[np.uint8]
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


def trimmed_length(data: Bytes) -> int:
    """Length of `data` without its trailing zero bytes."""
    step = 1 << 9  # most files end soon after their last byte that is not zero
    end = len(data)
    while end:
        start = max(0, end - step)
        chunk = np.flatnonzero(data[start:end])
        if len(chunk):
            return start + int(chunk[-1]) + 1
        end, step = start, min(4 * step, 1 << 16)
    return 0


def _prefix_at(prefix: Floats, at: Floats) -> Floats:
    """Linear interpolation of `prefix` (values at 0, 1, 2, ... along axis 0) at `at`."""
    low = np.minimum(at.astype(np.int64), len(prefix) - 2)
    share = at - low
    return np.asarray(prefix[low] * (1.0 - share) + prefix[low + 1] * share)


@dataclass(frozen=True)
class BodyGeometry:
    """Where the cells of a map over the body view lie in the file.

    The plot has `width` bytes a row and as many rows as `length` bytes need; the end of
    its last row is padding. Any h x w map divides that rectangle evenly, so a map of any
    size can be carried back, finer or coarser than a byte.
    """

    length: int
    width: int

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
        # Of the offsets that are asked for, most begin a row, where no part of one is to add.
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

    def integrate_steps(self, heat: Floats, step: int, count: int, others: list[int]) -> Floats:
        """Heat on the bytes [0, offset) of the file, for offsets of which most are regular.

        Those that lie alike in their rows are worked out together, which is much less work than
        `integrate` has with them.

        Args:
            heat: map over this view, shape (h, w).
            step, count: the offsets k * step, for k = 0 to `count`.
            others: a few offsets besides.

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
        for place, other in enumerate(others, count + 1):
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

    def padding(self, heat: Floats) -> float:
        """Heat on the part of the plot that is no byte of the file."""
        return float(heat.sum(dtype=np.float64)) - float(
            self.integrate(heat, np.array([self.length]))[0]
        )

    def cell_at(self, offset: int, shape: tuple[int, int]) -> tuple[int, int]:
        """Cell (row, column) of a map of `shape` that holds the start of a byte."""
        row, column = divmod(offset, self.width)
        return row * shape[0] // self.rows, column * shape[1] // self.width

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


@dataclass(frozen=True)
class WindowGeometry:
    """Where the cells of a map over a window lie: `present` bytes from file offset `start`.

    The window is `length` bytes long; what lies past the present bytes is padding. Heat
    is read along the bytes, so a map has shape (1, w) and each byte belongs to one cell.
    """

    start: int
    present: int
    length: int

    def integrate(self, heat: Floats, offsets: Offsets) -> Floats:
        """Heat on the bytes [0, offset) of the file; see `BodyGeometry.integrate`."""
        total = np.zeros(len(offsets))
        if not self.present:
            return total
        # Most offsets lie ahead of a window or past it, where there is nothing to work out.
        first = int(offsets.searchsorted(self.start, side="right"))
        past = int(offsets.searchsorted(self.start + self.present))
        inside = self._inside(heat, np.append(offsets[first:past], self.start + self.present))
        total[first:past], total[past:] = inside[:-1], inside[-1]
        return total

    def integrate_steps(self, heat: Floats, step: int, count: int, others: list[int]) -> Floats:
        """Heat on the bytes [0, offset) of the file; see `BodyGeometry.integrate_steps`."""
        total = np.zeros(count + 1 + len(others))
        if self.present:
            end = self.start + self.present
            first = min(self.start // step + 1, count + 1)
            past = max(first, min(-(-end // step), count + 1))
            inside = self._inside(
                heat, np.array([*range(first * step, past * step, step), end, *others])
            )
            total[first:past] = inside[: past - first]
            total[past : count + 1] = inside[past - first]
            total[count + 1 :] = inside[past - first + 1 :]
        return total

    def _inside(self, heat: Floats, offsets: Offsets) -> Floats:
        """`integrate` for a few offsets in any order."""
        flat = heat.reshape(-1)
        prefix = np.zeros(len(flat) + 1)
        flat.cumsum(dtype=np.float64, out=prefix[1:])
        at = np.minimum(offsets - self.start, self.present)  # what is below 0 counts as 0
        return np.interp(at * (len(flat) / self.length), np.arange(len(prefix)), prefix)

    def padding(self, heat: Floats) -> float:
        """Heat on the part of the window that is no byte of the file."""
        return float(heat.sum(dtype=np.float64)) - float(
            self.integrate(heat, np.array([self.start + self.present]))[0]
        )

    def cell_at(self, offset: int, shape: tuple[int, int]) -> tuple[int, int]:
        """Cell (0, column) of a map of `shape` that holds the start of a byte."""
        return 0, (offset - self.start) * shape[1] // self.length

    def cell_ranges(self, cell: tuple[int, int], shape: tuple[int, int]) -> list[tuple[int, int]]:
        """Byte ranges that a cell of a map of `shape` touches: one, or none in padding."""
        left = cell[1] * self.length // shape[1]
        right = -(-(cell[1] + 1) * self.length // shape[1])
        start, end = self.start + left, self.start + min(right, self.present)
        return [(start, end)] if start < end else []


Geometry = BodyGeometry | WindowGeometry


@dataclass(frozen=True)
class View:
    """One image of a sample: uint8 pixels of `spec.shape`, and where they come from."""

    pixels: Bytes
    geometry: Geometry


def neutralize(data: bytes) -> bytes:
    """`data` with the header fields zeroed by which public corpora are disarmed.

    SOREL-20M and BODMAS zero COFF Machine and optional-header Subsystem; others overwrite
    AddressOfEntryPoint with a constant. A net that saw these fields would learn who disarmed
    the file.
    """
    view, at = memoryview(data), 0
    parts: list[bytes | memoryview] = []
    for start, end in disarmed_ranges(data):
        parts += [view[at:start], bytes(end - start)]
        at = end
    return b"".join([*parts, view[at:]]) if parts else data


def disarmed_ranges(data: bytes) -> list[tuple[int, int]]:
    """Byte ranges of the header fields that `neutralize` zeroes, ascending."""
    pe = pe_offset(data)
    if pe is None:
        return []
    ranges = [(pe + field, pe + field + size) for field, size in _DISARMED_FIELDS]
    return [(start, end) for start, end in ranges if end <= len(data)]


_DISARMED_FIELDS = ((4, 2), (24 + 16, 4), (24 + 68, 2))
"""(offset from the PE signature, size) of Machine, AddressOfEntryPoint and Subsystem."""


def pe_offset(data: bytes) -> int | None:
    """Offset of the PE signature, or None where the file has none."""
    if len(data) < 64 or data[:2] != b"MZ":
        return None
    offset = int.from_bytes(data[60:64], "little")
    return offset if data[offset : offset + 4] == b"PE\0\0" else None


def make_views(
    data: bytes,
    anchors: dict[str, int],
    specs: tuple[ViewSpec, ...],
    width: int | None = None,
) -> dict[str, View]:
    """The views of a file, by name, in the order of `specs`.

    Args:
        data: the whole file (of a PNG: its pixels).
        anchors: file offsets by anchor name, as `Layout.anchors`.
        specs: the views wanted, as a card lists them.
        width: of the byteplot, where it is not the one that the file's size sets.
    """
    return plot(plotted(data), anchors, specs, width)


def plotted(data: bytes) -> Bytes:
    """The bytes that views show: disarmed, and without trailing zeros."""
    raw = np.frombuffer(neutralize(data), dtype=np.uint8)
    return raw[: trimmed_length(raw)]


def plot(
    raw: Bytes, anchors: dict[str, int], specs: tuple[ViewSpec, ...], width: int | None = None
) -> dict[str, View]:
    """The views of bytes as `plotted` gives them; see `make_views`."""
    views: dict[str, View] = {}
    for spec in specs:
        views[spec.name] = (
            body(raw, spec, width) if isinstance(spec, BodySpec) else window(raw, anchors, spec)
        )
    return views


def window(raw: Bytes, anchors: dict[str, int], spec: WindowSpec) -> View:
    """Raw bytes at an anchor: shape (2, length), the bytes and which of them exist (1).

    A window reaches from `before` bytes ahead of its anchor (not ahead of the file) to at
    most the end of the plotted bytes. A file without the anchor gives an empty window.
    """
    pixels = np.zeros(spec.shape, dtype=np.uint8)
    ends = {"head": 0, "tail": max(0, len(raw) - spec.length)}
    anchor = ends.get(spec.anchor, anchors.get(spec.anchor))
    if anchor is None or not 0 <= anchor < len(raw):
        return View(pixels, WindowGeometry(0, 0, spec.length))
    start = max(0, anchor - spec.before)
    part = raw[start : start + spec.length]
    pixels[0, : len(part)] = part
    pixels[1, : len(part)] = 1
    return View(pixels, WindowGeometry(start, len(part), spec.length))


def body(raw: Bytes, spec: BodySpec, width: int | None = None) -> View:
    """The byteplot of the trimmed bytes, area-averaged to (C, S, S).

    Channels, each over the same cells: `mean` of the bytes, `spread` (twice their standard
    deviation, which is at most 127.5), and the shares of `zero`, `printable` (0x20 to
    0x7e) and `high` (0x80 and up) bytes, times 255. Padding counts as nothing in every
    channel, so an empty file is all zero.
    """
    geometry = BodyGeometry(len(raw), width or width_for(len(raw)))
    return View(body_bands(raw, spec, geometry), geometry)


def body_bands(
    raw: Bytes, spec: BodySpec, geometry: BodyGeometry, bands: tuple[int, int] | None = None
) -> Bytes:
    """Pixels of the body: (C, S, S), or of its rows [first, end) alone: (C, end - first, S).

    Args:
        raw: the plotted bytes.
        geometry: of the body of these bytes.
        bands: rows of the image; None: all. Bit by bit what the whole image has there.
    """
    rows, width, size = geometry.rows, geometry.width, spec.size
    planes = cell_sums(raw, rows, width, size, bands)
    planes /= (rows / size) * (width / size)
    mean, spread = planes[0], planes[1]  # so far the mean square
    spread -= mean * mean
    np.maximum(spread, 0.0, out=spread)
    np.sqrt(spread, out=spread)
    spread *= 2.0
    planes[2:] *= 255.0
    if spec.channels != BODY_CHANNELS:
        planes = planes[[BODY_CHANNELS.index(channel) for channel in spec.channels]]
    # Sums are exact up to the last bits of float64; the nudge keeps a value that lies on a
    # half from being rounded differently on another machine.
    planes += 0.5 + 1e-9
    np.minimum(planes, 255.0, out=planes)
    return planes.astype(np.uint8)
