"""Views of a sample; `geometry` carries their heat back to bytes.

`body` is the byteplot of Nataraj et al. 2011 ("Malware Images: Visualization and
Automatic Classification", section 4.1): the bytes row-major at a width that the file's
size sets, reduced by area to S x S. Windows are raw bytes at an anchor. Training and
scanning call the same functions, on the same trimmed bytes, for PE files and for PNGs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage.sample.cell_sums import cell_sums
from maltriage.sample.geometry import (
    BodyGeometry,
    Geometry,
    StepGeometry,
    WindowGeometry,
    width_for,
)
from maltriage.sample.mapped import is_mapped, with_zeros
from maltriage.sample.views.scattered import ScatteredGeometry

Bytes = npt.NDArray[np.uint8]


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


@dataclass(frozen=True)
class View:
    """One image of a sample: uint8 pixels of `spec.shape`, and where they come from."""

    pixels: Bytes
    geometry: Geometry

    def __reduce__(self) -> tuple[Any, ...]:
        return made_view, self.short

    @property
    def short(self) -> Short:
        """The view for `made_view`: what a worker sends is read slowly, since it is not trusted."""
        places: Any = self.geometry
        values = tuple(getattr(places, field.name) for field in fields(places))
        kind = _GEOMETRIES.index(type(places))
        return _packed(self.pixels, places), self.pixels.shape, kind, values


Short = tuple[
    bytes,
    Annotated[tuple[int, ...], msgspec.Meta(max_length=3)],
    int,
    Annotated[tuple[int | bytes, ...], msgspec.Meta(max_length=4)],
]
"""Pixels without what the other side knows, their shape, the number of the geometry, its values."""


def _packed(pixels: Bytes, places: Geometry) -> bytes:
    """Pixels without what the other side knows: where a window's bytes are, and zeros at the end of
    each row."""
    if pixels.size > MAX_PACKED:
        return pixels.tobytes()
    if type(places) is WindowGeometry:
        there = places.present
        if (pixels[1, :there] == 1).all() and not pixels[:, there:].any():
            return pixels[0, :there].tobytes()
    elif pixels.ndim == 2:
        there = trimmed_length(np.max(pixels, axis=0))
        return pixels[:, :there].tobytes()
    return pixels.tobytes()


def _unpacked(packed: bytes, shape: tuple[int, ...], places: Geometry) -> Bytes:
    size = math.prod(shape)
    if len(packed) == size:
        return np.frombuffer(bytearray(packed), np.uint8).reshape(shape)  # may be written to
    rows, _ = shape
    if size > MAX_PACKED:
        raise ValueError("more pixels than were sent")
    pixels = np.zeros(shape, np.uint8)
    given = np.frombuffer(packed, np.uint8)
    if type(places) is WindowGeometry:
        pixels[0, : len(given)] = given
        pixels[1, : len(given)] = 1
    else:
        pixels[:, : len(given) // rows] = given.reshape(rows, -1)
    return pixels


MAX_PACKED = 1 << 18
"""Most pixels of a view that is sent in short: what a worker sends takes no more memory than it
fills, and so much."""
_GEOMETRIES = (BodyGeometry, WindowGeometry, StepGeometry, ScatteredGeometry)


def made_view(
    pixels: bytes, shape: tuple[int, ...], kind: int, values: tuple[int | bytes, ...]
) -> View:
    """A view from what `View.short` gives; raises what wrong values raise."""
    if type(kind) is not int or not 0 <= kind < len(_GEOMETRIES):
        raise TypeError("a geometry that is none")
    wanted = (int, bytes, bytes, bytes) if kind == _SCATTERED else (int,) * len(values)
    if [type(value) for value in values] != [*wanted]:
        raise TypeError("a place that is no number")
    made: Callable[..., Geometry] = _GEOMETRIES[kind]
    geometry = made(*values)
    if isinstance(geometry, ScatteredGeometry) and geometry.most > shape[-1]:
        raise ValueError("a place of a cell that is not there")
    return View(_unpacked(pixels, shape, geometry), geometry)


_SCATTERED = _GEOMETRIES.index(ScatteredGeometry)


class Spec(Protocol):
    """The members of a view's spec that this module uses (`maltriage.sample.views.view_kind`)."""

    @property
    def name(self) -> str: ...

    def plot(self, raw: Bytes, anchors: Mapping[str, int], width: int | None = ...) -> View: ...


