"""Hot ranges merged, snapped and looked into: no heat is lost, none is invented."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hostile.make import Pe, byteplot, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.probe.common import SHIPPED, Runs
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import Inspected, common, inspect, look
from maltriage.probe.prepare import Prepared, PrepareOptions, prepare
from maltriage.report.documents.evidence import Common, Evidence, HotRange
from maltriage.report.documents.record import Failed, Result
from maltriage.sample.findings import HeaderField, HotContent
from maltriage.sample.geometry import WindowGeometry
from maltriage.sample.types import Layout, Region
from maltriage.sample.views import known_views
from maltriage.sample.views.scattered import ScatteredGeometry
from maltriage.triage import hot_ranges, methods
from maltriage.triage.evidence import Floats, Heat, account, heat_on, parts_of
from maltriage.triage.hot_ranges import FOCUS, MERGE_GAP, inspected, merged, strongest, with_common
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.triage.verdict import Question
from maltriage.work.workers import Workers

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NAMES = ("gui-x86.exe", "library-x64.dll", "dotnet.exe", "overlay-x86.exe")


@cache
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


@cache
def prepared(name: str) -> Prepared:
    return prepare(str(SAMPLES / name), PrepareOptions(known_views(64)))


def random_maps(item: Prepared, seed: int, spikes: int) -> dict[str, Floats]:
    """Maps of all views: noise, and a few cells with much heat for or against the label."""
    random = np.random.default_rng(seed)
    maps = {}
    for name, view in item.views.items():
        if name in ("words", "entropy", "header"):
            shape = (1, view.pixels.shape[1])
        else:
            shape = (16, 16) if name == "body" else (1, view.geometry.length // 32)  # type: ignore[union-attr]
        grid = random.normal(0.0, 0.01, shape)
        flat = grid.reshape(-1)
        flat[random.integers(0, len(flat), spikes)] += random.normal(0.0, 1.0, spikes)
        maps[name] = grid
    return maps


def evidence_of(item: Prepared, maps: dict[str, Floats]) -> Evidence:
    return account(item, Heat(maps, 0.0, 0.0, True, "hirescam"), Question(0), bundle().card)  # type: ignore[arg-type]


def looker(name: str):  # type: ignore[no-untyped-def]
    data = sample(name)
    return lambda ranges, snap: look(data, ranges, parse=True, snap=snap)


def looked(item: Prepared, maps: dict[str, Floats], evidence: Evidence, name: str) -> Evidence:
    return inspected(item.layout, parts_of(item, maps), evidence, looker(name))


def heat_in(item: Prepared, maps: dict[str, Floats], start: int, end: int) -> float:
    return float(heat_on(parts_of(item, maps), np.array([(start, end)]))[0])


def assert_conserved(item: Prepared, maps: dict[str, Floats], evidence: Evidence) -> None:
    """Ranges and what lies between them are the file, and their heat is the file's."""
    scale = sum(float(np.abs(grid).sum()) for grid in maps.values())
    ordered = sorted(evidence.hot, key=lambda hot: hot.start)
    edges = [0, *(edge for hot in ordered for edge in (hot.start, hot.end)), item.identity.size]
    assert edges == sorted(edges)
    rest = sum(heat_in(item, maps, a, b) for a, b in list(pairwise(edges))[::2])
    parts = sum(hot.contribution for hot in ordered)
    whole = evidence.total - evidence.padding
    assert parts + rest == pytest.approx(whole, abs=1e-9 * scale)
    for hot in ordered:
        region = item.layout.region_at(hot.start)
        assert region is not None
        assert (region.name, hot.end <= region.end) == (hot.region, True)
        heat = heat_in(item, maps, hot.start, hot.end)
        assert hot.contribution == pytest.approx(heat, abs=1e-9 * scale)
        assert hot.rva == (None if region.rva is None else region.rva + hot.start - region.start)
        if hot.content is not None:
            assert hot.start <= hot.content.focus < hot.end
            assert hot.contribution > 0


