"""Maps of labelled files are those that a scan explains the same label by."""

from __future__ import annotations

from pathlib import Path

import pytest

from maltriage import bundle as bundles
from maltriage.report.documents.record import Result
from maltriage.triage.maps import mapped
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import scan
from maltriage.triage.session import Session
from maltriage.triage.verdict import Question
from maltriage.work.workers import Workers

LABELS = ("benign", "gbot")


def test_a_label_for_each_file_in_one_batch(samples_dir: Path, tmp_path: Path) -> None:
    bundle = bundles.load(bundles.resolve(None))
    paths = [str(samples_dir / name) for name in ("gui-x86.exe", "console-x86.exe")]
    number = [bundle.card.labels.index(label) for label in LABELS]
    asked = {**dict(zip(paths, number, strict=True)), str(tmp_path / "gone.exe"): 0}
    options = ScanOptions(device="cpu", jobs=1, threads=1)
    progress = Progress()
    calls: list[int] = []
    with Workers(1, 60.0) as workers:
        session = Session(bundle, "cpu", 1)
        found = list(
            mapped(
                asked,
                session,
                workers,
                options,
                progress=progress,
                changed=lambda now: calls.append(now.files),
            )
        )
    assert [item.prepared.path for item in found] == paths
    assert [item.label for item in found] == number
    assert (progress.files, progress.failed) == (2, 1)
    assert calls[-1] == 2
    for item, path, label in zip(found, paths, LABELS, strict=True):
        own = ScanOptions(device="cpu", jobs=1, threads=1, label=label)
        record = next(iter(scan([path], bundle, own)))
        assert isinstance(record, Result)
        assert record.evidence.against is None
        for view in record.evidence.views:
            assert float(item.maps[view.name].sum()) == pytest.approx(view.contribution, abs=1e-4)
        question = Question(item.label, None, bundle.card.clean)
        assert question.score(item.logits) == pytest.approx(record.evidence.logit, abs=1e-4)