def neutralize(data: bytes) -> bytes:
    """`data` with the header fields zeroed that public corpora disarm.

    SOREL-20M and BODMAS zero COFF Machine and optional-header Subsystem; others overwrite
    AddressOfEntryPoint with a constant. A net that saw these fields would learn who disarmed
    the file.
    """
    if is_mapped(data):
        return with_zeros(data, disarmed_ranges(data))
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
    anchors: Mapping[str, int],
    specs: Iterable[Spec],
    width: int | None = None,
) -> dict[str, View]:
    """The views of a file, by name, in the order of `specs`.

    Args:
        data: the whole file (of a PNG: its pixels).
        anchors: file offsets by anchor name, as `Layout.anchors`.
        specs: the views wanted, as a card lists them.
        width: of the byteplot; None: set by the file's size.
    """
    return plot(plotted(data), anchors, specs, width)


def plotted(data: bytes) -> Bytes:
    """The bytes that views show: disarmed, and without trailing zeros."""
    raw = np.frombuffer(neutralize(data), dtype=np.uint8)
    return raw[: trimmed_length(raw)]


def plot(
    raw: Bytes, anchors: Mapping[str, int], specs: Iterable[Spec], width: int | None = None
) -> dict[str, View]:
    """The views of bytes as `plotted` gives them; see `make_views`."""
    return {spec.name: spec.plot(raw, anchors, width) for spec in specs}


def window(raw: Bytes, anchors: Mapping[str, int], anchor: str, before: int, length: int) -> View:
    """Raw bytes at an anchor: shape (2, length), the bytes and which of them exist (1).

    A window reaches from `before` bytes ahead of its anchor (not ahead of the file) to at
    most the end of the plotted bytes. A file without the anchor gives an empty window.
    """
    pixels = np.zeros((2, length), dtype=np.uint8)
    ends = {"head": 0, "tail": max(0, len(raw) - length)}
    at = ends.get(anchor, anchors.get(anchor))
    if at is None or not 0 <= at < len(raw):
        return View(pixels, WindowGeometry(0, 0, length))
    start = max(0, at - before)
    part = raw[start : start + length]
    pixels[0, : len(part)] = part
    pixels[1, : len(part)] = 1
    return View(pixels, WindowGeometry(start, len(part), length))


def body_geometry(raw: Bytes, width: int | None = None) -> BodyGeometry:
    """Geometry of the byteplot of the plotted bytes."""
    return BodyGeometry(len(raw), width or width_for(len(raw)))


def body_bands(
    raw: Bytes,
    size: int,
    channels: Sequence[int],
    geometry: BodyGeometry,
    bands: tuple[int, int] | None = None,
) -> Bytes:
    """Pixels of the body: (C, S, S), or of its rows [first, end) alone: (C, end - first, S).

    Channels, each over the same cells: `mean` of the bytes, `spread` (twice their standard
    deviation, which is at most 127.5), and the shares of `zero`, `printable` (0x20 to
    0x7e) and `high` (0x80 and up) bytes, times 255. Padding counts as nothing in every
    channel, so an empty file is all zero.

    Args:
        raw: the plotted bytes.
        size: of the image, S.
        channels: indices of the channels to return, in the order above.
        geometry: of the body of these bytes.
        bands: rows of the image; None: all. Equal bit by bit to those rows of the whole image.
    """
    rows, width = geometry.rows, geometry.width
    planes = cell_sums(raw, rows, width, size, bands)
    planes /= (rows / size) * (width / size)
    mean, spread = planes[0], planes[1]  # so far the mean square
    spread -= mean * mean
    np.maximum(spread, 0.0, out=spread)
    np.sqrt(spread, out=spread)
    spread *= 2.0
    planes[2:] *= 255.0
    if list(channels) != list(range(len(planes))):
        planes = planes[list(channels)]
    # Sums are exact up to the last bits of float64; the nudge keeps a value that lies on a
    # half from being rounded differently on another machine.
    planes += 0.5 + 1e-9
    np.minimum(planes, 255.0, out=planes)
    return planes.astype(np.uint8)
