"""Columns of the tables beside a dataset's files, and datasets in several folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus.synthetic import program, write_png, write_tree
from hypothesis import given
from hypothesis import strategies as st

from maltriage.corpus import twins
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.datasets.columns import source_names
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError


def columns_of(root: Path, name: str) -> dict[str, str | None]:
    dataset = open_dataset("folder", root)
    return {Path(s.path).relative_to(root).as_posix(): s.columns.get(name) for s in dataset.samples}


def test_a_manifest_by_path(tmp_path: Path) -> None:
    write_tree(tmp_path, {"benign": 3, "zeus": 3})
    (tmp_path / "manifest.csv").write_text(
        "path,source,packer\nzeus/000.png,reports, UPX \nbenign/001.png,clean-a,\n"
        "zeus/gone.png,nowhere,,too,long\n"
    )
    found = columns_of(tmp_path, "source")
    assert (found["zeus/000.png"], found["benign/001.png"]) == ("reports", "clean-a")
    assert found["zeus/001.png"] is None
    assert columns_of(tmp_path, "packer")["zeus/000.png"] == "UPX"


def test_labels_replace_the_manifest(tmp_path: Path) -> None:
    digests = [f"{i:064x}" for i in range(6)]
    for i, digest in enumerate(digests):
        write_png(tmp_path / f"{digest}.png", program(i % 2, i))
    rows = "".join(f"{digest.upper()},{'ab'[i % 2]},new\n" for i, digest in enumerate(digests))
    (tmp_path / "labels.csv").write_text("sha256,family,source\n" + rows)
    (tmp_path / "manifest.csv").write_text(
        "sha256,source,bits\n" + "".join(f"{digest},old,32\n" for digest in digests)
    )
    assert set(columns_of(tmp_path, "source").values()) == {"new"}
    assert set(columns_of(tmp_path, "bits").values()) == {"32"}


def test_a_folder_without_sources_is_one(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "mine", {"benign": 3, "zeus": 3})
    assert set(columns_of(root, "source").values()) == {"mine"}
    (root / "manifest.csv").write_text("name\nx\n")  # a table of something else
    assert set(columns_of(root, "source").values()) == {"mine"}
    (root / "manifest.csv").write_bytes(b"path,source\n\xff,x\n")
    with pytest.raises(MaltriageError, match=r"cannot read .*manifest\.csv"):
        open_dataset("folder", root)


def test_several_folders(tmp_path: Path) -> None:
    a = write_tree(tmp_path / "a", {"benign": 3, "zeus": 2, "rare": 1})
    b = write_tree(tmp_path / "b", {"benign": 4})
    write_png(b / "zeus" / "x.png", program(5, 5))
    dataset = open_dataset("folder", [a, b], goodware=write_tree(tmp_path / "good", {"x": 2}))
    assert dataset.labels == ("benign", "zeus")
    assert (dataset.root, dataset.more_roots) == (a, (b,))
    sources = [sample.columns["source"] for sample in dataset.samples]
    assert sources == ["a"] * 5 + ["b"] * 5 + ["good"] * 2
    assert [n.text for n in dataset.notices if n.code == "small-family"] == [
        "left out, fewer than 3 samples: rare (1)"
    ]
    write_png(b / "_other" / "x.png", program(6, 6))
    dataset = open_dataset("folder", [a, b], min_samples=2)
    assert dataset.labels == ("benign", "zeus")  # `_other` is itself too small
    write_png(b / "_other" / "y.png", program(4, 7))
    dataset = open_dataset("folder", [a, b], min_samples=2)
    assert dataset.labels == ("benign", "_other", "zeus")
    assert [sample.label for sample in dataset.samples].count("_other") == 3
    assert [n.text for n in dataset.notices if n.code == "small-family"] == [
        "counted as _other, fewer than 2 samples: rare (1)"
    ]
    with pytest.raises(MaltriageError, match="named twice"):
        open_dataset("folder", [a, b, a / ".." / "a"])
    with pytest.raises(MaltriageError, match="two families"):
        open_dataset("folder", [b, write_tree(tmp_path / "c", {"benign": 3})])


def test_folders_of_one_name_are_sources_of_their_own(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("p/files", "q/files", "r/p/files", "other")]
    for root in roots:
        write_tree(root, {"benign": 2, "zeus": 2})
    good = write_tree(tmp_path / "q" / "other", {"x": 1})
    dataset = open_dataset("folder", roots, goodware=good)
    sources = list(dict.fromkeys(sample.columns["source"] for sample in dataset.samples))
    own = tmp_path.name
    assert sources == [f"{own}/p/files", "q/files", "r/p/files", f"{own}/other", "q/other"]
    # A folder that is named twice, in one way or another, is one source.
    assert source_names([roots[0], roots[0] / ".." / "files"]) == ("files", "files")
    whole = Path("/files").absolute()  # with a drive on Windows
    assert source_names([whole, Path("/a/files")]) == (whole.as_posix(), "a/files")


def test_a_corpus_keeps_columns(tmp_path: Path) -> None:
    a = write_tree(tmp_path / "a", {"benign": 4, "zeus": 4})
    lines = ["path,code_group", *(f"zeus/00{i}.png,{'xxy'[i] if i < 3 else ''}" for i in range(4))]
    (a / "manifest.csv").write_text("\n".join(lines) + "\n")
    b = write_tree(tmp_path / "b", {"benign": 1})  # the first clean file of `a` once more
    corpus = load_corpus(open_dataset("folder", [a, b]), (), jobs=1, folder=tmp_path / "cache")
    assert corpus.columns["source"] == ("a",) * 8 + ("b",)
    groups = twins.near_twins(corpus.signs)
    assert groups[0] == groups[8]
    assert groups[4] == groups[5]
    assert len(set(groups.tolist())) == 7
    few = corpus.take(np.arange(9) > 5)
    assert few.columns == {"source": ("a", "a", "b"), "code_group": ("y", "", "")}
    assert few.signs.code == ("y", "", "")
    assert len(few.marks) == 3


@given(codes=st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=20))
def test_equal_code_is_one_group(codes: list[str]) -> None:
    count = len(codes)
    plane = np.zeros((count, 64, 64), dtype=np.uint8)
    names = tuple(map(str, range(count)))
    signs = twins.Signs(names, ("",) * count, np.arange(count), plane, tuple(codes))
    groups = twins.near_twins(signs)
    for i in range(count):
        for j in range(i):
            assert (groups[i] == groups[j]) == bool(codes[i] and codes[i] == codes[j])
