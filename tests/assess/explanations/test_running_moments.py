"""Maps of a family added up: sums stay, kinds are those of the bytes, spread is that of numpy."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from corpus.synthetic import HEADERS, program, write_png
from hypothesis import given
from hypothesis import strategies as st

from maltriage import bundle as bundles
from maltriage.assess.explanations.running_moments import (
    KINDS,
    Frame,
    Moments,
    Spill,
    Tally,
    kind_shares,
    kinds_of,
    plane_of,
)
from maltriage.bundle import Card
from maltriage.errors import MaltriageError
from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.sample.geometry import BodyGeometry
from maltriage.sample.types import Layout, Region
from maltriage.sample.views import DEFAULT, known_views
from maltriage.triage.maps import Mapped

VIEWS = tuple(view for view in known_views() if view.name in (*DEFAULT, "header"))
SHAPES = {view.name: (8, 8) if view.name == "body" else (1, 128) for view in VIEWS}
SHAPES |= {view.name: (1, view.shape[-1]) for view in VIEWS if view.fixed}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = write_png(tmp_path_factory.mktemp("sample") / "a.png", program(1, 1))
    return prepare(str(path), PrepareOptions(VIEWS))


def drawn(seed: int) -> dict[str, npt.NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape) for name, shape in SHAPES.items()}


def empty() -> dict[str, npt.NDArray[np.float64]]:
    return {name: np.zeros(shape) for name, shape in SHAPES.items()}


def mapped(prepared: Prepared, maps: dict[str, npt.NDArray[np.float64]], right: bool) -> Mapped:
    logits = np.array([right, not right], dtype=np.float32)
    return Mapped(prepared, 0, {k: v.astype(np.float32) for k, v in maps.items()}, logits)


def card() -> Card:
    return msgspec.structs.replace(bundles.load(bundles.resolve(None)).card, views=VIEWS)


def frame() -> Frame:
    return Frame.of(card(), drawn(0))


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20))
def test_moments(rows: list[list[float]]) -> None:
    moments = Moments(3)
    for row in rows:
        moments.add(np.array(row))
    np.testing.assert_allclose(moments.mean, np.mean(rows, axis=0), atol=1e-6)
    if len(rows) == 1:
        assert moments.sd is None
    else:
        assert moments.sd is not None
        np.testing.assert_allclose(moments.sd, np.std(rows, axis=0, ddof=1), atol=1e-5)


def test_spilled_rows_come_back() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    with Spill() as spill:
        assert [spill.append(row) for row in rows] == [0, 1, 2, 3, 4]
        for number, row in zip((3, 0), spill.rows([3, 0]), strict=True):
            np.testing.assert_array_equal(row, rows[number])
        assert spill.append(rows[0]) == 5  # reading has not moved where rows are added


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(buffering: int) -> io.FileIO:
        return io.FileIO("/dev/full", "r+")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    said = r"cannot keep maps in .*: No space left"
    with pytest.raises(MaltriageError, match=said), Spill() as spill:
        spill.append(np.zeros(7, dtype=np.float32))


def test_kinds_of_regions() -> None:
    names = ("header", "section", "section", "section", "section", "gap", "overlay")
    regions = [Region(f"r{i}", kind, 10 * i, 10 * i + 10) for i, kind in enumerate(names)]
    anchors = {"code": 10, "entry": 25, "import": 12, "resource": 30, "overlay": 60}
    layout = Layout("lief", None, 32, False, None, regions, anchors)
    assert kinds_of(layout) == ["header", "code", "code", "resources", "data", "gap", "overlay"]
    anchors["import"] = 41
    assert kinds_of(layout)[4] == "imports"
    anchors["entry"] = 5  # in the headers: no section is code for that
    assert kinds_of(layout)[:3] == ["header", "code", "data"]


@given(st.integers(0, 1000))
def test_shares_of_kinds_are_of_all_that_speaks_for_it(prepared: Prepared, seed: int) -> None:
    found = kind_shares(prepared, drawn(seed))
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1.0)


def test_heat_is_on_the_kind_of_its_bytes(prepared: Prepared) -> None:
    maps = empty()
    maps["code"][0, :4] = 3.0
    maps["code"][0, 4:] = -100.0  # what speaks against it counts for nothing here
    maps["header"][0, 0] = 1.0
    found = dict(zip(KINDS, kind_shares(prepared, maps).tolist(), strict=True))
    assert found["code"] == pytest.approx(12 / 13)
    assert found["header"] == pytest.approx(1 / 13)
    assert not kind_shares(prepared, empty()).any()


@given(st.integers(0, 1000))
def test_the_plane_has_all_heat_that_is_on_bytes(prepared: Prepared, seed: int) -> None:
    maps = drawn(seed)
    total = sum(
        float(grid.sum())
        if name == "body"
        else prepared.views[name].geometry.integrate(grid, np.array([prepared.identity.size]))[0]
        for name, grid in maps.items()
    )
    assert plane_of(prepared, maps).sum() == pytest.approx(total)


def test_a_window_is_where_its_bytes_are(prepared: Prepared) -> None:
    maps = empty()
    maps["code"][0, 0] = 1.0
    found = plane_of(prepared, maps)
    body = prepared.views["body"].geometry
    assert isinstance(body, BodyGeometry)
    row, column = divmod(HEADERS, body.width)
    height, width = found.shape
    assert found[row * height // body.rows, column * width // body.width] > 0
    assert found.sum() == pytest.approx(1.0)
    bare = {"code": maps["code"]}  # a bundle without a view of the whole file
    assert plane_of(prepared, bare).sum() == pytest.approx(1.0)


def test_slots_cover_every_cell_once() -> None:
    found = frame()
    assert found.bounds[0] == 0
    assert (np.diff(found.bounds) > 0).all()
    assert len(found.bounds) == len(found.slots)
    header = [slot for slot in found.slots if slot.view == "header"]
    assert header[0].fields == ("PE signature",)
    assert (header[0].start, header[-1].end) == (0, 248)
    imports = [slot for slot in found.slots if slot.view == "import"]
    assert len(imports) == 16
    assert (imports[0].start, imports[-1].end) == (-1024, 3072)
    body = [slot for slot in found.slots if slot.view == "body"]
    assert [(slot.start, slot.end) for slot in body[:2]] == [(0, 0.125), (0.125, 0.25)]


def test_a_coarse_map_of_the_header_names_all_fields_of_a_cell() -> None:
    found = Frame.of(card(), {**drawn(0), "header": np.zeros((1, 31))})
    header = [slot for slot in found.slots if slot.view == "header"]
    assert len(header) == 31
    assert header[0].fields == ("PE signature", "COFF Machine", "COFF NumberOfSections")


def by_place(
    maps: dict[str, npt.NDArray[np.float64]], prepared: Prepared, name: str
) -> npt.NDArray[np.float64]:
    """A map; of a counted view the heat of each sixteenth of the file."""
    if name not in ("words", "entropy"):
        return maps[name]
    places = prepared.views[name].geometry
    edges = np.linspace(0, places.present, 17).astype(np.int64)
    return np.diff(places.integrate(maps[name], edges))


def test_a_tally(prepared: Prepared) -> None:
    tally = Tally(frame())
    other = replace(prepared, path="other")
    first, second = drawn(1), drawn(2)
    with Spill() as spill:
        tally.add(mapped(prepared, first, right=True), spill)
        assert tally.maps.sd is None
        tally.add(mapped(other, {name: 9 * grid for name, grid in second.items()}, False), spill)
        tally.add(mapped(other, empty(), right=False), spill)
        (row,) = spill.rows([1])
    shares = []
    for maps in (first, second):
        size = sum(np.abs(by_place(maps, prepared, v.name)).sum() for v in VIEWS)
        flat = [by_place(maps, prepared, v.name).ravel() / size for v in VIEWS]
        shares.append(np.concatenate(flat))  # so the factor 9 makes no difference
    np.testing.assert_allclose(row, shares[1], atol=1e-7)
    np.testing.assert_allclose(tally.maps.mean, (shares[0] + shares[1]) / 3, atol=1e-7)
    assert (tally.right, tally.cold) == (1, 1)
    assert [path for _, path, _ in tally.samples] == [prepared.path, "other", "other"]
    view = [v.name for v in VIEWS].index("code")
    wanted = (first["code"].sum() + 9 * second["code"].sum()) / 3
    assert tally.contributions.mean[view] == pytest.approx(wanted, abs=1e-4)
    assert tally.shares.mean.sum() == pytest.approx(2 / 3)
    slot = [s.view for s in tally.frame.slots].index("code")
    sums = [float(maps["code"][0, :8].sum()) for maps in (first, second)]
    assert tally.positive[slot] == sum(value > 0 for value in sums)
    present = dict(zip([v.name for v in VIEWS], tally.present.tolist(), strict=True))
    # The made-up program has no directories.
    assert present == {
        "words": 3,
        "entropy": 3,
        "body": 3,
        "header": 3,
        "code": 3,
        "import": 0,
        "resource": 0,
        "second_section": 3,
    }
