"""The account adds up: bytes to regions, regions to the total, the total to the logit."""

from __future__ import annotations

import base64
import dataclasses
import os
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from corpus.synthetic import write_dump
from hostile.make import CASES, byteplot, sample

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.probe.prepare import Prepared
from maltriage.report.documents.evidence import HOT_BLOCK, Evidence
from maltriage.report.documents.methods import ADDITIVE
from maltriage.report.documents.record import Record, Result
from maltriage.sample.byteplot import View
from maltriage.sample.geometry import BodyGeometry
from maltriage.sample.types import Identity, Layout, Region
from maltriage.triage.evidence import (
    MAX_HOT,
    Division,
    Floats,
    Heat,
    account,
    divide,
    heat_on,
)
from maltriage.triage.methods import compare, maps_of, same_maps
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.triage.session import Outputs
from maltriage.triage.verdict import Question

GEOMETRY, LOGIT = 1e-6, 1e-4


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


def results(paths: list[str], bundle: Bundle, **options: object) -> list[Result]:
    records = scan(paths, bundle, ScanOptions(**options))  # type: ignore[arg-type]
    return [record for record in records if isinstance(record, Result)]


def assert_adds_up(evidence: Evidence) -> None:
    parts = [region.contribution for region in evidence.regions] + [evidence.padding]
    scale = sum(abs(part) for part in parts) or 1.0
    assert abs(sum(parts) - evidence.total) <= GEOMETRY * scale
    assert abs(sum(view.contribution for view in evidence.views) - evidence.total) <= (
        GEOMETRY * scale
    )
    assert evidence.additive
    assert abs(evidence.total + evidence.bias - evidence.logit) <= LOGIT * scale
    shares = sum(abs(region.share) for region in evidence.regions) + abs(evidence.padding) / scale
    assert shares == pytest.approx(1.0) or evidence.total == 0.0
    assert evidence.hot == sorted(evidence.hot, key=lambda hot: -hot.contribution)


def test_what_is_appended_moves_no_margin(tmp_path: Path, bundle: Bundle) -> None:
    """Neither words of clean programs nor noise nor a whole program nor one byte."""
    data, noise = sample("gui-x86.exe"), np.random.default_rng(3).bytes(50_000)
    words = b"Microsoft Windows Corporation kernel library module " * 90
    for number, behind in enumerate((b"", b"\x01", words, noise, data)):
        (tmp_path / f"{number}.exe").write_bytes(data + behind)
    plain, *others = results([str(tmp_path)], bundle)
    assert plain.layout.regions[-1].kind == "section"
    shown = {view.name: (view.start, view.end) for view in plain.evidence.views}
    assert shown["words"] == shown["entropy"] == shown["body"] == (None, None)
    end = len(data.rstrip(b"\0"))
    for found in others:
        assert found.verdict.margin == pytest.approx(plain.verdict.margin, abs=1e-5)
        assert found.evidence.regions[-1].kind == "overlay"
        assert found.evidence.regions[-1].contribution == 0.0
        shown = {view.name: (view.start, view.end) for view in found.evidence.views}
        assert shown["words"] == shown["entropy"] == (0, end)
        assert shown["body"] == (None, None)


def test_samples_add_up(samples_dir: Path, bundle: Bundle) -> None:
    found = results([str(samples_dir)], bundle)
    assert len(found) >= 9
    for result in found:
        assert_adds_up(result.evidence)
        assert result.evidence.regions[-1].end == result.size


@pytest.mark.parametrize("case", ["mz_only", "sections_65535", "overlapping_sections"])
def test_odd_files_add_up(tmp_path: Path, case: str, bundle: Bundle) -> None:
    (tmp_path / "odd.exe").write_bytes(CASES[case]())
    (result,) = results([str(tmp_path)], bundle)
    assert_adds_up(result.evidence)


def assert_every_label_gives_the_ranking(paths: list[str], bundle: Bundle) -> None:
    """Softmax of the explained scores over the temperature is the ranked probabilities: of all
    labels, or of the families, whose sum has the log odds of malware."""
    logits = []
    for label in bundle.card.labels:
        found = results(paths, bundle, label=label)
        for result in found:
            assert_adds_up(result.evidence)
            assert (result.evidence.label, result.evidence.against) == (label, None)
        logits.append([result.evidence.logit for result in found])
    values = np.array(logits).T
    if (clean := bundle.card.clean) is not None:
        families = np.delete(values, clean, axis=1)
        values[:, clean] += np.logaddexp.reduce(families, axis=1)
    values /= bundle.card.temperature or 1.0
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    for row, result in zip(shares, found, strict=True):
        ranked = {entry.label: entry.probability for entry in result.verdict.ranked}
        expected = [ranked[label] for label in bundle.card.labels]
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_every_label_can_be_explained(samples_dir: Path, bundle: Bundle) -> None:
    assert_every_label_gives_the_ranking([str(samples_dir)], bundle)


