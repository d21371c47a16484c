"""The guidance study: its cells, what is trained when, and that a folder holds one study."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus.synthetic import write_tree

from benchmarks.studies import guidance
from maltriage.assess.verdicts.folds import assess_folds
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.metrics import confusion

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = ("--views", "byteplot", "--image-size", "16", "--epochs", "1", "--folds", "2")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.studies.guidance", "data", "--dataset", "folder"]
    return subprocess.run(
        [*command, "--out", "study", *SETTINGS, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[list[Any]] = []
    monkeypatch.setattr(guidance, "train_all", lambda todo, options, counts: seen.append(todo))
    out = str(tmp_path / "study")
    arguments = ["guidance", "data", "--out", out, "--teachers", "gibert", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert guidance.main() == 0
    teachers, students = seen
    assert len(teachers) == 2 * 5
    assert len(students) == 2 * 5 * 5
    assert {cell.recipe for cell in teachers} == {"teacher-gibert"}
    names = ["none", "cumulative-0.5-gibert", "instance-0.5-gibert", "random-0.5"]
    assert {cell.recipe for cell in students} == {*names, "inverse-0.5-gibert"}
    assert [cell.seed for cell in students] == sorted(cell.seed for cell in students)
    # Without a guide that asks them, no teacher is trained.
    monkeypatch.setattr(sys, "argv", [*arguments, "--guides", "none", "random"])
    assert guidance.main() == 0
    assert seen[2] == []
    monkeypatch.setattr(sys, "argv", [*arguments, "--epochs", "7"])
    assert guidance.main() == 2


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the extra `train`")
def test_a_small_study(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", {"benign": 12, "zeus": 10})
    some = ("--teachers", "evidence", "--seeds", "1", "--guides", "none", "random", "cumulative")
    first = run(tmp_path, *some)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("processor time") == 2 * 4
    rows = [line for line in first.stdout.splitlines() if line.startswith("| ")]
    names = ["recipe", "teacher-evidence", "none", "random-0.5", "cumulative-0.5-evidence"]
    assert [row.split()[1] for row in rows] == names
    assert rows[-1].count(" to ") == 4  # less none, less random: F1 and accuracy
    assert all(row.count("|") == 12 for row in rows)
    again = run(tmp_path, *some)
    assert "processor time" not in again.stdout
    assert again.stdout == first.stdout[first.stdout.index("| recipe") :]
    # What came of it is enough: for the table, and to train what is new and nothing else.
    (tmp_path / "study" / "counts.json").rename(tmp_path / "kept.json")
    shutil.rmtree(tmp_path / "study")
    kept = run(tmp_path, *some, "--counts", "kept.json", "--table")
    assert kept.stdout == again.stdout
    more = run(tmp_path, *some[:-1], "random", "inverse", "--counts", "kept.json")
    assert more.stdout.count("processor time") == 2 * 2  # the teachers again, and `inverse`


def test_counts_are_the_answers(tmp_path: Path) -> None:
    """The figures of a recipe from its confusion matrices are those of its predictions."""
    generator = np.random.default_rng(0)
    truth, fold = generator.integers(0, 3, 60), np.repeat([0, 1], 30)
    options = argparse.Namespace(
        **dict.fromkeys(guidance.SETTINGS, 1), counts=tmp_path / "c.json", out=tmp_path
    )
    options.folds, options.seeds = 2, 1
    counts, runs = guidance.Counts(options), []
    counts.state["labels"] = ["a", "b", "benign"]
    for name in ("none", "random-0.5"):
        logits = generator.standard_normal((60, 3)) + 2 * np.eye(3)[truth]
        sha256 = tuple(f"{i:064x}" for i in range(60))
        new = np.zeros(60, dtype=bool)
        labels = ("a", "b", "benign")
        runs.append(Predictions(name, 0, labels, sha256, truth, fold, new, logits))
        for part in (0, 1):
            at = fold == part
            matrix = confusion(truth[at], logits[at].argmax(axis=1), 3)
            counts.state["cells"][guidance.Cell(name, "", "", 0, part).key] = matrix.tolist()
    counts.write()
    read = [
        run
        for name in ("none", "random-0.5")
        for run in guidance.Counts(options).runs(name, options)
    ]
    got, wanted = assess_folds(read), assess_folds(runs)
    assert got.differences == wanted.differences
    for ours, theirs in zip(got.recipes, wanted.recipes, strict=True):
        assert ours.folds == theirs.folds
        assert ours.pooled_macro_f1 == theirs.pooled_macro_f1
    options.epochs = 2
    with pytest.raises(MaltriageError, match="other epochs"):
        guidance.Counts(options)
