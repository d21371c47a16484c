from __future__ import annotations

import math
import os
from pathlib import Path

import msgspec
import pytest
from assess.planted import plant, weights
from corpus.synthetic import write_dump
from hostile.make import CASES, byteplot, sample
from paths import HAS_LINKS, links

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.report.documents.record import Failed, Result, Skipped, Summary
from maltriage.sample.errors import SampleError
from maltriage.sample.geometry import width_for
from maltriage.sample.types import Format
from maltriage.source.files import WalkOptions
from maltriage.triage import check
from maltriage.triage import options as scan_options
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.work import dispatcher


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good files, skips and failures side by side."""
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    (tmp_path / "b.txt").write_text("no program")
    (tmp_path / "c.exe").write_bytes(b"")
    (tmp_path / "d.png").write_bytes(CASES["png_cut"]())
    (tmp_path / "e.exe").write_bytes(sample("console-x64.exe"))
    if HAS_LINKS:
        (tmp_path / "f.exe").symlink_to(tmp_path / "gone")
    (tmp_path / "g.png").write_bytes(CASES["png_cut"]())
    return tmp_path


@links
def test_one_record_a_file_in_the_order_of_the_walk(folder: Path, bundle: Bundle) -> None:
    progress = Progress()
    *records, summary = scan([str(folder)], bundle, ScanOptions(batch_size=4), progress=progress)
    assert [os.path.basename(record.path) for record in records] == [  # type: ignore[union-attr]
        "a.exe", "b.txt", "c.exe", "d.png", "e.exe", "f.exe", "g.png",
    ]  # fmt: skip
    kinds = [type(record) for record in records]
    assert kinds == [Result, Skipped, Skipped, Failed, Result, Skipped, Failed]
    assert [r.code for r in records if isinstance(r, Skipped | Failed)] == [
        "not-pe", "empty", "damaged-png", "symlink", "damaged-png",
    ]  # fmt: skip
    assert isinstance(summary, Summary)
    assert (summary.files, summary.failed, summary.skipped) == (2, 2, 3)
    assert summary.bytes == sum(r.size for r in records if isinstance(r, Result))
    assert (progress.files, progress.failed, progress.skipped) == (2, 2, 3)


def test_stop_reports_what_is_done(tmp_path: Path, bundle: Bundle) -> None:
    for i in range(300):
        (tmp_path / f"{i:03d}.exe").write_bytes(sample("console-x86.exe"))
    progress = Progress()
    records = list(
        scan(
            [str(tmp_path)],
            bundle,
            ScanOptions(batch_size=1),
            progress=progress,
            stop=lambda: progress.files >= 3,
        )
    )
    summary = records[-1]
    assert isinstance(summary, Summary)
    assert summary.interrupted
    assert 3 <= summary.files < 300
    assert summary.files == len(records) - 1


def test_a_file_that_takes_too_long_fails_alone(tmp_path: Path, bundle: Bundle) -> None:
    with (tmp_path / "a.exe").open("wb") as file:  # sparse: 800 MiB to hash and to plot
        file.write(b"MZ")
        file.seek(800 * 1024 * 1024)
        file.write(b"x")
    (tmp_path / "b.exe").write_bytes(sample("console-x86.exe"))
    first, second, summary = scan(
        [str(tmp_path)], bundle, ScanOptions(timeout=0.7, walk=WalkOptions(max_size=1 << 30))
    )
    assert isinstance(first, Failed)
    assert first.code == "timeout"
    assert isinstance(second, Result)
    assert isinstance(summary, Summary)
    assert summary.failed == 1


def test_the_hashes_are_asked_for(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    plain = next(scan([str(tmp_path)], bundle, ScanOptions()))
    hashed = next(scan([str(tmp_path)], bundle, ScanOptions(hashes=True)))
    assert isinstance(plain, Result)
    assert isinstance(hashed, Result)
    assert plain.identity.md5 is None
    assert hashed.identity.md5
    assert plain.evidence.plane is None
    assert all(hot.hex is None for hot in plain.evidence.hot)


def test_a_close_look_has_excerpts_and_a_plane(tmp_path: Path, bundle: Bundle) -> None:
    data = sample("gui-x86.exe")
    (tmp_path / "a.exe").write_bytes(data + bytes(512))
    result = next(scan([str(tmp_path)], bundle, ScanOptions(close=True)))
    assert isinstance(result, Result)
    plane = result.evidence.plane
    assert plane is not None
    assert plane.length is not None
    assert plane.length == len(data.rstrip(b"\0"))
    assert plane.row_bytes == width_for(plane.length)
    assert result.evidence.hot
    for hot in result.evidence.hot:
        assert bytes.fromhex(hot.hex or "") == data[hot.start : min(hot.end, hot.start + 16)]
        region = result.layout.region_at(hot.start)
        assert region is not None
        assert region.name == hot.region
        assert hot.end <= region.end


def test_the_graph_explains_by_the_threshold_of_the_kind(
    samples_dir: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """The threshold is an input of the graph for each sample: 64-bit files alone are flagged,
    and what is explained of a flagged file is a family against benign."""
    assert bundle.card.threshold is not None
    threshold = msgspec.structs.replace(
        bundle.card.threshold, margin=1e6, kinds={"pe32+": -1e6, "pe32": 1e6}, points=()
    )
    card = msgspec.structs.replace(bundle.card, threshold=threshold)
    bundles.with_card(bundle, card, tmp_path / "kinds.onnx")
    changed = bundles.load(tmp_path / "kinds.onnx")
    found = [r for r in scan([str(samples_dir)], changed, ScanOptions()) if isinstance(r, Result)]
    assert {r.layout.kind for r in found} >= {"pe32", "pe32+", ".net"}
    for result in found:
        assert result.verdict.flagged == (result.layout.kind == "pe32+")
        assert (result.evidence.against == "benign") == (result.layout.kind == "pe32+")


@pytest.mark.parametrize(
    ("accepted", "codes"),
    [
        (("pe", "png"), ["", "", "input", "not-byteplot"]),
        (("pe",), ["", "input", "input", "not-byteplot"]),
        (("bytes",), ["input", "input", "", "not-byteplot"]),
        (("picture",), ["input", "", "input", ""]),
    ],
)
def test_a_model_reads_what_it_was_made_for(
    tmp_path: Path, bundle: Bundle, accepted: tuple[Format, ...], codes: list[str]
) -> None:
    """What it was not made for is skipped: nothing is wrong with the file."""
    data = sample("console-x86.exe")
    (tmp_path / "a.exe").write_bytes(data)
    (tmp_path / "b.png").write_bytes(byteplot(data))
    write_dump(tmp_path / "c.bytes", data)
    (tmp_path / "d.png").write_bytes(byteplot(b"grey" * 999))
    changed = msgspec.structs.replace(
        bundle, card=msgspec.structs.replace(bundle.card, input=accepted)
    )
    *records, summary = scan([str(tmp_path)], changed, ScanOptions())
    assert [r.code if isinstance(r, Skipped) else "" for r in records] == codes
    assert isinstance(summary, Summary)
    assert (summary.skipped, summary.failed) == (4 - codes.count(""), 0)


@pytest.mark.parametrize(
    ("code", "close", "fails"),
    [("timeout", True, False), ("changed", True, True), ("changed", False, False)],
)
def test_evidence_that_cannot_be_put_to_the_test(
    tmp_path: Path,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    close: bool,
    fails: bool,
) -> None:
    """A result says so; only a file that was asked for by itself, and is another one, fails."""

    def refuse(*_: object) -> None:
        raise SampleError(code, "a reason", failed=True)

    monkeypatch.setattr(check, "verify", refuse)
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    progress = Progress()
    options = ScanOptions(close=close, checks=0 if close else 3)
    record, summary = scan([str(tmp_path)], bundle, options, progress=progress)
    assert isinstance(summary, Summary)
    assert (summary.files, summary.failed) == ((0, 1) if fails else (1, 0))
    if fails:
        assert isinstance(record, Failed)
        assert record.code == "changed"
    else:
        assert isinstance(record, Result)
        assert record.evidence.checks is None
        assert [n.text for n in record.notices if n.code == "unchecked"] == [
            "The evidence was not put to the test: a reason."
        ]


def test_who_stops_a_scan_waits_for_no_more_checks(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held back is written all the same."""
    names = ["console-x86.exe", "gui-x86.exe", "dotnet.exe"]
    for name in names:
        (tmp_path / name).write_bytes(sample(name))
    checked = []

    def note(*arguments: object) -> None:
        checked.append(arguments)

    monkeypatch.setattr(check, "verify", note)
    options, progress = ScanOptions(checks=3), Progress()
    *records, summary = scan(
        [str(tmp_path)], bundle, options, progress=progress, stop=lambda: bool(checked)
    )
    assert len(checked) == 1
    assert progress.notes == ["the evidence of 2 of 3 files was not checked any more"]
    assert sorted(Path(record.path).name for record in records) == sorted(names)  # type: ignore[union-attr]
    assert isinstance(summary, Summary)
    assert (summary.files, summary.interrupted) == (3, True)


