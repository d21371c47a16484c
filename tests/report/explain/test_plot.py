from __future__ import annotations

import base64
import io
import re
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report.factories import make_plane

from maltriage.report.draw import raster
from maltriage.report.explain import plot
from maltriage.sample.geometry import BodyGeometry

GEOMETRIES = st.builds(BodyGeometry, st.integers(1, 600), st.integers(1, 40))
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    edges = sorted(draw(st.lists(st.integers(0, 700), min_size=2, max_size=5)))
    return list(pairwise(edges))


@given(GEOMETRIES, SHAPES, spans())
def test_a_cell_says_what_the_geometry_says(
    geometry: BodyGeometry, shape: tuple[int, int], regions: list[tuple[int, int]]
) -> None:
    found = plot.cells(geometry, shape, regions)
    assert len(found) == shape[0] * shape[1]
    for index, cell in enumerate(found):
        ranges = geometry.cell_ranges((index // shape[1], index % shape[1]), shape)
        held = {offset for start, end in ranges for offset in range(start, end)}
        assert (cell.rows, cell.bytes) == (len(ranges), len(held))
        if ranges:
            assert (cell.start, cell.end) == (ranges[0][0], ranges[-1][1])
        inside = [i for i, (low, high) in enumerate(regions) if held & set(range(low, high))]
        assert cell.regions == inside


def test_a_cell_of_a_huge_file_is_no_work() -> None:
    found = plot.cells(BodyGeometry((1 << 53) - 1, 1024), (2, 2), [(0, 1 << 52)])
    assert sum(cell.bytes for cell in found) == (1 << 53) - 1


def inside(path: str, x: float, y: float) -> bool:
    """Whether a point lies in a path of `M`, `H`, `V` and `Z`, by the rule even-odd."""
    points: list[tuple[float, float]] = []
    for command, first, second in re.findall(r"([MHVZ])(\d*) ?(\d*)", path):
        if command == "M":
            points.append((float(first), float(second)))
        elif command == "H":
            points.append((float(first), points[-1][1]))
        elif command == "V":
            points.append((points[-1][0], float(first)))
    crossings = 0
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if x0 == x1 and x0 > x and min(y0, y1) < y < max(y0, y1):
            crossings += 1
    return crossings % 2 == 1


@given(GEOMETRIES, st.integers(0, 650), st.integers(0, 650))
def test_an_outline_holds_the_bytes_of_its_range_and_no_others(
    geometry: BodyGeometry, start: int, end: int
) -> None:
    path = plot.outline(geometry, start, end)
    for offset in range(geometry.plotted):
        row, column = divmod(offset, geometry.width)
        held = start <= offset < min(end, geometry.length)
        assert inside(path, column + 0.5, row + 0.5) == held


def test_the_picture_has_the_colours_of_every_other_one() -> None:
    plane = make_plane()
    heat, plain = (
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        for url in plot.pictures(plane)
    )
    assert heat.size == plain.size == (plane.width, plane.height)
    grey = raster.pixels(plane)[30 * plane.width + 20] / 255
    cell = plane.heat[30 * 16 // 64 * 16 + 20 * 16 // 64]
    assert heat.getpixel((20, 30)) == raster.blend(grey, cell / raster.strongest(plane))
    assert plain.getpixel((20, 30)) == raster.blend(grey, 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"length": None},
        {"row_bytes": None},
        {"length": 0},
        {"length": -1},
        {"row_bytes": 0},
        {"length": 1 << 60},
    ],
)
def test_no_geometry_where_the_record_has_none_or_one_that_cannot_be(
    changes: dict[str, int | None],
) -> None:
    assert plot.geometry(msgspec.structs.replace(make_plane(), **changes)) is None