@pytest.mark.slow
def test_every_label_of_real_files_can_be_explained(vx_mini: Path, bundle: Bundle) -> None:
    paths = [str(path) for path in sorted(vx_mini.glob("*/*.png"))[::10]]
    assert len(paths) > 90
    assert_every_label_gives_the_ranking(paths, bundle)


def test_the_evidence_answers_the_verdict(samples_dir: Path, bundle: Bundle) -> None:
    for result in results([str(samples_dir)], bundle):
        verdict, evidence = result.verdict, result.evidence
        if verdict.flagged:
            family = verdict.closest or verdict.label
            assert (evidence.label, evidence.against) == (family, "benign")
        else:
            label = verdict.ranked[0].label  # at an even chance `benign`, of a file that is unknown
            assert (evidence.label, evidence.against) == (label, None)


def test_one_label_against_another(samples_dir: Path, bundle: Bundle) -> None:
    """The difference of two scores is explained by the difference of their explanations."""
    path = [str(samples_dir / "gui-x86.exe")]
    (first,), (second,) = (results(path, bundle, label=name) for name in ("bifrose", "hupigon"))
    (both,) = results(path, bundle, label="bifrose", against="hupigon")
    assert_adds_up(both.evidence)
    assert (both.evidence.label, both.evidence.against) == ("bifrose", "hupigon")
    assert both.evidence.logit == pytest.approx(
        first.evidence.logit - second.evidence.logit, abs=1e-5
    )
    assert [region.contribution for region in both.evidence.regions] == pytest.approx(
        [
            one.contribution - other.contribution
            for one, other in zip(first.evidence.regions, second.evidence.regions, strict=True)
        ],
        abs=1e-4,
    )


def test_the_verdict_against_a_label(samples_dir: Path, bundle: Bundle) -> None:
    for result in results([str(samples_dir)], bundle, against="hupigon"):
        assert_adds_up(result.evidence)
        ranked = [entry.label for entry in result.verdict.ranked if entry.label != "hupigon"]
        said = result.verdict.ranked[0].label
        assert not result.verdict.flagged
        expected = ranked[0] if said == "hupigon" else said
        assert (result.evidence.label, result.evidence.against) == (expected, "hupigon")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": "nobody"}, "knows no label 'nobody'"),
        ({"label": "icedid", "against": "icedid"}, "icedid against itself"),
        ({"methods": ("tea-leaves",)}, "no such method: tea-leaves"),
    ],
)
def test_questions_without_an_answer(
    bundle: Bundle, options: dict[str, object], message: str
) -> None:
    with pytest.raises(MaltriageError, match=message):
        results(["/nowhere"], bundle, **options)


def test_grad_cam_of_an_additive_bundle_is_hirescam(samples_dir: Path, bundle: Bundle) -> None:
    path = [str(samples_dir / "gui-x86.exe")]
    (fine,), (mean,) = (results(path, bundle, methods=(name,)) for name in ADDITIVE)
    assert (fine.evidence.method, fine.evidence.same_as) == ("hirescam", ["gradcam"])
    assert (mean.evidence.method, mean.evidence.same_as) == ("gradcam", ["hirescam"])
    assert mean.evidence.regions == fine.evidence.regions


def test_grad_cam_where_a_view_has_a_map_of_its_own() -> None:
    def grid(value: float) -> np.ndarray:
        return np.full((2, 1, 3), value, dtype=np.float32)

    none = np.zeros((2, 2))
    outputs = Outputs(
        none, {"body": grid(1.0), "head": grid(2.0)}, none, none, none, {"body": grid(3.0)}
    )
    assert {name: float(g[0, 0]) for name, g in maps_of(outputs, 1, "hirescam").items()} == {
        "body": 1.0,
        "head": 2.0,
    }
    assert {name: float(g[0, 0]) for name, g in maps_of(outputs, 1, "gradcam").items()} == {
        "body": 3.0,
        "head": 2.0,
    }
    assert same_maps(outputs, "hirescam") == same_maps(outputs, "gradcam") == ()


