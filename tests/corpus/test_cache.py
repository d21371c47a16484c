"""Prepared arrays: those of `prepare`, whole, and never stale."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import program, write_png, write_tree
from PIL import Image

from maltriage.corpus import cache
from maltriage.corpus.cache import Corpus, load_corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.errors import MaltriageError
from maltriage.sample.prepare import PrepareOptions, prepare
from maltriage.sample.views import BodySpec, default_views

VIEWS = default_views(32)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", {"benign": 3, "zeus": 4})


def load(tree: Path, folder: Path, **options: object) -> Corpus:
    return load_corpus(open_dataset("folder", tree), VIEWS, jobs=1, folder=folder, **options)  # type: ignore[arg-type]


def never(*arguments: object) -> None:
    raise AssertionError("prepared again")


def test_arrays_are_those_of_prepare(tree: Path, tmp_path: Path) -> None:
    short = program(1, 77)[:1500]  # a window that reaches past the end
    (tree / "zeus" / "short.exe").write_bytes(short)
    progress: list[tuple[int, int]] = []
    corpus = load(tree, tmp_path / "cache", progress=lambda *now: progress.append(now))
    assert progress == [(i + 1, 8) for i in range(8)]
    assert corpus.labels == ("benign", "zeus")
    assert corpus.label.tolist() == [0] * 3 + [1] * 5
    for i, path in enumerate(corpus.paths):
        prepared = prepare(path, PrepareOptions(views=VIEWS))
        assert corpus.sha256[i] == prepared.identity.sha256
        for view in VIEWS:
            pixels = corpus.pixels(view.name, np.array([i]))[0]
            np.testing.assert_array_equal(pixels, prepared.views[view.name].pixels)
    assert len(corpus.pixels("code", slice(2, 5))) == 3


def test_the_second_time_nothing_is_read(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(tree, tmp_path / "cache")
    monkeypatch.setattr(cache, "_prepare_all", never)
    second = load(tree, tmp_path / "cache")
    assert second.sha256 == first.sha256
    assert second.signs.entry == first.signs.entry
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array)
    # A moved file is another sample of the same dataset; a new label is none.
    (tree / "zeus").rename(tree / "other")
    with pytest.raises(AssertionError, match="prepared again"):
        load(tree, tmp_path / "cache")


def test_changed_files_and_views_have_another_key(tree: Path) -> None:
    dataset = open_dataset("folder", tree)
    keys = {cache._key(dataset, VIEWS), cache._key(dataset, (BodySpec(size=16),))}
    os.utime(dataset.samples[0].path, ns=(1, 1))
    keys.add(cache._key(dataset, VIEWS))
    assert len(keys) == 3


def test_changed_code_has_another_key(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset("folder", tree)
    before = cache._key(dataset, VIEWS)
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "byteplot.py").write_text("# another representation\n")
    monkeypatch.setattr(cache.sample_package, "__path__", [str(tmp_path / "sample")])
    assert cache._key(dataset, VIEWS) != before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_cache_is_made_again(tree: Path, tmp_path: Path, damage: bytes | None) -> None:
    first = load(tree, tmp_path / "cache")
    (stored,) = (tmp_path / "cache").glob("*.npz")
    whole = stored.read_bytes()
    stored.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert load(tree, tmp_path / "cache").sha256 == first.sha256
    assert stored.read_bytes() == whole
    assert list((tmp_path / "cache").iterdir()) == [stored]


def test_without_a_place_for_the_cache(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    assert len(load(tree, tmp_path / "cache")) == 7


def test_old_caches_go(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    for i in range(cache.KEPT_CACHES + 3):
        (folder / f"{i}.npz").touch()
        os.utime(folder / f"{i}.npz", (i, i))
    load(tree, folder)
    assert len(list(folder.iterdir())) == cache.KEPT_CACHES
    assert not (folder / "0.npz").exists()


def test_unreadable_samples_are_counted(tree: Path, tmp_path: Path) -> None:
    broken = write_png(tree / "zeus" / "broken.png", program(1, 50))
    broken.write_bytes(broken.read_bytes()[:-200])
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tree / "zeus" / name)
    corpus = load(tree, tmp_path / "cache")
    assert len(corpus) == 7
    text = {notice.code: notice.text for notice in corpus.notices}
    assert text["not-byteplot"].startswith("2 files left out")
    assert text["damaged-png"].startswith("1 file left out")
    assert load(tree, tmp_path / "cache").notices == corpus.notices  # kept with the arrays


def test_a_family_of_unreadable_samples_is_no_label(tree: Path, tmp_path: Path) -> None:
    for i in range(3):
        write_png(tree / "empty" / f"{i}.png", b"not a program" * 50)
    dataset = open_dataset("folder", tree)
    assert "empty" in dataset.labels
    corpus = load_corpus(dataset, VIEWS, jobs=1, folder=tmp_path / "cache")
    assert corpus.labels == ("benign", "zeus")
    assert corpus.label.max() == 1
    assert "empty-family" in [notice.code for notice in corpus.notices]


def test_nothing_readable(tmp_path: Path) -> None:
    for family in ("a", "b"):
        for i in range(3):
            write_png(tmp_path / "tree" / family / f"{i}.png", b"not a program" * 50)
    with pytest.raises(MaltriageError, match="fewer than two families with readable samples"):
        load(tmp_path / "tree", tmp_path / "cache")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_name_that_is_not_utf8(tree: Path, tmp_path: Path) -> None:
    (tree / "zeus" / os.fsdecode(b"caf\xe9.exe")).write_bytes(program(1, 60))
    assert len(load(tree, tmp_path / "cache")) == 8


def test_a_program_and_its_byteplot_are_one_sample(tree: Path, tmp_path: Path) -> None:
    data = program(1, 0, size=6144)
    (tree / "zeus" / "same.exe").write_bytes(data)
    write_png(tree / "zeus" / "same.png", data, width=256)
    corpus = load(tree, tmp_path / "cache")
    a, b = (corpus.paths.index(str(tree / "zeus" / f"same.{end}")) for end in ("exe", "png"))
    assert corpus.sha256[a] == corpus.sha256[b]
    for view in VIEWS:
        pixels = corpus.pixels(view.name, np.array([a, b]))
        np.testing.assert_array_equal(pixels[0], pixels[1])


def test_no_views_at_all(tree: Path, tmp_path: Path) -> None:
    """Enough for a split, which does not depend on the net."""
    corpus = load_corpus(open_dataset("folder", tree), (), jobs=1, folder=tmp_path / "cache")
    assert len(corpus) == 7
    assert corpus.arrays == {}


def test_a_file_that_is_benign_and_malware(tree: Path, tmp_path: Path) -> None:
    family = next(folder for folder in tree.iterdir() if folder.name != "benign")
    same = tmp_path / "clean"
    same.mkdir()
    some = next(iter(family.iterdir()))
    (same / some.name).write_bytes(some.read_bytes())
    dataset = open_dataset("folder", tree, goodware=same)
    with pytest.raises(MaltriageError, match=f"the same file is {family.name} and benign"):
        load_corpus(dataset, VIEWS, jobs=1, folder=tmp_path / "cache")
