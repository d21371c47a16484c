"""Splits by a column: no test sample, and no near duplicate of one, is trained or tuned on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import write_tree
from hypothesis import given
from hypothesis import strategies as st

from maltriage.corpus import split_file, splits, twins
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.value_folds import fold_names
from maltriage.errors import MaltriageError

COUNT = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = write_tree(tmp_path_factory.mktemp("files"), {"benign": 10, "icarus": 8, "zeus": 6})
    return load_corpus(open_dataset("folder", root), (), jobs=1, folder=root.parent / "cache")


def given_columns(corpus: Corpus, sources: list[str], codes: list[str]) -> Corpus:
    signs = dataclasses.replace(corpus.signs, code=tuple(codes))
    return dataclasses.replace(corpus, columns={"source": tuple(sources)}, signs=signs)


def test_a_value_with_a_plus_in_its_name() -> None:
    values = ["X", "Y", "X+Y", "Z", ""]
    assert fold_names("source=X+Y", values) == ("X", "Y", "X+Y", "Z", "")
    assert fold_names("source=X+Y+Z,Y", values) == ("X", "Y", "X+Y+Z", "X+Y+Z", "")
    assert fold_names("source=Y+X", values) == ("Y+X", "Y+X", "X+Y", "Z", "")
    assert fold_names("source=X+Y", ["X", "Y", "Z"]) == ("X+Y", "X+Y", "Z")
    with pytest.raises(MaltriageError, match="'W' is no value of source"):
        fold_names("source=X+Y+W", values)


@given(
    sources=st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=COUNT, max_size=COUNT),
    codes=st.lists(st.sampled_from(["", "", "x", "y", "z"]), min_size=COUNT, max_size=COUNT),
    seed=st.integers(0, 100),
)
def test_nothing_of_a_value_is_trained_on(
    corpus: Corpus, sources: list[str], codes: list[str], seed: int
) -> None:
    marked = given_columns(corpus, sources, codes)
    groups = twins.near_twins(marked.signs)
    values = splits.values_of(marked, "source")
    tested = np.zeros(COUNT, dtype=int)
    for number, value in enumerate(values):
        try:
            made = splits.make_fold(marked, "source", seed, len(values), number)
        except MaltriageError as error:
            text = str(error)
            assert "would be left to train on" in text or "at least two folds" in text
            continue
        parts = made.parts
        assert made.value == value
        assert [s == value for s in sources] == (parts == "test").tolist()
        outside = set(groups[(parts == "train") | (parts == "val")].tolist())
        assert not outside & set(groups[parts == "test"].tolist())
        for group in outside:
            assert len(set(parts[groups == group])) == 1  # tuned on, or trained on
        # What is in no part has a twin in the test part, and nothing else is left out.
        for i in np.flatnonzero(parts == "twin"):
            assert sources[i] != value
            assert groups[i] in groups[parts == "test"]
        assert made.leaks == 0
        assert sum(made.fractions) == pytest.approx(1)
        tested += parts == "test"
    assert set(tested[[s == "" for s in sources]]) <= {0}
    assert tested.max() <= 1


def test_a_tenth_is_for_tuning(corpus: Corpus) -> None:
    sources = ["a"] * 9 + ["b"] + ["b"] * 14
    made = splits.make_fold(given_columns(corpus, sources, [""] * COUNT), "source", 0, 2, 0)
    assert (made.parts == "val").sum() in (1, 2)
    assert made.left_out == {}


def test_a_whole_group_goes_with_a_value(corpus: Corpus) -> None:
    """A random split trains on twins of what it tests on; a split by source on none."""
    sources = ["a"] * 5 + ["b"] * 5 + ["a"] * 4 + ["b"] * 4 + ["a"] * 3 + ["b"] * 3
    codes = [str(i % 5) for i in range(10)] + [""] * 14
    marked = given_columns(corpus, sources, codes)
    assert splits.make_split(marked, "random").leaks > 0
    with pytest.raises(MaltriageError, match="without source a, nothing but malware would be left"):
        splits.make_fold(marked, "source", 0, 2, 0)
    marked = given_columns(corpus, sources, ["0", *[""] * 4, "0", *[""] * 18])
    made = splits.make_fold(marked, "source", 0, 2, 0)
    assert made.left_out == {"twin": 1}
    assert made.parts[5] == "twin"


def test_wrong_use(corpus: Corpus, tmp_path: Path) -> None:
    marked = given_columns(corpus, ["a", "b"] * 12, [""] * COUNT)
    with pytest.raises(MaltriageError, match=r"no such split: sauce \(known: grouped.*: source\)"):
        splits.make_fold(marked, "sauce", 0, 2, 0)
    with pytest.raises(MaltriageError, match="has 2 folds here, not 5"):
        splits.make_fold(marked, "source", 0, 5, 0)
    with pytest.raises(MaltriageError, match="no fold 2 of 2"):
        splits.make_fold(marked, "source", 0, 2, 2)
    with pytest.raises(MaltriageError, match="name --folds"):
        splits.make_split(marked, "source")
    splits.check_folds(marked, "source", 0, 2)
    made = splits.make_fold(marked, "source", 0, 2, 1)
    split_file.save_split(made, tmp_path / "split.json")
    assert splits.read_split(tmp_path / "split.json", marked) == made
    assert (splits.make_fold(marked, "source", 0, 2, None).parts == "train").all()


def test_values_held_back_together(corpus: Corpus) -> None:
    sources = ["a", "b", "c", ""] * 6
    marked = given_columns(corpus, sources, [""] * COUNT)
    assert splits.values_of(marked, "source=c+a") == ("b", "c+a")
    made = splits.make_fold(marked, "source=c+a", 0, 2, 1)
    assert (made.kind, made.value) == ("source=c+a", "c+a")
    assert (made.parts == "test").tolist() == [source in ("a", "c") for source in sources]
    assert splits.values_of(marked, "source=a+b+c") == ("a+b+c",)
    for joined, words in (("a+d", "'d' is no value of source"), ("a+b,b+c", "'b' is named twice")):
        with pytest.raises(MaltriageError, match=words):
            splits.values_of(marked, f"source={joined}")
    with pytest.raises(MaltriageError, match="no such split: sauce=a"):
        splits.values_of(marked, "sauce=a+b")


def test_two_labels_are_enough_to_train_on(corpus: Corpus) -> None:
    """A family that one source alone has is not learned without it."""
    sources = ["a"] * 5 + ["b"] * 5 + ["a"] * 4 + ["b"] * 4 + ["b"] * 6
    made = splits.make_fold(given_columns(corpus, sources, [""] * COUNT), "source", 0, 2, 1)
    assert {corpus.labels[i] for i in corpus.label[made.parts == "train"]} == {"benign", "icarus"}
    clean = given_columns(corpus, ["a"] * 10 + ["b"] * 14, [""] * COUNT)
    with pytest.raises(MaltriageError, match="source b, nothing but benign would be left"):
        splits.make_fold(clean, "source", 0, 2, 1)