def test_a_model_that_answers_no_numbers_fails_its_files(tmp_path: Path) -> None:
    """A weight that is not a number: every file is a failure that says so, and none a result."""
    broken = plant(tmp_path / "nan.onnx", weights((0, 1, math.nan)), weights((0, 1, 1.0)))
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    (tmp_path / "b.exe").write_bytes(sample("console-x64.exe"))
    *records, summary = scan(
        [str(tmp_path / name) for name in ("a.exe", "b.exe")], broken, ScanOptions()
    )
    assert [(type(r), getattr(r, "code", "")) for r in records] == [(Failed, "model")] * 2
    assert isinstance(summary, Summary)
    assert (summary.files, summary.failed) == (0, 2)


@pytest.mark.parametrize(
    ("there", "options", "expected"),
    [
        (1, ScanOptions(), 1),
        (2, ScanOptions(), 1),
        (16, ScanOptions(), 5),
        (16, ScanOptions(checks=10), 16),
        (16, ScanOptions(close=True), 16),
        (16, ScanOptions(threads=2, close=True), 2),
    ],
)
def test_the_model_leaves_cores_to_the_workers(
    monkeypatch: pytest.MonkeyPatch, there: int, options: ScanOptions, expected: int
) -> None:
    monkeypatch.setattr(scan_options, "cores", lambda: there)
    assert scan_options.model_threads(options) == expected


