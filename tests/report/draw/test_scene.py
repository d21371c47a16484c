"""Pictures of explanations: what is drawn where, as PNG and as SVG."""

from __future__ import annotations

import base64
import io
import math
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont
from report.factories import (
    REGIONS,
    make_checked,
    make_evidence,
    make_plane,
    make_result,
    make_verdict,
)
from report.screens import hidden
from rich.cells import cell_len

from maltriage.errors import MaltriageError
from maltriage.report.documents.evidence import Occluded, Plane, RegionHeat
from maltriage.report.documents.record import ModelRef, Result
from maltriage.report.draw import raster
from maltriage.report.draw.png import SCALE, png
from maltriage.report.draw.scene import HEIGHT, MAX_REGIONS, WIDTH, Box, Pixels, Scene, Words, scene
from maltriage.report.draw.svg import svg

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>]]>&\"'\x1b[31m\u202e\x00\ufffe"


def drawn(**changes: Any) -> Scene:
    return scene(explained(**changes))


def explained(plane: bool | Plane = True, **changes: Any) -> Result:
    result = make_result()
    return msgspec.structs.replace(result, evidence=make_evidence(plane=plane, **changes))


def words(found: Scene) -> list[str]:
    return [item.text for item in found.items if isinstance(item, Words)]


def picture_of(found: Scene) -> Pixels:
    (pixels,) = [item for item in found.items if isinstance(item, Pixels)]
    return pixels


def segments(found: Scene) -> list[Box]:
    """The boxes of the region bar, by their place beside the picture."""
    picture = picture_of(found)
    bar = min(b.x for b in found.items if isinstance(b, Box) and b.x > picture.x + picture.width)
    return [item for item in found.items if isinstance(item, Box) and item.x == bar]


def test_it_says_what_an_analyst_looks_for() -> None:
    result = make_checked("cases/a.exe", plane=True)
    found = words(scene(result))
    for text in (
        "icedid  92.1%",
        "flagged",
        "cases/a.exe",
        f"sha256 {result.sha256}",
        f"model {result.model.name} {result.model.weights_sha256[:12]}",
        "logit(icedid) - logit(benign)",
        "heat (hirescam) per cell of a 16 x 16 map, in points of log odds",
        "-  for benign",
        "for icedid  +",
        "+0.020",
        "contradicted",
    ):
        assert text in found
    for name, *_, contribution in REGIONS:
        assert name in found
        assert f"{contribution:+.3f}" in found


def test_what_is_drawn_adds_up() -> None:
    found = words(drawn())
    found = found[: found.index("in all") + 2]  # the ends of the scale come after it
    numbers = [float(text) for text in found if re.fullmatch(r"[+-]\d+\.\d{3}", text)]
    *parts, total = numbers
    assert len(parts) == len(REGIONS) + 2
    assert sum(parts) == pytest.approx(total, abs=0.005)


def test_regions_lie_beside_their_bytes() -> None:
    found = drawn()
    picture, bars = picture_of(found), segments(found)
    length = REGIONS[-1][3]
    for (_, _, start, end, *_), bar in zip(REGIONS, bars, strict=True):
        # Rows of 512 bytes; the last row may be a part.
        assert (bar.y - picture.y) / picture.height == pytest.approx(start / length, abs=1e-3)
        assert bar.height / picture.height == pytest.approx((end - start) / length, abs=1e-3)


def test_zeros_at_the_end_are_not_in_the_picture() -> None:
    """The bar is as long as what is plotted; what lies past it is counted."""
    plane = msgspec.structs.replace(make_plane(), length=0x38000)
    found = drawn(plane=plane)
    bars, picture = segments(found), picture_of(found)
    assert len(bars) == 4
    assert bars[-1].y + bars[-1].height == pytest.approx(picture.y + picture.height)
    assert "3 more regions" in words(found)
    assert f"{sum(r[6] for r in REGIONS[4:]):+.3f}" in words(found)


def test_a_small_file_fills_a_part_of_its_last_row() -> None:
    """100 bytes in rows of 32: 4 rows, of which the last is an eighth full."""
    regions = [RegionHeat("all", "unparsed", 0, 100, 1.0, 0.5, 1.0)]
    plane = msgspec.structs.replace(make_plane(), length=100, row_bytes=32)
    found = drawn(plane=plane, regions=regions)
    (bar,) = segments(found)
    assert bar.height / picture_of(found).height == pytest.approx(100 / 128)


def test_an_older_record_says_that_places_are_approximate() -> None:
    plane = msgspec.structs.replace(make_plane(), length=None, row_bytes=None)
    assert any("approximate" in text for text in words(drawn(plane=plane)))
    assert not any("approximate" in text for text in words(drawn()))


