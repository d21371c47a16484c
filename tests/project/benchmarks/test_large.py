"""The made-up zoo that large collections are measured on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale import large
from maltriage.corpus.predictions import Predictions, save_predictions


@pytest.mark.parametrize(("files", "families"), [(3_000, 50), (100_000, 200)])
def test_families_are_uneven_and_none_too_small(files: int, families: int) -> None:
    sizes = large.sizes(files, families)
    assert (len(sizes), sum(sizes)) == (families, files)
    assert min(sizes) == sizes[-1] >= large.LEAST
    assert sizes == sorted(sizes, reverse=True)


def test_a_zoo_is_always_the_same_and_its_wrong_files_are_known(tmp_path: Path) -> None:
    found = []
    for name in ("one", "other"):
        wrong = large.write_zoo(tmp_path / name, 900, 20)
        files = {p.name: p for p in (tmp_path / name).rglob("*.exe")}
        assert len(files) == 900
        digests = {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in files.items()}
        assert len(set(digests.values())) == 900
        found.append((wrong, digests, {n: p.parent.name for n, p in files.items()}))
    assert found[0] == found[1]
    wrong, _, folders = found[0]
    assert 5 <= len(wrong) <= 40
    borders = np.cumsum(large.sizes(900, 20))
    for name, folder in folders.items():
        own = int(np.searchsorted(borders, int(name[:6]), side="right"))
        assert (folder == f"family{own:03d}") == (name not in wrong)


def test_what_is_printed_of_a_fold(tmp_path: Path) -> None:
    labels = tuple(f"family{i:03d}" for i in range(8))
    truth = np.arange(16) % 8
    guess = np.where(truth < 6, truth, 0)  # the rarest quarter is never named right
    digests = tuple(f"{i:064x}" for i in range(16))
    run = Predictions(
        "net", 0, labels, digests, truth, truth * 0, truth < 0, 9.0 * np.eye(8)[guess]
    )
    path = tmp_path / "predictions.csv"
    save_predictions(run, path)
    assert large.by_rank(path, 8) == (
        "named right: 75.0% of 16 files, 100.0% of the commonest quarter of families,"
        " 0.0% of the rarest (4 files)"
    )
    told = json.dumps({"doubtful": [{"path": "zoo/a.exe"}, {"path": "zoo/b.exe"}]}).encode()
    places = {digest: f"{'abcdefghijklmnop'[i]}.exe" for i, digest in enumerate(digests)}
    assert large.doubted(told, path, {"a.exe", "c.exe", "elsewhere.exe"}, places) == (
        "labels that are probably wrong: 2 of 16 listed; 1 of the 2 that are wrong among them"
    )