@settings(max_examples=50)
@given(st.sampled_from(NAMES), st.integers(0, 9999), st.integers(0, 12))
def test_heat_is_conserved(name: str, seed: int, spikes: int) -> None:
    item = prepared(name)
    maps = random_maps(item, seed, spikes)
    before = evidence_of(item, maps)
    assert_conserved(item, maps, before)
    after = looked(item, maps, before, name)
    assert_conserved(item, maps, after)
    assert (after.total, after.regions, after.padding) == (
        before.total,
        before.regions,
        before.padding,
    )
    assert len(after.hot) <= len(before.hot)
    assert all(hot.content is not None and hot.hex for hot in after.hot)
    assert after.hot == sorted(after.hot, key=lambda hot: -hot.contribution)


def test_nothing_hot_is_nothing_to_look_into() -> None:
    item = prepared("gui-x86.exe")
    maps = {name: np.zeros_like(grid) for name, grid in random_maps(item, 0, 0).items()}
    evidence = evidence_of(item, maps)
    assert evidence.hot == []
    assert inspected(item.layout, parts_of(item, maps), evidence, None) is evidence  # type: ignore[arg-type]


def test_coarse_heat_moves_no_edge() -> None:
    """Without the heat itself, ranges and what they carry stay as they are."""
    item = prepared("gui-x86.exe")
    evidence = evidence_of(item, random_maps(item, 5, 6))
    found = inspected(item.layout, None, evidence, looker("gui-x86.exe"))
    assert [(h.start, h.end, h.contribution) for h in found.hot] == [
        (h.start, h.end, h.contribution) for h in evidence.hot
    ]
    assert all(h.content is not None and h.content.snapped == (0, 0) for h in found.hot)


def by_bytes(item: Prepared, heat: dict[tuple[int, int], float]) -> dict[str, Floats]:
    """A map with heat on these byte ranges of the head window only, evenly, a byte a cell."""
    view = item.views["head"]
    grid = np.zeros((1, view.geometry.length))  # type: ignore[union-attr]
    for (start, end), value in heat.items():
        grid[0, start:end] = value / (end - start)
    return {"head": grid}


def hot(start: int, end: int, value: float) -> HotRange:
    return HotRange(start, end, ".text", None, value)


def spans(ranges: list[Range]) -> list[tuple[int, int]]:
    return [(item.start, item.end) for item in ranges]


def test_near_neighbours_are_one() -> None:
    item = prepared("gui-x86.exe")
    maps = by_bytes(item, {(0x500, 0x600): 1.0, (0x700, 0x800): 2.0, (0xA00, 0xB00): 9.0})
    ranges = [hot(0xA00, 0xB00, 9.0), hot(0x700, 0x800, 2.0), hot(0x500, 0x600, 1.0)]
    assert 0x700 - 0x600 <= MERGE_GAP < 0xA00 - 0x800
    assert spans(merged(item.layout, parts_of(item, maps), ranges)) == [
        (0xA00, 0xB00),
        (0x500, 0x800),
    ]


def test_a_gap_that_speaks_against_the_label_keeps_ranges_apart() -> None:
    item = prepared("gui-x86.exe")
    for against, expected in ((-0.9, [(0x500, 0x800)]), (-1.1, [(0x700, 0x800), (0x500, 0x600)])):
        maps = by_bytes(item, {(0x500, 0x600): 1.0, (0x600, 0x700): against, (0x700, 0x800): 2.0})
        found = merged(
            item.layout, parts_of(item, maps), [hot(0x700, 0x800, 2.0), hot(0x500, 0x600, 1.0)]
        )
        assert spans(found) == expected


def test_regions_keep_ranges_apart() -> None:
    item = prepared("gui-x86.exe")
    maps = by_bytes(item, {(0x300, 0x400): 1.0, (0x400, 0x500): 2.0})
    found = merged(
        item.layout, parts_of(item, maps), [hot(0x400, 0x500, 2.0), hot(0x300, 0x400, 1.0)]
    )
    assert spans(found) == [(0x400, 0x500), (0x300, 0x400)]
    assert [part.region.name for part in found] == [".text", "(headers)"]


