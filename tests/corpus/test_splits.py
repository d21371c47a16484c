"""Splits: no group straddles, every sample is in one part, and a seed says it all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import program, write_png, write_tree
from hypothesis import given
from hypothesis import strategies as st

from maltriage.corpus import split_file, splits
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError

SAMPLES = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3)), min_size=1, max_size=80)


@given(samples=SAMPLES, seed=st.integers(0, 2**32))
def test_groups_stay_together(samples: list[tuple[int, int]], seed: int) -> None:
    groups, labels = np.array(samples).T
    parts = splits.split(groups, labels, seed=seed)
    assert len(parts) == len(samples)
    assert set(parts) <= set(split_file.PARTS)
    for group in set(groups.tolist()):
        assert len(set(parts[groups == group])) == 1
    assert splits.leaks(groups, parts) == 0
    np.testing.assert_array_equal(parts, splits.split(groups, labels, seed=seed))


@given(samples=SAMPLES, k=st.integers(2, 6), seed=st.integers(0, 100))
def test_folds_keep_groups_together(samples: list[tuple[int, int]], k: int, seed: int) -> None:
    groups, labels = np.array(samples).T
    fold = splits.folds(groups, labels, k, seed)
    assert ((fold >= 0) & (fold < k)).all()
    for group in set(groups.tolist()):
        assert len(set(fold[groups == group].tolist())) == 1
    np.testing.assert_array_equal(fold, splits.folds(groups, labels, k, seed))


@given(
    sizes=st.lists(st.integers(10, 60), min_size=2, max_size=6),
    seed=st.integers(0, 1000),
)
def test_alone_the_shares_are_met_for_every_label(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    parts = splits.split(np.arange(len(labels)), labels, seed=seed)
    for label, size in enumerate(sizes):
        for part, share in zip(split_file.PARTS, splits.FRACTIONS, strict=True):
            assert abs((parts[labels == label] == part).sum() - share * size) <= 1


def test_folds_are_even() -> None:
    labels = np.repeat(np.arange(4), 25)
    fold = splits.folds(np.arange(100), labels, 5, seed=3)
    assert np.bincount(fold).tolist() == [20] * 5
    assert all(np.bincount(fold[labels == label]).tolist() == [5] * 5 for label in range(4))


def test_large_groups_leave_the_shares_about_right() -> None:
    generator = np.random.default_rng(0)
    groups = np.sort(generator.integers(0, 150, 600))
    labels = groups % 5
    parts = splits.split(groups, labels)
    found = [float((parts == part).mean()) for part in split_file.PARTS]
    np.testing.assert_allclose(found, splits.FRACTIONS, atol=0.03)


def test_no_samples_are_in_no_part() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert (
        splits.split(nothing, nothing).tolist() == splits.folds(nothing, nothing, 2).tolist() == []
    )


def test_the_seed_matters() -> None:
    groups, labels = np.arange(60), np.arange(60) % 3
    a, b = (splits.split(groups, labels, seed=seed) for seed in (0, 1))
    assert (a != b).any()


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        splits.split(np.arange(3), np.zeros(3, dtype=np.int64), (0.5, 0.1, 0.1))
    with pytest.raises(ValueError, match="one label for each"):
        splits.split(np.arange(3), np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match="two folds"):
        splits.folds(np.arange(3), np.zeros(3, dtype=np.int64), 1)


def test_leaks_are_counted() -> None:
    parts = np.array(["train", "test", "test", "val", "test"])
    assert splits.leaks(np.array([0, 0, 1, 1, 0]), parts) == 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Twenty samples, of which one is there five times over."""
    root = tmp_path_factory.mktemp("twins")
    write_tree(root, {"benign": 8, "zeus": 8})
    for i in range(4):
        write_png(root / "zeus" / f"copy{i}.png", program(1, 0))
    dataset = open_dataset("folder", root)
    return load_corpus(dataset, (), jobs=1, folder=root.parent / "cache")


def test_a_random_split_leaks_and_says_so(corpus: Corpus) -> None:
    grouped = [splits.make_split(corpus, "grouped", seed).leaks for seed in range(5)]
    random = [splits.make_split(corpus, "random", seed).leaks for seed in range(5)]
    assert grouped == [0] * 5
    assert max(random) > 0


def test_unknown_kind(corpus: Corpus) -> None:
    with pytest.raises(MaltriageError, match="no such split: temporal"):
        splits.make_split(corpus, "temporal")  # type: ignore[arg-type]


def test_folds_that_there_are_not(corpus: Corpus) -> None:
    for fold in (-1, 3):
        with pytest.raises(MaltriageError, match=f"no fold {fold} of 3: they are counted from 0"):
            splits.make_fold(corpus, "grouped", 0, 3, fold)
    with pytest.raises(MaltriageError, match="at least two folds, not 1"):
        splits.make_fold(corpus, "grouped", 0, 1, None)


DAYS = st.lists(st.integers(0, 30), min_size=1, max_size=60)


