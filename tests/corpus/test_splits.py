"""Splits: no group straddles, every sample is in one part, and a seed says it all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import program, write_png, write_tree
from hypothesis import given
from hypothesis import strategies as st

from maltriage.corpus import splits
from maltriage.corpus.cache import Corpus, load_corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.errors import MaltriageError

SAMPLES = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3)), min_size=1, max_size=80)


@given(samples=SAMPLES, seed=st.integers(0, 2**32))
def test_groups_stay_together(samples: list[tuple[int, int]], seed: int) -> None:
    groups, labels = np.array(samples).T
    parts = splits.split(groups, labels, seed=seed)
    assert len(parts) == len(samples)
    assert set(parts) <= set(splits.PARTS)
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
        for part, share in zip(splits.PARTS, splits.FRACTIONS, strict=True):
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
    found = [float((parts == part).mean()) for part in splits.PARTS]
    np.testing.assert_allclose(found, splits.FRACTIONS, atol=0.03)


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


def test_a_stored_split_is_the_same(corpus: Corpus, tmp_path: Path) -> None:
    for kind in splits.KINDS:
        made = splits.make_split(corpus, kind, 3)
        splits.save_split(made, tmp_path / "split.json")
        parts = splits.load_split(tmp_path / "split.json", corpus.sha256)
        np.testing.assert_array_equal(parts, made.parts)
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]


def test_a_split_of_other_samples_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    splits.save_split(splits.make_split(corpus), path)
    with pytest.raises(MaltriageError, match="a split of other samples"):
        splits.load_split(path, corpus.sha256[1:])
    with pytest.raises(MaltriageError, match=r"a split of other samples \(20 in it, 1 of 20"):
        splits.load_split(path, ("0" * 64, *corpus.sha256[1:]))
    path.write_text("{}")
    with pytest.raises(MaltriageError, match="not a split"):
        splits.load_split(path, corpus.sha256)
    with pytest.raises(MaltriageError, match="cannot read split"):
        splits.load_split(tmp_path / "none.json", corpus.sha256)


def test_unknown_kind(corpus: Corpus) -> None:
    with pytest.raises(MaltriageError, match="no such split: temporal"):
        splits.make_split(corpus, "temporal")  # type: ignore[arg-type]


def test_the_manifest_is_of_samples_and_labels(corpus: Corpus, tmp_path: Path) -> None:
    """Where the files lie, and in which order, does not matter."""
    copy = tmp_path / "elsewhere"
    for i, path in enumerate(reversed(corpus.paths)):
        target = copy / Path(path).parent.name / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
    again = load_corpus(open_dataset("folder", copy), (), jobs=1, folder=tmp_path / "cache")
    assert splits.manifest_sha256(again) == splits.manifest_sha256(corpus)
    (copy / "zeus").rename(copy / "other")
    other = load_corpus(open_dataset("folder", copy), (), jobs=1, folder=tmp_path / "cache")
    assert splits.manifest_sha256(other) != splits.manifest_sha256(corpus)