def test_small_files_in_groups_are_the_same_records_as_alone(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is no sample between them, and what fails in a worker."""
    for i in range(40):
        name, data = f"{i:02d}", sample("console-x86.exe") + b"x" * i
        kind = i % 5
        if kind == 3:
            (tmp_path / f"{name}.png").write_bytes(CASES["png_cut"]())
        elif kind == 4:
            (tmp_path / f"{name}.txt").write_text("no program")
        else:
            (tmp_path / f"{name}.exe").write_bytes(data)
    together = [record_of(r) for r in scan([str(tmp_path)], bundle, ScanOptions(jobs=1))]
    monkeypatch.setattr(dispatcher, "MAX_GROUP_FILES", 1)
    alone = [record_of(r) for r in scan([str(tmp_path)], bundle, ScanOptions(jobs=1))]
    assert len(together) == 41
    assert together == alone


def record_of(record: object) -> object:
    """A record without what is measured, and without the digits that a batch moves."""
    if isinstance(record, Result):
        return record.path, record.sha256, record.verdict.label, record.layout, record.notices
    return None if isinstance(record, Summary) else record


def test_the_log_counts_one_record_as_one(
    tmp_path: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("no program")
    with caplog.at_level("INFO", logger="maltriage"):
        list(scan([str(tmp_path)], bundle, ScanOptions(jobs=1)))
    assert any(record.getMessage().startswith("1 record in ") for record in caplog.records)
