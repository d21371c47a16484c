"""The gain of a recipe over another, file by file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import gain, nets
from maltriage.corpus.predictions import Predictions

LABELS = ("benign", "_other", "icarus", "zeus")
FILES = 400


def made(net: str, seed: int, good: float) -> Predictions:
    """Answers on files in five folds, right in about `good` of them."""
    truth = np.arange(FILES) % 4
    right = np.random.default_rng(seed).random(FILES) < good
    logits = 3.0 * np.eye(4)[np.where(right, truth, (truth + 1) % 4)]
    names = tuple(f"{i:03x}".ljust(64, "0") for i in range(FILES))
    fold = np.random.default_rng(100 + seed).permutation(np.arange(FILES) % 5)
    return Predictions(net, seed, LABELS, names, truth, fold, truth < 0, logits)


@pytest.fixture
def kept(tmp_path: Path) -> nets.Kept:
    """Two seeds of a good recipe and of a poor one, each seed with folds of its own."""
    kept = nets.Kept(tmp_path / "kept.json", repeats=True)
    for seed in (0, 1):
        kept.take(made("good", seed, 0.9))
        kept.take(made("poor", seed, 0.7))
    kept.know("groups", {f"{i:03x}".ljust(16, "0"): i // 2 for i in range(FILES)})
    return kept


def compared(kept: nets.Kept, ours: str, theirs: str) -> gain.Gain:
    runs = [[run for _, run in kept.by_seed(net)] for net in (ours, theirs)]
    return gain.Gain(runs[0], runs[1], kept.state["groups"], [2, 3])


def test_a_better_recipe_gains_what_it_is_better(kept: nets.Kept) -> None:
    found = compared(kept, "good", "poor")
    expected = [
        nets.family_f1(good.truth, good.guess, [2, 3])
        - nets.family_f1(poor.truth, poor.guess, [2, 3])
        for (_, good), (_, poor) in zip(kept.by_seed("good"), kept.by_seed("poor"), strict=True)
    ]
    assert found.f1.value == pytest.approx(np.mean(expected), abs=1e-5)
    assert 0.0 < found.f1.low < found.f1.value < found.f1.high < 0.4
    assert 0.0 < found.accuracy.low < found.accuracy.value
    assert found.mcnemar < 0.001
    back = compared(kept, "poor", "good")
    assert back.f1.value == pytest.approx(-found.f1.value)
    assert back.f1.low == pytest.approx(-found.f1.high)


def test_the_same_net_on_another_split(kept: nets.Kept, tmp_path: Path) -> None:
    """Each file is answered once on both, but the folds are others."""
    other = nets.Kept(tmp_path / "other.json", repeats=True)
    for seed in (0, 1):
        other.take(replace(made("poor", seed + 2, 0.9), seed=seed))
    found = gain.table(other, ["poor", "good"], "kept.json", kept).splitlines()
    (row,) = [line.split(" | ") for line in found[2:]]
    assert (row[0], row[1], row[4]) == ("| poor", "2", "")
    assert 0.1 < float(row[3].split()[0]) < 0.3


def test_a_recipe_gains_nothing_over_itself(kept: nets.Kept) -> None:
    found = compared(kept, "good", "good")
    assert (found.f1.low, found.f1.value, found.f1.high) == (0.0, 0.0, 0.0)
    assert (found.mcnemar, found.same) == (1.0, 1.0)


def test_one_seed_alone(kept: nets.Kept) -> None:
    both, alone = (
        [line.split(" | ") for line in gain.table(kept, ["good"], "poor", seed=seed).splitlines()]
        for seed in (None, 1)
    )
    assert (both[-1][1], alone[-1][1]) == ("2", "1")
    (answers,) = (answers for seed, answers in kept.by_seed("good") if seed == 1)
    assert alone[-1][2] == f"{nets.family_f1(answers.truth, answers.guess, [2, 3]):.3f}"


def test_groups_are_drawn_whole_and_the_first_row_is_all_files() -> None:
    groups = np.array([5, 5, 9, 9, 9, 2])
    drawn = gain.draws(groups, count=50)
    assert drawn.shape == (51, 6)
    assert (drawn[0] == 1).all()
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 2] == drawn[:, 3]).all()
    assert (drawn[1:, [0, 2, 5]].sum(axis=1) == 3).all()


def test_mcnemar_is_the_exact_test() -> None:
    first, second = np.zeros(20, bool), np.zeros(20, bool)
    first[:8] = True
    second[8] = True
    assert gain.mcnemar(first, second) == pytest.approx(2 * (1 + 9) / 2**9)


def test_the_table_is_of_the_seeds_that_both_have(kept: nets.Kept) -> None:
    kept.take(made("poor", 2, 0.7))
    lines = gain.table(kept, ["good", "poor"], "poor").splitlines()
    assert lines[2].startswith("| poor | 3 | 0.")
    assert lines[3].startswith("| good | 2 | 0.")
    assert " to +" in lines[3]
    assert "p = " in lines[3]
