"""Views of a sample and the geometry that carries their heat back to bytes.

`body` is the byteplot of Nataraj et al. 2011 ("Malware Images: Visualization and
Automatic Classification", section 4.1): the bytes row-major at a width that the file's
size sets, reduced by area to S x S. Windows are raw bytes at an anchor. Training and
scanning call the same functions, on the same trimmed bytes, for PE files and for PNGs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maltriage.sample.views import BodySpec, ViewSpec, WindowSpec

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
    step = 1 << 16
    end = len(data)
    while end:
        chunk = np.flatnonzero(data[max(0, end - step) : end])
        if len(chunk):
            return max(0, end - step) + int(chunk[-1]) + 1
        end = max(0, end - step)
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
            offsets: file offsets, shape (n,); those past the end count as the end.

        Returns:
            Shape (n,), float64.
        """
        h, w = heat.shape
        offsets = np.clip(offsets, 0, self.length)
        row, column = np.divmod(offsets, self.width)
        prefix = np.zeros((h + 1, w + 1))
        prefix[1:, 1:] = heat.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
        top, bottom = row * (h / self.rows), (row + 1) * (h / self.rows)
        x = column * (w / self.width)

        def corner(y: Floats, at: Floats) -> Floats:
            y0 = np.minimum(y.astype(np.int64), h - 1)
            x0 = np.minimum(at.astype(np.int64), w - 1)
            fy, fx = y - y0, at - x0
            return np.asarray(
                prefix[y0, x0] * (1 - fy) * (1 - fx)
                + prefix[y0 + 1, x0] * fy * (1 - fx)
                + prefix[y0, x0 + 1] * (1 - fy) * fx
                + prefix[y0 + 1, x0 + 1] * fy * fx
            )

        full = _prefix_at(prefix[:, -1], np.minimum(top, h))
        part = corner(np.minimum(bottom, h), x) - corner(np.minimum(top, h), x)
        return full + np.where(column > 0, part, 0.0)

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
        flat = heat.reshape(-1)
        prefix = np.concatenate(([0.0], flat.cumsum(dtype=np.float64)))
        scale = len(flat) / self.length
        # Most offsets lie ahead of a window or past it, where there is nothing to work out.
        total = np.zeros(len(offsets))
        total[offsets >= self.start + self.present] = _prefix_at(
            prefix, np.array([self.present * scale])
        )
        inside = np.flatnonzero((offsets > self.start) & (offsets < self.start + self.present))
        at = (offsets[inside] - self.start).astype(np.float64) * scale
        total[inside] = _prefix_at(prefix, at)
        return total

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
    pe = pe_offset(data)
    if pe is None:
        return data
    out = bytearray(data)
    for field, size in _DISARMED_FIELDS:
        start, end = pe + field, pe + field + size
        if end <= len(out):
            out[start:end] = bytes(size)
    return bytes(out)


_DISARMED_FIELDS = ((4, 2), (24 + 16, 4), (24 + 68, 2))
"""(offset from the PE signature, size) of Machine, AddressOfEntryPoint and Subsystem."""


def pe_offset(data: bytes) -> int | None:
    """Offset of the PE signature, or None where the file has none."""
    if len(data) < 64 or data[:2] != b"MZ":
        return None
    offset = int.from_bytes(data[60:64], "little")
    return offset if data[offset : offset + 4] == b"PE\0\0" else None