def test_a_net_that_is_not_additive() -> None:
    found = words(drawn(additive=False))
    assert "contribution" in found
    assert "baseline + bias" not in found
    assert "Not additive: the heat says where, and does not add up." in found


def test_signs_do_not_need_colour() -> None:
    """Cells with much heat have a plus or a minus; small cells have none."""

    def strokes(plane: Plane) -> list[str]:
        picture = picture_of(drawn(plane=plane))
        inside = re.findall(r'<polyline points="([\d., ]+)"', svg(drawn(plane=plane)).decode())
        ends = [[tuple(map(float, p.split(","))) for p in points.split()] for points in inside]
        right, bottom = picture.x + picture.width, picture.y + picture.height
        lines = [line for line in ends if all(x < right and y < bottom for x, y in line)]
        lines = [line for line in lines if all(y > picture.y for _, y in line)]
        return ["-" if a[1] == b[1] else "|" for a, b in lines]

    plus = strokes(Plane(2, 1, base64.b64encode(b"ab").decode(), 2, 1, [0.5, 0.0], 2, 2))
    minus = strokes(Plane(2, 1, base64.b64encode(b"ab").decode(), 2, 1, [0.0, -0.5], 2, 2))
    assert set(plus) == {"-", "|"}
    assert set(minus) == {"-"}
    assert strokes(make_plane(64, 64)) == []
    assert strokes(msgspec.structs.replace(make_plane(), heat=[0.0] * 256)) == []


def test_pixels_have_the_colours_of_the_raster() -> None:
    plane = make_plane()
    picture = picture_of(drawn())
    assert (picture.columns, picture.rows) == (64, 64)
    assert picture.rgb == raster.rgb(plane)
    image = Image.open(io.BytesIO(png(drawn())))
    assert image.size == (WIDTH * SCALE, HEIGHT * SCALE)
    strongest = raster.strongest(plane)
    for x, y in ((40, 30), (3, 63), (20, 50)):
        at = (
            picture.x + (x + 0.8) * picture.width / 64,
            picture.y + (y + 0.8) * picture.height / 64,
        )
        heat = plane.heat[y // 4 * 16 + x // 4] / strongest
        colour = raster.blend(raster.pixels(plane)[y * 64 + x] / 255, heat)
        assert image.getpixel((int(at[0] * SCALE), int(at[1] * SCALE))) == colour


@pytest.mark.parametrize("shape", [(64, 8), (8, 64), (1, 1), (200, 1)])
def test_pictures_keep_their_shape(shape: tuple[int, int]) -> None:
    width, height = shape
    pixels = base64.b64encode(bytes(width * height)).decode()
    found = drawn(plane=Plane(width, height, pixels, 1, 1, [1.0], 10, 10))
    picture = picture_of(found)
    assert picture.width / picture.height == pytest.approx(width / height)
    assert max(picture.width, picture.height) == 560
    png(found)
    ElementTree.fromstring(svg(found))


def test_a_file_of_many_regions() -> None:
    count = 300
    regions = [
        RegionHeat(f"s{i}", "section", i * 512, i * 512 + 512, 1.0, (i % 7) / 10 - 0.2, 0.0)
        for i in range(count)
    ]
    plane = msgspec.structs.replace(make_plane(), length=count * 512)
    found = drawn(plane=plane, regions=regions)
    named = [text for text in words(found) if re.fullmatch(r"s\d+", text)]
    assert len(named) == MAX_REGIONS
    assert f"{count - MAX_REGIONS} more regions" in words(found)
    places = [w.y for w in found.items if isinstance(w, Words) and w.text in named]
    assert all(b - a >= 20 for a, b in pairwise(places))
    assert named == sorted(named, key=lambda name: int(name[1:]))


@pytest.mark.parametrize("letter", ["W", "i", "下", "\x1b"])
def test_no_text_runs_into_another(letter: str) -> None:
    """Names of any width end before what stands beside them; hashes are never cut."""
    name = letter * 60
    regions = [RegionHeat(name, "section", 0, 512, 1.0, 0.5, 1.0)]
    evidence = make_evidence(name, name, True, regions=regions, method=name)
    result = make_result(f"a/{name * 4}/b.exe", make_verdict(name, closest=name))
    found = scene(msgspec.structs.replace(result, evidence=evidence))
    font = ImageFont.load_default(100)
    root = ElementTree.fromstring(svg(found))
    boxes: dict[float, list[tuple[float, float]]] = {}
    for text in root.iter(SVG + "text"):
        shown, size = text.text or "", float(text.attrib["font-size"])
        wide = [1.0 if cell_len(c) == 2 else font.getlength(c) / 100 for c in shown]
        width, x = sum(wide) * size, float(text.attrib["x"])
        start = {"end": x - width, "middle": x - width / 2}.get(text.get("text-anchor", ""), x)
        boxes.setdefault(float(text.attrib["y"]), []).append((start, start + width))
    for line in boxes.values():
        line.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(line)), line
        assert line[0][0] >= 0
        assert line[-1][1] <= WIDTH
    assert f"sha256 {result.sha256}" in {text.text for text in root.iter(SVG + "text")}


