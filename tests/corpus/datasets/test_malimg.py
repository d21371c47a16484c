"""MalImg: byteplots in a folder per family, parts that are merged, and resized copies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from corpus.synthetic import program, write_png
from PIL import Image

from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.datasets.base import LabelledSample, as_published
from maltriage.corpus.datasets.malimg import PUBLISHED
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError
from maltriage.sample.geometry import width_for
from maltriage.sample.views import BodySpec

FAMILIES = ("Adialer.C", "Yuner.A")


def write_malimg(root: Path, count: int = 4) -> Path:
    """Byteplots at the widths that Nataraj et al. give them."""
    for number, family in enumerate(FAMILIES):
        for i in range(count):
            data = program(number, i, size=4000 + 6000 * i)
            write_png(root / family / f"{i}.png", data, width_for(len(data)))
    return root


def resize(root: Path, size: tuple[int, int]) -> Path:
    for path in root.rglob("*.png"):
        with Image.open(path) as picture:
            picture.resize(size, Image.Resampling.BILINEAR).save(path)
    return root


def test_a_folder_per_family(tmp_path: Path) -> None:
    root = write_malimg(tmp_path)
    (root / "Yuner.A" / "notes.txt").write_text("no image")
    (root / "Yuner.A" / "program.exe").write_bytes(program(1, 99))
    (root / "Yuner.A" / "cut.png").write_bytes((root / "Yuner.A" / "0.png").read_bytes()[:20])
    dataset = open_dataset("malimg", root)
    assert dataset.labels == FAMILIES
    assert len(dataset.samples) == 9
    assert [n.code for n in dataset.notices] == ["not-a-sample", "not-a-sample", "not-as-published"]
    corpus = load_corpus(dataset, (BodySpec(size=16),), jobs=1, folder=tmp_path / "cache")
    assert len(corpus) == 8
    assert set(corpus.formats) == {"png"}
    assert [n.code for n in corpus.notices][3:] == ["damaged-png"]


def test_what_was_published() -> None:
    assert (sum(PUBLISHED.values()), len(PUBLISHED)) == (9339, 25)
    samples = [LabelledSample(f"{f}/{i}", f) for f, n in PUBLISHED.items() for i in range(n)]
    assert as_published(samples, PUBLISHED) == []
    # One less, one of another family, and a family whose name is spelt otherwise.
    changed = [replace(s, label="C2Lop.P") if s.label == "C2LOP.P" else s for s in samples[1:]]
    (notice,) = as_published([*changed, LabelledSample("x", "benign")], PUBLISHED)
    assert notice.code == "not-as-published"
    assert notice.text == (
        "not the 9,339 files of 25 families that were published: 121 of Adialer.C in place of 122;"
        " none of C2LOP.P; C2Lop.P and 1 more, which was not published"
    )
    (few,) = as_published(samples[::2], PUBLISHED)
    assert few.text.endswith("; and 19 more differences")


@pytest.mark.parametrize("outer", ["", "malimg_dataset/"])
def test_parts_are_merged(tmp_path: Path, outer: str) -> None:
    for part, count in (("train", 4), ("Validation", 2)):
        write_malimg(tmp_path / outer / part, count)
    write_png(tmp_path / outer / "test" / "loose.png", program(0, 50))
    dataset = open_dataset("malimg", tmp_path)
    assert dataset.labels == FAMILIES
    assert len(dataset.samples) == 12
    text = {notice.code: notice.text for notice in dataset.notices}
    parts, _, why = text["merged"].partition(": ")
    assert sorted(parts.split(", ")) == ["Validation", "test", "train"]
    assert why.startswith("merged")
    assert "loose.png" in text["unlabelled"]


def test_resized_copies_are_refused_unless_asked_for(tmp_path: Path) -> None:
    root = resize(write_malimg(tmp_path / "malimg"), (24, 24))
    with pytest.raises(MaltriageError, match="all 8 images are 24 x 24, resized copies"):
        open_dataset("malimg", root)
    dataset = open_dataset("malimg", root, allow_resized=True)
    assert dataset.headless
    assert dataset.views(None) == ("body",)
    corpus = load_corpus(dataset, (BodySpec(size=24),), jobs=1, folder=tmp_path / "cache")
    assert set(corpus.formats) == {"picture"}
    for i, path in enumerate(corpus.paths):
        with Image.open(path) as picture:  # at its own width, so the body is the picture itself
            assert corpus.pixels("body", slice(i, i + 1))[0, 0].tobytes() == picture.tobytes()
    with pytest.raises(MaltriageError, match="must be resized like the others"):
        open_dataset("malimg", root, allow_resized=True, goodware=root)
    with pytest.raises(MaltriageError, match="dataset folder: only malimg has resized byteplots"):
        open_dataset("folder", root, allow_resized=True)


def test_other_sizes_are_no_sign_of_resizing(tmp_path: Path) -> None:
    root = resize(write_malimg(tmp_path / "oblong"), (64, 24))
    assert len(open_dataset("malimg", root).samples) == 8


def test_the_layout_of_vx_mini_is_that_of_malimg(vx_mini: Path) -> None:
    dataset = open_dataset("malimg", vx_mini)
    assert (len(dataset.samples), len(dataset.labels)) == (972, 14)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MaltriageError, match="no samples in"):
        open_dataset("malimg", tmp_path)
    with pytest.raises(MaltriageError, match="dataset malimg: no folder"):
        open_dataset("malimg", tmp_path / "nowhere")
    with pytest.raises(MaltriageError, match=r"dataset malimg: nothing found in .*MALTRIAGE_DATA"):
        open_dataset("malimg")
