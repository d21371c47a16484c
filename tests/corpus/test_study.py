"""Cells of a study, and the locks that processes share them by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maltriage.corpus.study import Cell, claim
from maltriage.errors import MaltriageError


def test_where_cells_lie(tmp_path: Path) -> None:
    fold, whole = Cell("gibert", 2, 1), Cell("gibert", 2, None)
    assert fold.bundle(tmp_path) == tmp_path / "gibert" / "seed-2" / "fold-1" / "gibert.onnx"
    assert whole.bundle(tmp_path) == tmp_path / "gibert" / "seed-2" / "gibert.onnx"
    assert fold.lock(tmp_path) != whole.lock(tmp_path)
    assert (str(fold), str(whole)) == ("gibert, seed 2, fold 1", "gibert, seed 2")


def test_a_claim_is_for_one(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one.lock"
    with claim(path) as first:
        assert first
        with claim(path) as second, claim(path.with_name("other.lock")) as other:
            assert (second, other) == (False, True)
    with claim(path) as again:
        assert again


def test_a_claim_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    code = (
        "import sys, pathlib, maltriage.corpus.study as s\n"
        "with s.claim(pathlib.Path(sys.argv[1])) as held:\n"
        "    print(held, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [b"True"]
        with claim(path) as held:
            assert not held
        process.kill()
        process.wait()
    with claim(path) as held:
        assert held


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MaltriageError, match="cannot write"), claim(tmp_path / "file" / "x.lock"):
        pass