def test_the_same_bytes_each_time() -> None:
    first, second = drawn(), drawn()
    assert png(first) == png(second)
    assert svg(first) == svg(second)


def _hostile() -> Result:
    regions = [RegionHeat(HOSTILE, "section", 0, 512, 1.0, 0.5, 1.0)]
    evidence = make_evidence(HOSTILE, HOSTILE, True, regions=regions, method=HOSTILE)
    return msgspec.structs.replace(
        make_result(
            HOSTILE, make_verdict(HOSTILE, closest=HOSTILE), model=ModelRef(HOSTILE, HOSTILE)
        ),
        evidence=evidence,
        sha256=HOSTILE,
    )


def test_hostile_names_stay_text() -> None:
    data = svg(scene(_hostile())).decode()
    assert not hidden(data)
    root = ElementTree.fromstring(data)
    allowed = {SVG + name for name in ("svg", "title", "rect", "polyline", "text", "image")}
    assert {element.tag for element in root.iter()} <= allowed
    assert any("<script>" in (text.text or "") for text in root.iter(SVG + "text"))
    png(scene(_hostile()))


def test_an_svg_refers_to_nothing() -> None:
    data = svg(drawn()).decode()
    assert re.findall(r"https?://[^\"]*", data) == ["http://www.w3.org/2000/svg"]
    assert re.findall(r'href="([^,"]*)', data) == ["data:image/png;base64"]
    assert "url(" not in data
    assert not re.search(r"\son\w+=", data)
    assert "<style" not in data


@settings(max_examples=50)
@given(
    names=st.lists(st.text(max_size=30), max_size=6),
    path=st.text(st.characters(codec="utf-8"), max_size=200),
    values=st.lists(st.floats(-1e9, 1e9), min_size=6, max_size=6),
    offsets=st.lists(st.integers(-10, 1 << 40), min_size=12, max_size=12),
    length=st.none() | st.integers(-10, 1 << 40),
    row_bytes=st.none() | st.integers(-10, 1 << 20),
)
@example([""], "", [0.0] * 6, [1, 2, *[0] * 10], None, -1)
def test_any_record_is_drawn_within_its_sheet(
    names: list[str],
    path: str,
    values: list[float],
    offsets: list[int],
    length: int | None,
    row_bytes: int | None,
) -> None:
    regions = [
        RegionHeat(name, "section", *offsets[2 * i : 2 * i + 2], 1.0, values[i], 0.0)
        for i, name in enumerate(names)
    ]
    plane = msgspec.structs.replace(make_plane(8, 2), length=length, row_bytes=row_bytes)
    result = make_result(path)
    evidence = make_evidence(plane=plane, regions=regions)
    found = scene(msgspec.structs.replace(result, evidence=evidence))
    ElementTree.fromstring(svg(found))
    for item in found.items:
        if isinstance(item, (Box, Words)):
            assert 0 <= item.x <= WIDTH
            assert 0 <= item.y <= HEIGHT
        if isinstance(item, Box):
            assert item.width >= 0
            assert item.height >= 0
            assert item.x + item.width <= WIDTH
            assert item.y + item.height <= HEIGHT
            assert math.isfinite(item.width + item.height)


def test_what_has_no_picture_says_what_to_do() -> None:
    occluded = Occluded(64, 32, 10, "histogram", 0)
    body = make_evidence().views[1:]
    damaged = msgspec.structs.replace(make_plane(), pixels="x")
    for changes, message in (
        (
            {"plane": False},
            r"which only `explain` makes; explain the file itself, or name it with",
        ),
        (
            {"plane": False, "occluded": occluded},
            r"occlusion has none; take another one with --met",
        ),
        ({"plane": False, "views": body}, r"the model has no view of the whole file"),
        ({"plane": damaged}, r"the byteplot in the record is damaged, its pixels"),
    ):
        with pytest.raises(MaltriageError, match=message):
            drawn(**changes)


def test_uncalibrated_probabilities_are_marked() -> None:
    result = msgspec.structs.replace(explained(), verdict=make_verdict(calibrated=False))
    said = [item.text for item in scene(result).items if isinstance(item, Words)]
    assert sum("(uncalibrated)" in text for text in said) == 1
    assert not any("(uncal" in x.text for x in scene(explained()).items if isinstance(x, Words))
