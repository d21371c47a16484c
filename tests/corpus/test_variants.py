"""Changed copies of the samples of a corpus, prepared and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import program, write_big2015, write_tree

from maltriage.corpus import variants as module
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.variants import SEED, TRANSFORMS, with_variants
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.probe.transform import TRANSFORMS as KNOWN
from maltriage.probe.transform.worker import transformed
from maltriage.sample.views import BodySpec, ViewSpec, WindowSpec

VIEWS: tuple[ViewSpec, ...] = (
    BodySpec(size=16),
    WindowSpec("header", "pe32", length=248, fixed=True),
    WindowSpec("code", "code"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def corpus(tmp_path: Path, folder: Path) -> Corpus:
    tree = write_tree(tmp_path / "tree", {"benign": 3, "zeus": 3})
    # One that ends before its sections do: most can then not be made of it.
    (tree / "zeus" / "cut.exe").write_bytes(program(1, 99)[:-600])
    return load_corpus(open_dataset("folder", tree), VIEWS, jobs=1, folder=folder)


def test_copies_are_those_that_robustness_is_asked_of(corpus: Corpus, folder: Path) -> None:
    made = with_variants(corpus, jobs=1, folder=folder).variants
    assert made is not None
    assert made.names == TRANSFORMS
    assert made.rows.shape == (len(corpus), len(TRANSFORMS))
    for i, path in enumerate(corpus.paths):
        found = transformed(path, TRANSFORMS, (), PrepareOptions(VIEWS), SEED).changed
        for number, name in enumerate(TRANSFORMS):
            row, wanted = made.rows[i, number], found[name]
            assert (row >= 0) == isinstance(wanted, Prepared)
            if isinstance(wanted, Prepared):
                views = wanted.views
                np.testing.assert_array_equal(made.arrays["body"][row], views["body"].pixels)
                np.testing.assert_array_equal(made.arrays["code"][row], views["code"].pixels[0])
                assert made.present["code"][row] == views["code"].pixels[1].sum()
    cut = next(i for i, path in enumerate(corpus.paths) if path.endswith("cut.exe"))
    assert made.rows[cut, TRANSFORMS.index("append-random-10")] == -1
    assert not any(KNOWN[name].benign for name in TRANSFORMS)


def test_they_are_kept(corpus: Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = with_variants(corpus, jobs=1, folder=folder)
    assert with_variants(first) is first
    monkeypatch.setattr(module, "_prepare_all", lambda *_: pytest.fail("prepared again"))
    again = with_variants(corpus, folder=folder)
    assert first.variants is not None
    assert again.variants is not None
    np.testing.assert_array_equal(first.variants.rows, again.variants.rows)
    for name, array in first.variants.arrays.items():
        np.testing.assert_array_equal(array, again.variants.arrays[name])
    monkeypatch.setattr(module, "SEED", 1)
    with pytest.raises(pytest.fail.Exception, match="prepared again"):
        with_variants(corpus, folder=folder)


def test_where_nothing_can_be_kept(corpus: Corpus, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    held = with_variants(corpus, ("wipe-headers",), jobs=1, folder=tmp_path / "file").variants
    kept = with_variants(corpus, ("wipe-headers",), jobs=1, folder=folder).variants
    assert held is not None
    assert kept is not None
    np.testing.assert_array_equal(held.rows, kept.rows)
    np.testing.assert_array_equal(held.arrays["header"], kept.arrays["header"])


def test_some_samples_keep_theirs(corpus: Corpus, folder: Path) -> None:
    whole = with_variants(corpus, jobs=1, folder=folder)
    keep = np.arange(len(corpus)) % 2 == 0
    some = whole.take(keep).variants
    assert whole.variants is not None
    assert some is not None
    np.testing.assert_array_equal(some.rows, whole.variants.rows[::2])
    assert corpus.take(keep).variants is None


def test_hex_dumps_have_none(tmp_path: Path, folder: Path) -> None:
    root = write_big2015(tmp_path / "big", {1: 3, 2: 3})
    views = (BodySpec(size=16),)
    corpus = load_corpus(open_dataset("big2015", root), views, jobs=1, folder=folder)
    made = with_variants(corpus, jobs=1, folder=folder).variants
    assert made is not None
    assert (made.rows == -1).all()