def test_the_focus_is_where_the_heat_is() -> None:
    item = prepared("gui-x86.exe")
    maps = by_bytes(item, {(0x500, 0x900): 1.0, (0x740, 0x7C0): 5.0})
    (found,) = merged(item.layout, parts_of(item, maps), [hot(0x500, 0x900, 6.0)])
    assert found.focus == 0x740
    (short,) = merged(item.layout, parts_of(item, maps), [hot(0x780, 0x780 + FOCUS, 2.0)])
    assert short.focus == 0x780
    half_more = hot(0x740, 0x740 + FOCUS * 3 // 2, 5.0)
    (late,) = merged(item.layout, parts_of(item, maps), [half_more])
    assert late.focus == 0x740
    maps = by_bytes(item, {(0x740, 0x780): 1.0, (0x780, 0x800): 5.0})
    (late,) = merged(item.layout, parts_of(item, maps), [half_more])
    assert late.focus == 0x740 + FOCUS // 2


def test_edges_that_would_cost_the_heat_stay() -> None:
    """A moved edge takes in bytes that speak so much against the label that nothing is left."""
    found, calls = stretched(-3.0)
    assert calls == [True, False]
    assert [(h.start, h.end, h.contribution) for h in found.hot] == [
        (0x500, 0x600, pytest.approx(1.0))
    ]


def test_edges_that_leave_some_heat_move() -> None:
    found, calls = stretched(-1.0)
    assert calls == [True]
    assert [(h.start, h.end, h.contribution) for h in found.hot] == [
        (0x500, 0x6C8, pytest.approx(1.0 - 200 / 256))
    ]


def stretched(beside: float) -> tuple[Evidence, list[bool]]:
    """A hot range that is looked into with 200 bytes more, and how often it is; `beside`: the heat
    of the block behind it."""
    item = prepared("gui-x86.exe")
    maps = by_bytes(item, {(0x500, 0x600): 1.0, (0x600, 0x700): beside})
    evidence = with_hot(evidence_of(item, maps), [hot(0x500, 0x600, 1.0)])
    calls = []

    def stretching(ranges: list[Range], snap: bool) -> list[Inspected]:
        calls.append(snap)
        if snap:
            ranges = [dataclasses.replace(part, end=part.end + 200) for part in ranges]
        return look(sample("gui-x86.exe"), ranges, parse=True, snap=False)

    return inspected(item.layout, parts_of(item, maps), evidence, stretching), calls


def with_hot(evidence: Evidence, ranges: list[HotRange]) -> Evidence:
    return msgspec.structs.replace(evidence, hot=ranges)


def test_fields_have_the_heat_of_their_bytes() -> None:
    """Where a view reads a byte a cell; nothing is said of the others."""
    item = prepared("gui-x86.exe")
    maps = random_maps(item, 7, 3)
    maps["header"][0, 4:6] = 2.0  # COFF Machine
    evidence = inspected(
        item.layout, parts_of(item, maps), evidence_of(item, maps), looker("gui-x86.exe")
    )
    (header,) = [h for h in evidence.hot if h.content and h.content.kind == "header"]
    assert header.content is not None
    fields = {field.name: field for field in header.content.fields}
    machine = fields["COFF Machine"]
    assert machine.contribution == pytest.approx(
        heat_in(item, maps, machine.offset, machine.offset + 2)
    )
    assert machine.contribution == pytest.approx(4.0, abs=0.5)
    view = item.views["header"].geometry
    for field in fields.values():
        read = view.start <= field.offset and field.offset + field.size <= view.start + 248  # type: ignore[union-attr]
        assert (field.contribution is not None) == read
    assert not all(field.contribution is not None for field in fields.values())
    without = {name: grid for name, grid in maps.items() if name != "header"}
    evidence = inspected(
        item.layout, parts_of(item, without), evidence_of(item, without), looker("gui-x86.exe")
    )
    assert all(
        field.contribution is None
        for h in evidence.hot
        if h.content is not None
        for field in h.content.fields
    )


def test_a_field_that_a_view_reads_in_part_has_no_heat() -> None:
    grid = np.arange(16.0)[None]
    fields = [HeaderField(at, 4, str(at), "") for at in (98, 100, 112, 114, 116)]
    content = HotContent("header", None, None, 0.0, (0, 0), 0, fields=fields)
    found = hot_ranges._with_heat([(WindowGeometry(100, 16, 16), grid)], content)
    assert found is not None
    assert [field.contribution for field in found.fields] == [None, 6.0, 54.0, None, None]


def test_what_clean_programs_have_is_counted_by_its_bytes() -> None:
    """Packages are the median over bytes, the heat and the share that of the bytes in common."""
    item = prepared("gui-x86.exe")
    maps = by_bytes(item, {(0x500, 0x600): 1.0, (0x600, 0x700): -3.0, (0x700, 0x800): 2.0})
    runs = Runs(
        np.array([(0x4C0, 0x580), (0x5C0, 0x640), (0x700, 0x780)]),
        np.array([7, 20, 3]),
        np.array([False, True, False]),
        50,
    )
    ranges = [hot(0x500, 0x600, 1.0), hot(0x5C0, 0x780, 0.5), hot(0x780, 0x800, 1.0)]
    size = item.identity.size
    found = with_common(with_hot(evidence_of(item, maps), ranges), parts_of(item, maps), runs, size)

    def about(common: Common | None) -> tuple[float, ...]:
        assert common is not None
        assert common.of == 50
        return common.share, common.packages, common.contribution, common.texts

    first, second, third = (about(part.common) for part in found.hot)
    assert first == pytest.approx((0.75, 7, 0.75, 0.25))
    assert second == pytest.approx((256 / 448, 3, 0.5, -0.5))
    assert third == (0.0, 0, 0.0, 0.0)
    assert about(found.common) == pytest.approx((448 / size, 7, 1.0, -0.5))
    regions = {region.name: region for region in found.regions}
    code = regions.pop(".text")
    assert about(code.common) == pytest.approx((448 / (code.end - code.start), 7, 1.0, -0.5))
    assert {about(region.common) for region in regions.values()} == {(0.0, 0, 0.0, 0.0)}


def test_words_outside_of_regions_and_without_heat() -> None:
    layout = Layout("lief", None, 32, False, None, [Region(".data", "section", 100, 200)], {})
    places = ScatteredGeometry.of(1000, np.array([40, 120]), np.array([5, 4]), np.array([1, 0]))
    found = strongest(layout, [(places, np.array([[1.0, -2.0, 0.0]]))], lambda _: ["b", "a"])
    assert [(word.text, word.contribution, word.region) for word in found] == [
        ("b", -2.0, ""),
        ("a", 1.0, ".data"),
    ]


def results(paths: list[Path], **options: object) -> list[object]:
    found = scan([str(path) for path in paths], bundle(), ScanOptions(close=True, **options))  # type: ignore[arg-type]
    return list(found)[:-1]


def test_a_program_and_its_picture_have_the_same_content(tmp_path: Path) -> None:
    data = sample("gui-x86.exe")
    (tmp_path / "a.exe").write_bytes(data)
    (tmp_path / "b.png").write_bytes(byteplot(data, 1024))
    program, picture = results([tmp_path])
    assert isinstance(program, Result)
    assert isinstance(picture, Result)
    assert [hot.content for hot in program.evidence.hot] == [
        hot.content for hot in picture.evidence.hot
    ]
    assert {hot.content.kind for hot in program.evidence.hot if hot.content} >= {"strings"}


def test_a_disarmed_byteplot_is_guessed_at(tmp_path: Path) -> None:
    """As public corpora ship their files: a PNG, with Machine and Subsystem zeroed."""
    pe = Pe(sample("console-x86.exe"))
    pe.put("<H", pe.pe + 4, 0).put("<H", pe.pe + 24 + 68, 0)
    (tmp_path / "a.png").write_bytes(byteplot(pe.bytes()))
    listings = []
    for label in bundle().card.labels:
        (result,) = results([tmp_path], label=label)
        assert isinstance(result, Result)
        listings += [h.content.code for h in result.evidence.hot if h.content and h.content.code]
    assert listings
    assert all(code.guessed and code.architecture == "x86" for code in listings)


def test_real_byteplots_are_looked_into(vx_mini: Path) -> None:
    paths = sorted(vx_mini.glob("*/*.png"))[::60]
    assert len(paths) > 10
    for result in results(paths):
        assert isinstance(result, Result)
        assert not any(notice.code == "not-inspected" for notice in result.notices)
        for item in result.evidence.hot:
            assert item.content is not None
            assert not any("could not be read (" in note for note in item.content.notes)


def test_without_inspection_nothing_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.exe").write_bytes(sample("gui-x86.exe"))
    (result,) = results([tmp_path], inspect=False)
    assert isinstance(result, Result)
    assert result.evidence.hot
    assert all((hot.hex, hot.content) == (None, None) for hot in result.evidence.hot)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda path: path.write_bytes(sample("console-x86.exe")), "changed"),
        (lambda path: path.write_text("no program"), "changed"),
        (lambda path: path.unlink(), "not-found"),
    ],
)
def test_a_file_that_changes_while_it_is_explained_is_a_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change,  # type: ignore[no-untyped-def]
    code: str,
) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    explain = methods.account

    def slow(*arguments, **options):  # type: ignore[no-untyped-def]
        change(path)
        return explain(*arguments, **options)

    monkeypatch.setattr(methods, "account", slow)
    (record,) = results([path])
    assert isinstance(record, Failed)
    assert record.code == code
    if code == "changed":
        assert "changed meanwhile" in record.reason


