"""Cells of a study, and where they lie."""

from __future__ import annotations

from pathlib import Path

from maltriage.corpus.study import Cell


def test_where_cells_lie(tmp_path: Path) -> None:
    fold, whole = Cell("gibert", 2, 1), Cell("gibert", 2, None)
    assert fold.bundle(tmp_path) == tmp_path / "gibert" / "seed-2" / "fold-1" / "gibert.onnx"
    assert whole.bundle(tmp_path) == tmp_path / "gibert" / "seed-2" / "gibert.onnx"
    assert fold.lock(tmp_path) != whole.lock(tmp_path)
    assert (str(fold), str(whole)) == ("gibert, seed 2, fold 1", "gibert, seed 2")