def test_methods_are_compared_region_by_region(samples_dir: Path, bundle: Bundle) -> None:
    evidence = results([str(samples_dir / "gui-x86.exe")], bundle)[0].evidence
    least = msgspec.structs.replace(
        evidence,
        method="other",
        regions=[
            msgspec.structs.replace(region, contribution=-region.contribution)
            for region in evidence.regions
        ],
    )
    none = msgspec.structs.replace(
        evidence,
        method="none",
        regions=[msgspec.structs.replace(region, contribution=0.0) for region in evidence.regions],
    )
    found = compare([evidence, least, none])
    assert [heat.method for heat in found.methods] == ["hirescam", "other", "none"]
    assert [(pair.first, pair.second) for pair in found.agreement] == [
        ("hirescam", "other"),
        ("hirescam", "none"),
        ("other", "none"),
    ]
    assert found.agreement[0].rank_correlation == pytest.approx(-1.0)
    assert [pair.rank_correlation for pair in found.agreement[1:]] == [None, None]
    assert found.methods[1].regions == [-region.contribution for region in evidence.regions]


def test_regions_without_bytes_have_no_rank(samples_dir: Path, bundle: Bundle) -> None:
    evidence = results([str(samples_dir / "gui-x86.exe")], bundle)[0].evidence
    first = evidence.regions[0]
    empty = [msgspec.structs.replace(first, end=first.start, contribution=0.0)] * 5
    other = msgspec.structs.replace(
        evidence, regions=[*evidence.regions[:2], *empty], method="other"
    )
    found = compare([msgspec.structs.replace(other, method="one"), other])
    assert found.agreement[0].rank_correlation is None  # two regions are too few


def test_appended_zeros_carry_no_heat(tmp_path: Path, bundle: Bundle) -> None:
    data = sample("console-x86.exe")
    (tmp_path / "a.exe").write_bytes(data)
    (tmp_path / "b.exe").write_bytes(data + bytes(100_000))
    plain, padded = results([str(tmp_path)], bundle)
    assert padded.verdict == plain.verdict
    assert padded.evidence.regions[-1].contribution == 0.0
    for before, after in zip(plain.evidence.regions, padded.evidence.regions, strict=False):
        assert after.contribution == pytest.approx(before.contribution, abs=1e-9)


@pytest.mark.parametrize("width", [1, 64, 100])
def test_a_program_and_its_picture_are_one(tmp_path: Path, bundle: Bundle, width: int) -> None:
    data = sample("gui-x86.exe")
    data = data[: len(data) - len(data) % width]
    (tmp_path / "a.exe").write_bytes(data)
    (tmp_path / "b.png").write_bytes(byteplot(data, width))
    program, picture = results([str(tmp_path)], bundle)
    assert (program.format, picture.format) == ("pe", "png")
    assert picture.sha256 == program.sha256
    assert picture.verdict == program.verdict
    assert picture.evidence == program.evidence
    assert picture.layout == program.layout


def test_the_last_row_of_a_picture_carries_no_heat(tmp_path: Path, bundle: Bundle) -> None:
    data = sample("gui-x86.exe")
    (tmp_path / "a.exe").write_bytes(data)
    (tmp_path / "b.png").write_bytes(byteplot(data, 1000))
    program, picture = results([str(tmp_path)], bundle)
    assert picture.size > program.size
    assert picture.verdict == program.verdict
    *regions, rest = picture.evidence.regions
    assert regions == program.evidence.regions
    assert rest.contribution == 0.0


def test_a_batch_changes_nothing(samples_dir: Path, bundle: Bundle) -> None:
    alone = results([str(samples_dir)], bundle, batch_size=1)
    together = results([str(samples_dir)], bundle, batch_size=64, jobs=1)
    for one, many in zip(alone, together, strict=True):
        assert one.path == many.path
        assert one.verdict.label == many.verdict.label
        assert one.evidence.total == pytest.approx(many.evidence.total, abs=1e-4)


def test_two_runs_are_equal(samples_dir: Path, bundle: Bundle) -> None:
    path = str(samples_dir / "gui-x86.exe")
    first, second = (results([path], bundle)[0] for _ in range(2))
    assert first.evidence == second.evidence
    assert first.verdict == second.verdict


def assert_all_add_up(records: list[Record], least: int) -> None:
    found = [record for record in records if isinstance(record, Result)]
    assert len(found) >= least
    for result in found:
        assert_adds_up(result.evidence)