def test_what_clean_programs_have_is_the_same_with_and_without_checks(tmp_path: Path) -> None:
    """With checks, it is looked up beside them."""
    (tmp_path / "a.exe").write_bytes(sample("gui-x86.exe"))
    index = bundles.models_dir() / SHIPPED
    alone, beside = (results([tmp_path], common=index, checks=checks)[0] for checks in (None, 0))
    assert isinstance(alone, Result)
    assert isinstance(beside, Result)
    assert alone.evidence.common is not None
    assert beside.evidence.checks is not None
    assert msgspec.structs.replace(beside.evidence, checks=None) == alone.evidence


@pytest.mark.parametrize(
    ("lost", "checks"), [(inspect, None), (inspect, 0), (common, None), (common, 0)]
)
def test_a_worker_that_dies_costs_what_it_was_asked_for_only(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost,  # type: ignore[no-untyped-def]
    checks: int | None,
) -> None:
    (tmp_path / "a.exe").write_bytes(sample("gui-x86.exe"))
    submit = Workers.submit

    def killing(self, function, *arguments, **more):  # type: ignore[no-untyped-def]
        if function is lost:
            return submit(self, os._exit, 3)
        return submit(self, function, *arguments, **more)

    monkeypatch.setattr(Workers, "submit", killing)
    index = bundles.models_dir() / SHIPPED
    (result,) = results([tmp_path], common=index, checks=checks)
    assert isinstance(result, Result)
    assert all((hot.content is None) == (lost is inspect) for hot in result.evidence.hot)
    assert (result.evidence.common is None) == (lost is common)
    assert (result.evidence.checks is None) == (checks is None)
    (notice,) = [n for n in result.notices if n.code == "not-inspected"]
    assert "died" in notice.text


@pytest.mark.parametrize("checks", [None, 0])
def test_an_index_that_only_a_worker_finds_broken_is_a_notice(
    tmp_path: Path, checks: int | None
) -> None:
    (tmp_path / "a.exe").write_bytes(sample("gui-x86.exe"))
    broken = tmp_path / "index.npz"
    broken.write_bytes(b"no index")
    (result,) = results([tmp_path / "a.exe"], common=broken, checks=checks)
    assert isinstance(result, Result)
    assert result.evidence.common is None
    (notice,) = [n for n in result.notices if n.code == "not-inspected"]
    assert notice.text.startswith("What of it clean programs have could not be looked up: ")
    assert f"{broken}: no index of clean programs" in notice.text
