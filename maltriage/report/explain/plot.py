"""The byteplot of the explain page: two pictures, and the bytes of their cells.

The picture is the reduced plane, never the file. A cell of the heat map covers a band of each of
many rows, not one run of bytes. A range of the file is a run of whole rows with a part of a row at
each end, and is drawn as that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from maltriage.report import html
from maltriage.report.documents.evidence import Plane
from maltriage.report.draw import raster
from maltriage.sample.geometry import BodyGeometry

MAX_NAMED = 6
"""Most regions that are named for a cell."""

Range = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """The bytes below a cell of the heat map: a band of each of `rows` rows of the plot.

    They lie in [start, end), which also holds other bytes if there are several rows. A cell without
    bytes (padding alone) has zeros. `regions` are the indices of the first `MAX_NAMED` regions with
    bytes there.
    """

    start: int
    end: int
    rows: int
    bytes: int
    regions: list[int]


def geometry(plane: Plane) -> BodyGeometry | None:
    """The geometry of the picture in the file; None if the record does not have it."""
    if plane.length is None or plane.row_bytes is None:
        return None
    return BodyGeometry(plane.length, plane.row_bytes) if _fits(plane) else None


def _fits(plane: Plane) -> bool:
    """Whether the sizes are possible: a saved document is untrusted."""
    assert plane.length is not None
    assert plane.row_bytes is not None
    return 0 < plane.length < 1 << 53 and 0 < plane.row_bytes < 1 << 32


def pictures(plane: Plane) -> tuple[Markup, Markup]:
    """URLs of the picture with the heat, and of the bytes alone, at the size of the plane.

    The plane must have no `raster.problem`.
    """
    width, height = plane.width, plane.height
    return (
        html.png(width, height, raster.rgb(plane)),
        html.png(width, height, raster.rgb(plane, heat=False)),
    )


def cells(geometry: BodyGeometry, shape: tuple[int, int], regions: Sequence[Range]) -> list[Cell]:
    """The cells of a map over the body, row-major.

    Args:
        shape: (height, width) of the map.
        regions: byte ranges of the regions.
    """
    height, width = shape
    return [
        _cell(geometry, row, column, shape, regions)
        for row in range(height)
        for column in range(width)
    ]


def _cell(
    geometry: BodyGeometry, i: int, j: int, shape: tuple[int, int], regions: Sequence[Range]
) -> Cell:
    # Like `BodyGeometry.cell_ranges`, but without a list of rows, of which there may be millions.
    (height, width), row_bytes = shape, geometry.width
    left, right = j * row_bytes // width, -(-(j + 1) * row_bytes // width)
    first = i * geometry.rows // height
    last = -(-(i + 1) * geometry.rows // height) - 1
    last = min(last, (geometry.length - 1 - left) // row_bytes)
    if last < first:
        return Cell(0, 0, 0, 0, [])
    end = min(last * row_bytes + right, geometry.length)
    inside = []
    for index, (low, high) in enumerate(regions):
        high = min(high, geometry.length)
        # The first row whose band ends after the region's start.
        row = max(first, (low - right) // row_bytes + 1)
        if low < high and row <= last and row * row_bytes + left < high:
            inside.append(index)
            if len(inside) == MAX_NAMED:
                break
    count = (last - first) * (right - left) + end - last * row_bytes - left
    return Cell(first * row_bytes + left, end, last - first + 1, count, inside)


def outline(geometry: BodyGeometry, start: int, end: int) -> str:
    """The bytes [start, end) as an SVG path over a plot of one unit per byte; empty if not shown.

    Bytes past the plotted length (zeros at the end of the file) are not in the picture.
    """
    start, end, width = max(start, 0), min(end, geometry.length), geometry.width
    if start >= end:
        return ""
    (row, column), (last, rest) = divmod(start, width), divmod(end, width)
    if row == last or (last == row + 1 and rest == 0):
        return f"M{column} {row}H{column + end - start}V{row + 1}H{column}Z"
    path = f"M{column} {row}H{width}V{last}"
    if rest:
        path += f"H{rest}V{last + 1}"
    path += f"H0V{row + 1}"
    return path + (f"H{column}Z" if column else "Z")
