"""Which cells of a study are trained, in which order, and what another process has.

The runs themselves are stood in for: they are tested in test_train and test_crossval.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

import torch

from maltriage.corpus.corpus import Corpus
from maltriage.corpus.study import Cell
from maltriage.errors import MaltriageError
from maltriage.files.lock import locked
from maltriage.learn.fit.checkpoint import LAST, load_checkpoint, save_checkpoint
from maltriage.learn.fit.recipe import FitOptions
from maltriage.learn.runs import compare as module
from maltriage.learn.runs.compare import run_options, train_missing
from maltriage.learn.runs.options import RunOptions
from maltriage.learn.runs.train import Outcome

CELLS = [Cell(net, 0, fold) for net in ("gibert", "evidence") for fold in (0, 1)]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that were trained, which leave what real ones leave."""
    done: list[str] = []

    def train_fold(corpus: Any, options: RunOptions, fold: int, **_: Any) -> Any:
        folder = options.folder / f"fold-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{options.name}.onnx").write_bytes(b"bundle")
        done.append(f"{options.name} {options.fit.net} {options.fit.seed} {fold}")
        return SimpleNamespace(bundle=folder / f"{options.name}.onnx")

    monkeypatch.setattr(module, "train_fold", train_fold)
    monkeypatch.setattr(module, "_slim", lambda path: None)
    monkeypatch.setattr(module, "WAIT", 0.0)
    return done


def study(out: Path, corpus: Corpus, **options: Any) -> Any:
    runs = {
        cell: run_options(cell, out, FitOptions(), folds=2, split="grouped", split_seed=0)
        for cell in CELLS
    }
    return train_missing(runs, out, {"gibert": corpus, "evidence": corpus}, **options)


def test_what_is_finished_is_never_trained_again(
    tmp_path: Path, corpus: Corpus, trained: list[str]
) -> None:
    first = study(tmp_path, corpus)
    assert [next(first), next(first)] == CELLS[:2]
    first.close()  # the process ends here
    assert trained == ["gibert gibert 0 0", "gibert gibert 0 1"]
    stamp = CELLS[0].bundle(tmp_path).stat().st_mtime_ns
    assert list(study(tmp_path, corpus)) == CELLS
    assert trained[2:] == ["evidence evidence 0 0", "evidence evidence 0 1"]
    assert CELLS[0].bundle(tmp_path).stat().st_mtime_ns == stamp
    assert list(study(tmp_path, corpus)) == CELLS
    assert len(trained) == 4


def test_cells_of_another_process_are_waited_for(
    tmp_path: Path, corpus: Corpus, trained: list[str]
) -> None:
    """Here it dies while it holds one: that is then trained here."""
    other = locked(CELLS[0].lock(tmp_path))
    assert other.__enter__()
    told: list[int] = []

    def waiting(count: int) -> None:
        told.append(count)
        if len(told) == 3:
            other.__exit__(None, None, None)

    assert list(study(tmp_path, corpus, waiting=waiting)) == [*CELLS[1:], CELLS[0]]
    assert told == [1, 1, 1]
    assert trained[-1] == "gibert gibert 0 0"


def test_two_at_once_train_each_cell_once(
    tmp_path: Path, corpus: Corpus, trained: list[str]
) -> None:
    first, second = study(tmp_path, corpus), study(tmp_path, corpus)
    assert next(first) == CELLS[0]
    assert next(second) == CELLS[1]
    assert next(first) == CELLS[2]
    assert next(second) == CELLS[3]
    assert len(trained) == 4
    first.close()
    assert set(second) == {CELLS[0], CELLS[2]}  # measured there, but trained here already
    assert len(trained) == 4


def test_stopped_between_cells(tmp_path: Path, corpus: Corpus, trained: list[str]) -> None:
    assert list(study(tmp_path, corpus, stop=lambda: len(trained) == 1)) == CELLS[:1]


def test_a_family_that_a_fold_takes_is_found_before_anything_is_trained(
    tmp_path: Path, corpus: Corpus, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise MaltriageError("would take every sample")

    monkeypatch.setattr(module, "check_folds", refuse)
    with pytest.raises(MaltriageError, match="would take every sample"):
        next(study(tmp_path, corpus))
    assert trained == []


def test_a_finished_run_keeps_its_averaged_weights(
    outcome: Outcome, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome.bundle is not None
    tensors, state = load_checkpoint(outcome.bundle.parent)
    path = tmp_path / LAST
    save_checkpoint(path, tensors, state)
    assert not module._slimmed(path)
    module._slim(path)
    assert module._slimmed(path)
    kept, again = load_checkpoint(path)
    assert again == state
    assert 0 < len(kept) < len(tensors)
    for name, tensor in kept.items():
        assert torch.equal(tensor, tensors[name])
    # What lost its bundle is exported again, and not trained.
    cell = Cell("tiny", 0, None)
    cell.folder(tmp_path).mkdir(parents=True)
    path.rename(cell.folder(tmp_path) / LAST)
    options = run_options(cell, tmp_path, FitOptions(), folds=0, split="grouped", split_seed=0)

    def export(checkpoint: Path, bundle: Path) -> None:
        assert checkpoint == cell.folder(tmp_path) / LAST
        bundle.write_bytes(b"bundle")

    monkeypatch.setattr(module, "export_checkpoint", export)
    monkeypatch.delattr(module, "train")
    assert list(train_missing({cell: options}, tmp_path, {"tiny": corpus})) == [cell]
    assert cell.bundle(tmp_path).read_bytes() == b"bundle"
