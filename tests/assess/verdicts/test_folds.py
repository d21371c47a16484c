"""Figures of recipes on the same folds."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from maltriage.assess.verdicts.folds import assess_folds, check_splits, training_share
from maltriage.corpus.predictions import Predictions
from maltriage.corpus.split_file import SplitFile, save_split
from maltriage.errors import MaltriageError
from maltriage.report.documents.evaluation import Difference
from maltriage.report.studies.folds import render

LABELS = ("benign", "icedid", "maze")


def run(recipe: str, seed: int, skill: float, count: int = 120) -> Predictions:
    """Predictions that are right for a share of the samples, the last ten of them added."""
    rng = np.random.default_rng(seed)
    truth, fold = rng.integers(0, 3, count), np.arange(count) % 5
    right = np.random.default_rng(7).random(count) < skill
    guess = np.where(right, truth, (truth + 1) % 3)
    return Predictions(
        recipe=recipe,
        seed=seed,
        labels=LABELS,
        sha256=tuple(f"{i:064x}" for i in range(count)),
        truth=truth,
        fold=fold,
        added=np.arange(count) >= count - 10,
        logits=4.0 * np.eye(3)[guess],
    )


def test_figures_and_difference() -> None:
    found = assess_folds(
        [run("net", s, 0.9) for s in (0, 1)] + [run("peer", s, 0.6) for s in (0, 1)]
    )
    net, peer = found.recipes
    assert (net.recipe, net.samples, net.seeds) == ("net", 110, [0, 1])
    assert len(net.folds) == 10
    assert net.accuracy.mean == pytest.approx(np.mean([row.accuracy for row in net.folds]))
    assert sum(map(sum, net.confusion)) == 2 * 110
    assert [row.label for row in net.labels] == list(LABELS)
    assert sum(row.support for row in net.labels) == 110
    for row in net.labels:
        assert row.f1_interval[0] < row.f1.mean < row.f1_interval[1]
    (difference,) = found.differences
    assert (difference.first, difference.second, difference.seeds) == ("net", "peer", [0, 1])
    gain = net.accuracy.mean - peer.accuracy.mean
    assert difference.accuracy.value == pytest.approx(gain)
    assert 0 < difference.accuracy.low < gain < difference.accuracy.high
    assert net.detection is not None
    assert peer.detection is not None
    assert net.detection.mean > peer.detection.mean


def test_a_single_value_has_no_deviation() -> None:
    console = Console(file=StringIO(), width=200)
    render(assess_folds([run("net", 0, 0.9)]), console)
    row = next(line for line in console.file.getvalue().splitlines() if line.startswith("net  "))
    assert row.count("±") == 2  # of accuracy and macro-F1, over the folds
    console = Console(file=StringIO(), width=200)
    render(assess_folds([run("net", 0, 0.9), run("net", 1, 0.9)]), console)
    row = next(line for line in console.file.getvalue().splitlines() if line.startswith("net  "))
    assert row.count("±") == 5


def test_added_files_count_only_if_asked() -> None:
    runs = [run("net", 0, 0.9)]
    assert assess_folds(runs).recipes[0].samples == 110
    assert assess_folds(runs, added=True).recipes[0].samples == 120
    alone = replace(runs[0], added=np.full(120, True))
    with pytest.raises(MaltriageError, match="no samples of the dataset"):
        assess_folds([alone])


def test_a_recipe_equal_to_another_does_not_differ() -> None:
    (difference,) = assess_folds([run("a", 0, 0.8), run("b", 0, 0.8)]).differences
    assert difference.accuracy.value == difference.accuracy.low == difference.accuracy.high == 0


def test_more_seeds_on_the_same_folds_make_no_interval_narrower() -> None:
    """They are no further draws of files: the mean over them counts once."""

    def renamed(found: Predictions) -> list[Predictions]:
        return [replace(found, seed=seed) for seed in range(3)]

    a, b = run("a", 0, 0.9), run("b", 0, 0.6)
    (one,) = assess_folds([a, b]).differences
    (three,) = assess_folds([*renamed(a), *renamed(b)]).differences
    assert three.seeds == [0, 1, 2]
    assert three.accuracy.high > three.accuracy.value > 0
    for figure in ("accuracy", "macro_f1"):
        assert interval_of(three, figure) == pytest.approx(interval_of(one, figure))
    other = [replace(found, seed=1, fold=4 - found.fold) for found in (a, b)]
    (own,) = assess_folds([a, b, *other]).differences  # of folds of their own they do
    assert own.accuracy.high - own.accuracy.low < one.accuracy.high - one.accuracy.low


def interval_of(difference: Difference, figure: str) -> tuple[float, float, float]:
    found = getattr(difference, figure)
    return found.value, found.low, found.high


def test_a_fold_of_added_files_alone_counts_nowhere() -> None:
    a, b = (run(name, 0, skill) for name, skill in (("a", 0.9), ("b", 0.6)))
    a, b = (replace(found, fold=np.where(found.added, 5, found.fold)) for found in (a, b))
    found = assess_folds([a, b])
    assert [row.fold for row in found.recipes[0].folds] == [0, 1, 2, 3, 4]
    assert found.differences[0].accuracy.value > 0
    assert len(assess_folds([a], added=True).recipes[0].folds) == 6


def test_what_cannot_be_compared() -> None:
    a = run("a", 0, 0.8)
    with pytest.raises(MaltriageError, match="given twice"):
        assess_folds([a, a])
    with pytest.raises(MaltriageError, match="no seed in common"):
        assess_folds([a, run("b", 1, 0.8)])
    other = replace(run("b", 0, 0.8), fold=(np.arange(120) + 1) % 5)
    with pytest.raises(MaltriageError, match="other samples, labels or folds"):
        assess_folds([a, other])
    fewer = run("b", 0, 0.8).take(np.arange(120) != 7)
    said = f"110 and 109 samples; 0{{12}} of {LABELS[a.truth[7]]} in fold 2 is only in the first"
    with pytest.raises(MaltriageError, match=said):
        assess_folds([a, fewer])
    other = replace(run("b", 0, 0.8), truth=(a.truth + 1) % 3)
    with pytest.raises(MaltriageError, match="other samples, labels or folds"):
        assess_folds([a, other])
    with pytest.raises(MaltriageError, match="no samples in fold 2"):
        assess_folds([replace(a, fold=np.where(a.fold == 2, 3, a.fold))])


def test_the_training_share_is_that_of_the_splits(tmp_path: Path) -> None:
    """Folds by time are not trained on all others."""
    a, b = run("a", 0, 0.8), run("b", 0, 0.6)
    assert training_share(tmp_path / "out-of-fold.csv", a) is None
    for fold in range(5):
        folder = tmp_path / f"fold-{fold}"
        folder.mkdir()
        parts = ["test" if f == fold else "train" if f < fold else "later" for f in a.fold.tolist()]
        parts = ["train" if fold == 0 and part == "later" else part for part in parts]
        split = SplitFile(
            kind="time",
            seed=0,
            fractions=(0.7, 0.1, 0.2),
            manifest_sha256="",
            leaks=0,
            samples=tuple(zip(a.sha256, parts, strict=True)),
        )
        save_split(split, folder / "split.json")
    share = training_share(tmp_path / "out-of-fold.csv", a)
    assert share == pytest.approx(np.mean([1 / 4, 1, 1 / 2, 1 / 3, 1 / 4]))
    (plain,), (wide,) = (assess_folds([a, b], test_share=s).differences for s in (None, share))
    assert wide.accuracy.high > plain.accuracy.high


def test_runs_of_different_splits_are_no_seeds_of_one_study(tmp_path: Path) -> None:
    a = run("a", 0, 0.8)
    for name, kind in (("one", "grouped"), ("two", "random"), ("three", "grouped")):
        split = SplitFile(
            kind=kind,
            seed=0,
            fractions=(0.7, 0.1, 0.2),
            manifest_sha256="",
            leaks=0,
            samples=tuple((sha256, "test") for sha256 in a.sha256),
        )
        (tmp_path / name / "fold-0").mkdir(parents=True)
        save_split(split, tmp_path / name / "fold-0" / "split.json")
    one, two, three, other = (
        tmp_path / name / "out-of-fold.csv" for name in ("one", "two", "three", "elsewhere")
    )
    check_splits([one, three, other])
    with pytest.raises(MaltriageError, match=r"one.out.* \(grouped\), .*two.out.* \(random\)"):
        check_splits([one, two])


def test_predictions_of_one_split() -> None:
    """Its training part is not among the predictions, so its size must be told."""

    def split(name: str, seed: int, skill: float) -> Predictions:
        return replace(run(name, seed, skill), fold=np.zeros(120, dtype=np.int64))

    runs = [split(name, seed, skill) for name, skill in (("a", 0.9), ("b", 0.6)) for seed in (0, 1)]
    with pytest.raises(MaltriageError, match="one split"):
        assess_folds(runs)
    (narrow,) = assess_folds(runs, test_share=0.1).differences
    (wide,) = assess_folds(runs, test_share=0.5).differences
    assert narrow.accuracy.value == wide.accuracy.value > 0
    assert narrow.accuracy.high <= wide.accuracy.high
    alone = assess_folds([split("a", 0, 0.9), split("b", 0, 0.6)], test_share=0.1)
    assert (len(alone.recipes), alone.differences) == (2, [])
