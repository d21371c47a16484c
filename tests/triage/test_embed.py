"""Embeddings of labelled files are those that a scan of the same files has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hostile.make import CASES

from maltriage import bundle as bundles
from maltriage.errors import MaltriageError
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.triage.embed import embed
from maltriage.triage.options import ScanOptions
from maltriage.triage.session import Session

OPTIONS = ScanOptions(device="cpu", jobs=1, threads=1)


def test_embeddings_with_their_labels(samples_dir: Path, tmp_path: Path) -> None:
    bundle = bundles.load(bundles.resolve(None))
    bad = tmp_path / "bad.png"
    bad.write_bytes(CASES["png_cut"]())
    labels = {
        str(samples_dir / "gui-x86.exe"): "a",
        str(bad): "a",
        str(samples_dir / "console-x64.exe"): "b",
    }
    calls = list[tuple[int, int]]()
    found = embed(
        labels, bundle, OPTIONS, changed=lambda now: calls.append((now.files, now.failed))
    )
    assert found.labels == ["a", "b"]
    assert [record.path for record in found.unread] == [str(bad)]
    assert calls[-1] == (2, 1)
    paths = [path for path in labels if path != str(bad)]
    samples = [prepare(path, PrepareOptions(bundle.card.views)) for path in paths]
    assert found.sha256 == [sample.identity.sha256 for sample in samples]
    outputs = Session(bundle, "cpu", 1).run([sample.views for sample in samples])
    assert np.allclose(found.embeddings, outputs.embedding, atol=1e-5)


def test_none_that_can_be_read(tmp_path: Path) -> None:
    bundle = bundles.load(bundles.resolve(None))
    path = tmp_path / "a.exe"
    path.write_bytes(b"")
    with pytest.raises(
        MaltriageError, match=r"none of the files could be read, the first: .*a\.exe"
    ):
        embed({str(path): "a"}, bundle, OPTIONS)