@given(days=DAYS, count=st.integers(2, 5))
def test_spans_of_time_are_in_order(days: list[int], count: int) -> None:
    dates = np.array(days, dtype="datetime64[D]")
    shares = np.full(count, 1.0 / count).tolist()
    if len(set(days)) < count:
        with pytest.raises(MaltriageError, match=f"into {count} spans needs as many dates"):
            splits.by_time(dates, shares)
        return
    span = splits.by_time(dates, shares)
    assert sorted(set(span.tolist())) == list(range(count))
    for i in range(count - 1):
        assert dates[span == i].max() < dates[span == i + 1].min()


def test_spans_of_time_have_their_shares() -> None:
    dates = np.array(np.random.default_rng(0).permutation(1000), dtype="datetime64[D]")
    assert np.bincount(splits.by_time(dates, splits.FRACTIONS)).tolist() == [700, 100, 200]


def dated(corpus: Corpus, days: list[int | None]) -> Corpus:
    """The corpus with dates, in days from 1970."""
    seconds = [None if day is None else np.datetime64(day, "D") for day in days]
    return dataclasses.replace(corpus, first_seen=np.array(seconds, dtype="datetime64[s]"))


def test_a_split_by_time(corpus: Corpus) -> None:
    """Eight benign samples, then twelve of zeus, whose last five are copies of the eighth."""
    days: list[int | None] = [*range(8), *range(12)]
    days[3] = days[10] = None
    made = splits.make_split(dated(corpus, days), "time", 7)
    parts = dict(zip(days, made.parts, strict=True))
    assert made.left_out == {"undated": 2}
    order = [parts[day] for day in sorted(day for day in parts if day is not None)]
    assert order == sorted(order, key=split_file.PARTS.index)
    assert set(order) == set(split_file.PARTS)
    assert splits.make_split(dated(corpus, days), "time", 8).samples == made.samples


def test_families_that_are_too_new(corpus: Corpus) -> None:
    labels = ("benign", "zeus", "new")
    label = corpus.label.copy()
    label[-2:] = 2
    newer = dataclasses.replace(corpus, labels=labels, label=label)
    made = splits.make_split(dated(newer, [*range(8), *range(12)]), "time")
    assert made.left_out == {"unseen": 2}
    assert made.parts[-2:].tolist() == ["unseen"] * 2
    with pytest.raises(MaltriageError, match="two families or more in the oldest samples"):
        splits.make_split(dated(corpus, [50] * 8 + [*range(12)]), "time")
    one_to_train_on = [None] * 6 + [20, 21, *range(11), 30]
    with pytest.raises(MaltriageError, match="two families or more in the oldest samples"):
        splits.make_split(dated(corpus, one_to_train_on), "time")
    with pytest.raises(MaltriageError, match="needs as many dates"):
        splits.make_split(dated(corpus, [None] * 20), "time")


def test_folds_of_time_chain_forward(corpus: Corpus) -> None:
    days: list[int | None] = [*range(8), *range(12)]
    whole = dated(corpus, days)
    made = [splits.make_fold(whole, "time", 0, 3, fold) for fold in range(3)]
    tested = np.zeros(20, dtype=int)
    for split in made:
        train, test = (whole.first_seen[split.parts == part] for part in ("train", "test"))
        assert train.max() < test.min()
        assert not (split.parts == "val").any()
        tested += split.parts == "test"
    assert [split.left_out.get("later", 0) > 0 for split in made] == [True, True, False]
    assert set(tested) == {0, 1}
    assert all(4 <= (split.parts == "test").sum() <= 6 for split in made)  # a quarter of twenty
    assert tested[whole.first_seen == whole.first_seen.min()].tolist() == [0, 0]
    last = splits.make_fold(whole, "time", 0, 3, None)
    assert (last.parts == "train").all()


def test_twins_in_training(corpus: Corpus) -> None:
    """Five of the samples are the same file."""
    same = np.array([corpus.sha256.count(digest) == 5 for digest in corpus.sha256])
    parts = np.where(same, "test", "train")
    assert splits.twins_in_training(corpus, parts) == (0, 0)
    parts[np.flatnonzero(same)[0]] = "train"
    assert splits.twins_in_training(corpus, parts) == (4, 4)
    parts[np.flatnonzero(same)[1]] = "val"
    assert splits.twins_in_training(corpus, parts, "val") == (1, 1)
    entry = tuple("x" if label else "" for label in corpus.label)
    alike = dataclasses.replace(corpus, signs=dataclasses.replace(corpus.signs, entry=entry))
    assert splits.twins_in_training(alike, np.where(same, "test", "train")) == (0, 5)


def test_a_split_is_read_with_its_counts(corpus: Corpus, tmp_path: Path) -> None:
    for made in (
        splits.make_split(corpus, "random", 1),
        splits.make_fold(corpus, "grouped", 2, 3, 1),
        splits.make_split(dated(corpus, [*range(8), None, *range(11)]), "time"),
    ):
        split_file.save_split(made, tmp_path / "split.json")
        assert splits.read_split(tmp_path / "split.json", corpus) == made
        assert len(made.sha256) == 64
    text = (tmp_path / "split.json").read_text()
    (tmp_path / "split.json").write_text(text.replace('"test"', '"tset"', 1))
    with pytest.raises(MaltriageError, match="no such part: tset"):
        splits.read_split(tmp_path / "split.json", corpus)
