"""Evaluation, on real scans of our own samples."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import msgspec
import pytest
from corpus.synthetic import write_dump
from hostile.make import sample
from rich.console import Console

from maltriage import bundle as bundles
from maltriage.assess.held_back import Group, Held
from maltriage.assess.verdicts.evaluate import evaluate
from maltriage.bundle import Bundle
from maltriage.corpus.split_file import manifest_of
from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Result
from maltriage.report.studies.evaluation import render
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(bundles.resolve(None))


def held(bundle: Bundle, *samples: tuple[str, str]) -> Held:
    return Held(bundle, [Group(bundle, samples)], "all")


def test_evaluate_counts_what_scan_says(samples_dir: Path, tmp_path: Path, bundle: Bundle) -> None:
    records = scan([str(samples_dir)], bundle, ScanOptions())
    tops = {r.path: r.verdict.ranked[0].label for r in records if isinstance(r, Result)}
    (tmp_path / "broken.exe").write_bytes(b"")
    samples = [*tops.items(), (str(tmp_path / "broken.exe"), "benign"), ("x", "not-a-family")]
    found = evaluate(held(bundle, *samples), ScanOptions())
    assert (found.samples, found.unreadable) == (len(tops), 1)
    assert found.unknown_labels == {"not-a-family": 1}
    assert found.accuracy.value == 1.0
    wrong = next(label for label in bundle.card.labels if label not in tops.values())
    found = evaluate(held(bundle, *((path, wrong) for path in tops)), ScanOptions())
    assert (found.accuracy.value, found.macro_f1.value) == (0.0, 0.0)
    assert found.flags is not None
    assert found.flags.benign + found.flags.malware == len(tops)


def test_files_that_the_model_was_trained_on_are_known_by_their_digest(
    samples_dir: Path, bundle: Bundle
) -> None:
    records = scan([str(samples_dir)], bundle, ScanOptions())
    names = {r.path: r.sha256 for r in records if isinstance(r, Result)}
    training = msgspec.structs.replace(
        bundle.card.training,
        manifest_sha256=manifest_of((sha256, "benign") for sha256 in names.values()),
    )
    card = msgspec.structs.replace(bundle.card, training=training)
    trained = msgspec.structs.replace(bundle, card=card)
    samples = [(path, "benign") for path in names]
    console = Console(file=StringIO(), width=200)
    assert not evaluate(held(bundle, *samples), ScanOptions()).seen
    assert not evaluate(held(trained, *samples[1:]), ScanOptions()).seen
    found = evaluate(held(trained, *samples), ScanOptions())
    assert found.seen
    render(found, console)
    assert "the model was trained on these files" in console.file.getvalue()


def test_evaluate_without_anything_to_measure(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(MaltriageError, match="label that the model knows"):
        evaluate(held(bundle, ("x", "nothing")), ScanOptions())
    with pytest.raises(MaltriageError, match="could be read"):
        evaluate(held(bundle, (str(tmp_path / "gone"), "benign")), ScanOptions())


def test_evaluate_says_why_nothing_could_be_read(tmp_path: Path, bundle: Bundle) -> None:
    path = write_dump(tmp_path / "a.bytes", sample("console-x86.exe"))
    with pytest.raises(MaltriageError, match=r"none of the samples .*: a hex dump, where"):
        evaluate(held(bundle, (str(path), "benign")), ScanOptions())