@pytest.mark.slow
def test_vx_mini_adds_up(vx_mini: Path, bundle: Bundle) -> None:
    assert_all_add_up(list(scan([str(vx_mini)], bundle, ScanOptions())), 972)


@pytest.mark.slow
def test_real_programs_add_up(bundle: Bundle) -> None:
    """At least 700 programs of Debian packages, in $MALTRIAGE_GOODWARE (see CONTRIBUTING)."""
    root = GOODWARE
    if not root:
        pytest.skip("no programs: name a folder of them in MALTRIAGE_GOODWARE")
    assert_all_add_up(list(scan([root], bundle, ScanOptions())), 700)


GOODWARE = os.environ.get("MALTRIAGE_GOODWARE")  # before the tests' own environment hides it


def test_evidence_of_an_inconsistent_choice_is_made_again(
    samples_dir: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the graph explains another question than the verdict asks, it is asked again."""
    from maltriage.triage import session

    run, calls = session.Session.run, []

    def wrong(self, samples, target=session.CHOOSE, against=session.CHOOSE, kinds=None):  # type: ignore[no-untyped-def]
        outputs = run(self, samples, target, against, kinds)
        calls.append(target)
        if target == session.CHOOSE:
            return dataclasses.replace(outputs, explained=outputs.explained * 0 - 1)
        return outputs

    monkeypatch.setattr(session.Session, "run", wrong)
    (result,) = results([str(samples_dir / "gui-x86.exe")], bundle)
    assert len(calls) == 2
    assert_adds_up(result.evidence)


@pytest.mark.parametrize("address", [None, 0x401000])
def test_hex_dumps_add_up_by_address(tmp_path: Path, bundle: Bundle, address: int | None) -> None:
    """The account of a dump is over ranges of its addresses, and loses nothing on the way."""
    data = sample("gui-x86.exe")
    write_dump(tmp_path / "a.bytes", data, address)
    card = msgspec.structs.replace(bundle.card, input=("bytes",))
    changed = msgspec.structs.replace(bundle, card=card)
    (result,) = results([str(tmp_path)], changed, close=True, label="icedid")
    assert result.format == "bytes"
    assert_adds_up(result.evidence)
    assert {region.kind for region in result.evidence.regions} == {"range"}
    assert len(result.evidence.regions) > 4
    assert result.evidence.regions[-1].end == result.size == len(data)
    assert result.evidence.hot
    for hot in result.evidence.hot:
        assert bytes.fromhex(hot.hex or "") == data[hot.start : min(hot.end, hot.start + 16)]
        assert hot.rva == (None if address is None else address + hot.start)


def test_a_dump_that_jumps_adds_up(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "a.bytes").write_bytes(CASES["dump_that_jumps"]())
    card = msgspec.structs.replace(bundle.card, input=("bytes",))
    (result,) = results([str(tmp_path)], msgspec.structs.replace(bundle, card=card))
    assert_adds_up(result.evidence)
    assert [notice.code for notice in result.notices][:2] == ["unmapped", "many-blocks"]
    assert result.evidence.regions[-1].name == "(rest)"


class OneAByte:
    """Places of a map that has a cell for each byte."""

    def integrate(self, heat: Floats, offsets: npt.NDArray[np.int64]) -> Floats:
        return np.concatenate(([0.0], heat.ravel().cumsum()))[offsets]

    def integrate_steps(
        self, heat: Floats, step: int, count: int, others: npt.NDArray[np.int64]
    ) -> Floats:
        return self.integrate(heat, np.array([*(i * step for i in range(count + 1)), *others]))

    def bytewise(self, heat: Floats) -> tuple[int, int] | None:
        return 0, heat.size


SECTIONS = [
    Region("header", "header", 0, 1000),
    Region(".text", "section", 1000, 21000, rva=0x1000),
    Region(".data", "section", 21000, 30100, rva=0x8000),
]


def divided(heat: Floats) -> Division:
    """Heat of the bytes of a file of these sections."""
    layout = Layout("lief", None, 32, False, None, SECTIONS, {})
    prepared = Prepared("a.exe", "pe", Identity("0" * 64, len(heat)), layout, [], {}, 0.0)
    return divide(prepared, [(OneAByte(), heat)])


def on_blocks(**heat: float) -> Floats:
    """No heat but on some blocks, `b7=2.0`, evenly."""
    found = np.zeros(30100)
    for name, value in heat.items():
        at = int(name[1:]) * HOT_BLOCK
        part = found[at : at + HOT_BLOCK]
        part += value / len(part)
    return found


def test_hot_blocks_in_a_row_are_a_range_and_end_at_regions() -> None:
    found = divided(on_blocks(b10=3.0, b11=1.0, b82=4.0, b100=-9.0))
    edge = 21000 - 82 * HOT_BLOCK
    assert [(hot.start, hot.end, hot.region, hot.rva) for hot in found.hot] == [
        (2560, 3072, ".text", 0x1000 + 1560),
        (21000, 21248, ".data", 0x8000),
        (20992, 21000, ".text", 0x1000 + 19992),
    ]
    sums = [hot.contribution for hot in found.hot]
    assert sums == pytest.approx([4.0, 4.0 * (1 - edge / HOT_BLOCK), 4.0 * edge / HOT_BLOCK])
    assert [region.contribution for region in found.regions] == pytest.approx(
        [0.0, 4.0 + sums[2], sums[1] - 9.0]
    )
    assert found.total == pytest.approx(-1.0)
    assert found.padding == pytest.approx(0.0)


def test_blocks_are_hot_by_their_heat_per_byte() -> None:
    """Of 118 blocks six are above the quantile; the last has 148 bytes."""
    even = np.full(30100, 1.0 / HOT_BLOCK)
    even[117 * HOT_BLOCK :] = 0.9 / 148
    assert [(hot.start, hot.end) for hot in divided(even).hot] == [(117 * HOT_BLOCK, 30100)]
    rising = (np.arange(30100) // HOT_BLOCK + 1).astype(np.float64)
    assert [(hot.start, hot.end) for hot in divided(rising).hot] == [(112 * HOT_BLOCK, 30100)]
    assert divided(-rising).hot == []


def test_of_many_blocks_with_the_highest_heat_the_hottest_runs_are_kept() -> None:
    names = [f"b{number}" for number in (*range(4, 44, 2), 60, 61)]
    hot = divided(on_blocks(**dict.fromkeys(names, 1.0))).hot
    assert len(hot) == MAX_HOT
    assert [(h.start // HOT_BLOCK, h.end // HOT_BLOCK) for h in hot[:2]] == [(60, 62), (4, 5)]
    assert [h.contribution for h in hot] == pytest.approx([2.0] + [1.0] * 15)


def test_shares_are_of_all_heat_whatever_its_sign() -> None:
    regions = divided(on_blocks(b1=-1.0, b10=4.0, b100=-5.0)).regions
    assert [region.share for region in regions] == pytest.approx([-0.1, 0.4, -0.5])
    assert [region.share for region in divided(np.zeros(30100)).regions] == [0.0] * 3


def test_heat_on_ranges_of_all_maps_together() -> None:
    heat = np.arange(100.0)
    ranges = np.array([(50, 60), (0, 100), (60, 60), (0, 50)])
    parts = [(OneAByte(), heat), (OneAByte(), heat)]
    expected = [2.0 * heat[start:end].sum() for start, end in ranges]
    assert heat_on(parts, ranges).tolist() == pytest.approx(expected)


def shown_in_body() -> Prepared:
    """A file of one section, of which a body of 3 x 4 cells is all that a model sees."""
    view = View(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), BodyGeometry(1000, 32))
    layout = Layout("lief", None, 32, False, None, [Region("all", "section", 0, 1000)], {})
    return Prepared("a.exe", "pe", Identity("0" * 64, 1000), layout, [], {"body": view}, 0.0)


def test_a_plane_shows_the_body_with_its_heat(bundle: Bundle) -> None:
    prepared = shown_in_body()
    grid = np.arange(10, dtype=np.float32).reshape(2, 5)
    heat = Heat({"body": grid}, 0.0, 45.0, True, "hirescam")
    plane = account(prepared, heat, Question(0), bundle.card, plane=True).plane
    assert plane is not None
    assert base64.b64decode(plane.pixels) == bytes(range(12))
    assert (plane.width, plane.height, plane.length, plane.row_bytes) == (4, 3, 1000, 32)
    assert (plane.heat_width, plane.heat_height) == (5, 2)
    assert plane.heat == grid.ravel().tolist()
    assert account(prepared, heat, Question(0), bundle.card).plane is None


@pytest.mark.filterwarnings("error")  # which numpy would write to stderr
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_heat_that_is_no_number_is_an_error(bundle: Bundle, bad: float) -> None:
    heat = Heat({"body": np.array([[1.0, bad]], np.float32)}, 0.0, 0.0, True, "hirescam")
    with pytest.raises(MaltriageError, match="not a number"):
        account(shown_in_body(), heat, Question(0), bundle.card)
