"""Files of splits: read as written, and refused where they are of other samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import write_tree

from maltriage.corpus import split_file, splits
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("samples")
    write_tree(root, {"benign": 10, "zeus": 10})
    return load_corpus(open_dataset("folder", root), (), jobs=1, folder=root.parent / "cache")


def test_a_stored_split_is_the_same(corpus: Corpus, tmp_path: Path) -> None:
    for kind in ("grouped", "random"):
        made = splits.make_split(corpus, kind, 3)
        split_file.save_split(made, tmp_path / "split.json")
        parts = split_file.load_split(tmp_path / "split.json", corpus.sha256)
        np.testing.assert_array_equal(parts, made.parts)
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]


def test_a_split_of_other_samples_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    split_file.save_split(splits.make_split(corpus), path)
    with pytest.raises(MaltriageError, match="a split of other samples"):
        split_file.load_split(path, corpus.sha256[1:])
    with pytest.raises(MaltriageError, match=r"a split of other samples \(20 samples; 1 of the 20"):
        split_file.load_split(path, ("0" * 64, *corpus.sha256[1:]))
    for text in (b"{}", b'{"kind":"\xff"}'):
        path.write_bytes(text)
        with pytest.raises(MaltriageError, match="not a split"):
            split_file.load_split(path, corpus.sha256)
    with pytest.raises(MaltriageError, match="cannot read split"):
        split_file.load_split(tmp_path / "none.json", corpus.sha256)


def test_the_manifest_is_of_samples_and_labels(corpus: Corpus, tmp_path: Path) -> None:
    """Where the files lie, and in which order, does not matter."""
    copy = tmp_path / "elsewhere"
    for i, path in enumerate(reversed(corpus.paths)):
        target = copy / Path(path).parent.name / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
    again = load_corpus(open_dataset("folder", copy), (), jobs=1, folder=tmp_path / "cache")
    assert split_file.manifest_sha256(again) == split_file.manifest_sha256(corpus)
    (copy / "zeus").rename(copy / "other")
    other = load_corpus(open_dataset("folder", copy), (), jobs=1, folder=tmp_path / "cache")
    assert split_file.manifest_sha256(other) != split_file.manifest_sha256(corpus)


def test_a_split_of_an_earlier_version(corpus: Corpus, tmp_path: Path) -> None:
    split_file.save_split(splits.make_split(corpus), tmp_path / "split.json")
    stored = json.loads((tmp_path / "split.json").read_bytes())
    del stored["duplicates"]
    (tmp_path / "split.json").write_text(json.dumps(stored))
    assert splits.read_split(tmp_path / "split.json", corpus) == splits.make_split(corpus)
