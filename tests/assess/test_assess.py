"""Evaluation and calibration, on real scans of our own samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus.synthetic import write_dump
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage.assess.calibrate import threshold_for, write
from maltriage.assess.evaluate import evaluate
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.document import Result
from maltriage.triage.pipeline import ScanOptions, scan


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


def test_evaluate_counts_what_scan_says(samples_dir: Path, tmp_path: Path, bundle: Bundle) -> None:
    records = scan([str(samples_dir)], bundle, ScanOptions())
    tops = {r.path: r.verdict.ranked[0].label for r in records if isinstance(r, Result)}
    (tmp_path / "broken.exe").write_bytes(b"")
    samples = [*tops.items(), (str(tmp_path / "broken.exe"), "benign"), ("x", "not-a-family")]
    found = evaluate(samples, bundle, "all", ScanOptions())
    assert (found.samples, found.unreadable) == (len(tops), 1)
    assert found.unknown_labels == {"not-a-family": 1}
    assert found.accuracy.value == 1.0
    wrong = next(label for label in bundle.card.labels if label not in tops.values())
    found = evaluate([(path, wrong) for path in tops], bundle, "all", ScanOptions())
    assert (found.accuracy.value, found.macro_f1.value) == (0.0, 0.0)
    assert found.flags is not None
    assert found.flags.benign + found.flags.malware == len(tops)


def test_evaluate_without_anything_to_measure(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(MaltriageError, match="label that the model knows"):
        evaluate([("x", "nothing")], bundle, "all", ScanOptions())
    with pytest.raises(MaltriageError, match="could be read"):
        evaluate([(str(tmp_path / "gone"), "benign")], bundle, "all", ScanOptions())


def variants(folder: Path, count: int) -> list[str]:
    data = sample("console-x86.exe")
    for i in range(count):
        (folder / f"{i:02d}.exe").write_bytes(data + b"tail" * i)
    (folder / "again.exe").write_bytes(data)  # equal files count once
    return [str(folder)]


def test_calibrate_keeps_its_promise(tmp_path: Path, bundle: Bundle) -> None:
    folder = tmp_path / "clean"
    folder.mkdir()
    paths = variants(folder, 20)
    found = threshold_for(paths, bundle, 0.1, "clean", ScanOptions())
    assert (found.threshold.files, found.threshold.fpr) == (20, 0.1)
    assert found.threshold.flagged == len(found.malware_like) <= 2
    card = write(bundle, found.threshold, tmp_path / "new.onnx")
    assert card.weights_sha256 == bundle.card.weights_sha256
    again = bundles.load(tmp_path / "new.onnx")
    flagged = {
        r.sha256
        for r in scan(paths, again, ScanOptions())
        if isinstance(r, Result) and r.verdict.flagged
    }
    assert len(flagged) == found.threshold.flagged


def test_too_few_clean_files(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(MaltriageError, match="needs 100"):
        threshold_for(variants(tmp_path, 5), bundle, 0.01, "few", ScanOptions())


def test_the_command_writes_a_bundle_that_scan_uses(run_cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "clean"
    folder.mkdir()
    variants(folder, 20)
    new = tmp_path / "mine.onnx"
    done = run_cli(
        "calibrate", "maltriage-evidence", "--goodware", folder, "--fpr", "0.1", "-o", new
    )
    assert done.returncode == 0, done.stderr
    assert b"95 % interval" in done.stdout
    shown = run_cli("models", new, "--json")
    assert json.loads(shown.stdout)["threshold"]["goodware"] == "clean"


def test_evaluate_says_why_nothing_could_be_read(tmp_path: Path, bundle: Bundle) -> None:
    path = write_dump(tmp_path / "a.bytes", sample("console-x86.exe"))
    with pytest.raises(MaltriageError, match=r"none of the samples .*: a hex dump, where"):
        evaluate([(str(path), "benign")], bundle, "all", ScanOptions())