def make_views(
    data: bytes, anchors: dict[str, int], specs: tuple[ViewSpec, ...]
) -> dict[str, View]:
    """The views of a file, by name, in the order of `specs`.

    Args:
        data: the whole file (of a PNG: its pixels).
        anchors: file offsets by anchor name, as `Layout.anchors`.
        specs: the views wanted, as a card lists them.
    """
    raw = np.frombuffer(neutralize(data), dtype=np.uint8)
    raw = raw[: trimmed_length(raw)]
    views: dict[str, View] = {}
    for spec in specs:
        views[spec.name] = (
            body(raw, spec) if isinstance(spec, BodySpec) else window(raw, anchors, spec)
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


def body(raw: Bytes, spec: BodySpec) -> View:
    """The byteplot of the trimmed bytes, area-averaged to (C, S, S).

    Channels, each over the same cells: `mean` of the bytes, `spread` (twice their standard
    deviation, which is at most 127.5), and the shares of `zero`, `printable` (0x20 to
    0x7e) and `high` (0x80 and up) bytes, times 255. Padding counts as nothing in every
    channel, so an empty file is all zero.
    """
    geometry = BodyGeometry(len(raw), width_for(len(raw)))
    rows, width, size = geometry.rows, geometry.width, spec.size
    area = (rows / size) * (width / size)
    mean, square, zero, printable, high = _cell_sums(raw, rows, width, size) / area
    planes = {
        "mean": mean,
        "spread": 2.0 * np.sqrt(np.maximum(square - mean**2, 0.0)),
        "zero": 255.0 * zero,
        "printable": 255.0 * printable,
        "high": 255.0 * high,
    }
    stack = np.stack([planes[channel] for channel in spec.channels])
    # Sums are exact up to the last bits of float64; the nudge keeps a value that lies on a
    # half from being rounded differently on another machine.
    return View(np.clip(np.floor(stack + (0.5 + 1e-9)), 0, 255).astype(np.uint8), geometry)


_BLOCK = 256
"""Rows summed at once: 256 x 255 still fits 16 bits, which makes the sums fast."""


def _planes(block: Bytes) -> tuple[npt.NDArray[Any], ...]:
    """Value, square, zero, printable and high of each byte, each of the block's shape."""
    return (
        block,
        np.square(block, dtype=np.uint16),
        (block == 0).view(np.uint8),
        ((block - np.uint8(0x20)) < 0x5F).view(np.uint8),
        block >> 7,
    )


def _sums(block: Bytes) -> Floats:
    """Sums of the planes down the rows: (5, width)."""
    sums = np.zeros((5, block.shape[1]))
    for row in range(0, len(block), _BLOCK):
        for i, plane in enumerate(_planes(block[row : row + _BLOCK])):
            sums[i] += plane.sum(axis=0, dtype=np.uint32 if i == 1 else np.uint16)
    return sums


def _cell_sums(raw: Bytes, rows: int, width: int, size: int) -> Floats:
    """Sums of the planes over each cell of a size x size map: (5, size, size).

    A cell's edge may cut a row of bytes. Band i of rows is P(edge i + 1) - P(edge i), where
    P(e) is the sum of the whole rows above e plus the cut share of the row that e lies in.
    """
    whole = len(raw) // width
    plot = raw[: whole * width].reshape(whole, width)
    at = np.arange(size + 1) * rows
    row, cut = np.minimum(at // size, whole), (at % size) / size
    cells = np.empty((5, size, size))
    for i in range(size):
        cells[:, i] = _columns(_sums(plot[row[i] : row[i + 1]]), size)
    inner = np.flatnonzero((cut > 0) & (row < whole))
    if len(inner):
        lines = np.stack([_columns(plane, size) for plane in _planes(plot[row[inner]])])
        lines *= cut[inner][:, None]
        cells[:, inner - 1] += lines
        cells[:, inner] -= lines
    rest = np.zeros((1, width), dtype=np.uint8)
    rest[0, : len(raw) - whole * width] = raw[whole * width :]
    if whole < rows:  # the unfinished last row: only the bytes that exist count
        edges = at / size
        overlap = np.clip(np.minimum(edges[1:], rows) - np.maximum(edges[:-1], whole), 0.0, None)
        sums = _sums(rest)
        sums[2, len(raw) - whole * width :] = 0.0
        cells += overlap[:, None] * _columns(sums, size)[:, None]
    return cells


def _columns(values: npt.NDArray[np.generic], size: int) -> Floats:
    """Sums over `size` equal groups of columns: (n, width) to (n, size)."""
    count, width = values.shape
    if width % size == 0:
        return np.asarray(values.reshape(count, size, width // size) @ np.ones(width // size))
    prefix = np.zeros((count, width + 1))
    values.cumsum(axis=1, out=prefix[:, 1:])
    at = np.arange(size + 1) * width
    column = np.minimum(at // size, width - 1)
    cut = at / size - column
    return np.diff(prefix[:, column] * (1 - cut) + prefix[:, column + 1] * cut, axis=1)
