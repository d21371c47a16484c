"""BIG2015: hex dumps, a table of classes, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus.synthetic import program, write_big2015, write_dump, write_tree

from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.datasets.big2015 import FAMILIES
from maltriage.corpus.load import load_corpus
from maltriage.errors import MaltriageError
from maltriage.sample.views import BodySpec


def codes(notices: object) -> dict[str, str]:
    return {notice.code: notice.text for notice in notices}  # type: ignore[attr-defined]


def test_the_sample_of_the_real_set(big2015_sample: Path, tmp_path: Path) -> None:
    dataset = open_dataset("big2015", big2015_sample, min_samples=1)
    assert dataset.labels == ("Gatak", "Lollipop", "Ramnit", "Tracur")
    assert len(dataset.samples) == 11
    assert [notice.code for notice in dataset.notices] == ["not-as-published"]
    found = {Path(sample.path).stem: sample.label for sample in dataset.samples}
    assert found["0A32eTdBKayjCWhZqDOQ"] == "Lollipop"
    assert found["4ac5qdOrj96X8SglAGZL"] == "Gatak"
    corpus = load_corpus(dataset, (BodySpec(size=16),), jobs=1, folder=tmp_path)
    assert len(corpus) == 11
    assert set(corpus.formats) == {"bytes"}
    assert len(set(corpus.sha256)) == 11


def test_what_does_not_fit_together_is_counted(tmp_path: Path) -> None:
    root = write_big2015(tmp_path, {1: 3, 9: 4, 5: 1})
    write_dump(root / "test" / "unlabelled.bytes", b"x" * 99)
    write_dump(root / "copy" / "1x000.bytes", b"y" * 99)
    (root / "train" / "1x000.asm").write_text(".text:00401000 push ebp")
    (root / "train" / "9x003.bytes").write_text("00401000 55\n00401001 zz\n")
    with (root / "trainLabels.csv").open("a") as table:
        table.write('"gone",2\n"1x001",1\n')
    dataset = open_dataset("big2015", root)
    assert dataset.labels == ("Gatak", "Ramnit")
    assert len(dataset.samples) == 7
    text = codes(dataset.notices)
    assert set(text) == {"missing", "unlabelled", "twice", "small-family", "not-as-published"}
    assert text["missing"].startswith("1 file left out")
    assert "unlabelled.bytes" in text["unlabelled"]
    assert "Simda (1)" in text["small-family"]
    corpus = load_corpus(dataset, (BodySpec(size=16),), jobs=1, folder=tmp_path / "cache")
    assert len(corpus) == 6
    assert "line 2" in codes(corpus.notices)["damaged-dump"]


def test_every_class_has_a_name(tmp_path: Path) -> None:
    root = write_big2015(tmp_path, dict.fromkeys(range(1, 10), 1))
    dataset = open_dataset("big2015", root, min_samples=1)
    assert dataset.labels == tuple(sorted(FAMILIES))
    assert {Path(s.path).name[0]: s.label for s in dataset.samples} == {
        str(i): family for i, family in enumerate(FAMILIES, 1)
    }


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("Id,Family\na,1\n", "must name `Id` and `Class`"),
        ("Id,Class\na,1\nb,10\n", "line 3: class '10' of 'b', not 1 to 9"),
        ("Id,Class\na,1\nb\n", "line 3: class '' of 'b'"),
        ("Id,Class\na,1\na,2\n", "line 3: a has two classes"),
        ("Id,Class\n\xff,1\n", "cannot read"),
        ("Id,Class\na,1\n", "no samples in"),
        (None, "no .*trainLabels.csv; expected"),
    ],
)
def test_a_table_that_is_wrong(tmp_path: Path, table: str | None, said: str) -> None:
    if table is not None:
        (tmp_path / "trainLabels.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(MaltriageError, match=said):
        open_dataset("big2015", tmp_path)


def test_views_are_those_that_need_no_header(tmp_path: Path) -> None:
    dataset = open_dataset("big2015", write_big2015(tmp_path / "big", {1: 3, 2: 3}))
    assert dataset.headless
    assert dataset.views(None) == ("body", "head")
    assert dataset.views(("body", "tail")) == ("body", "tail")
    with pytest.raises(MaltriageError, match="views header, code: samples of big2015"):
        dataset.views(("body", "header", "code"))
    tree = open_dataset("folder", write_tree(tmp_path / "tree", {"benign": 3, "zeus": 3}))
    assert not tree.headless
    assert tree.views(None) is None
    assert tree.views(("header",)) == ("header",)


def test_goodware_is_of_the_same_kind(tmp_path: Path) -> None:
    big = write_big2015(tmp_path / "big", {1: 3, 2: 3})
    tree = write_tree(tmp_path / "tree", {"benign": 3, "zeus": 3})
    dumps = tmp_path / "dumps"
    write_dump(dumps / "clean.bytes", program(0, 0))
    added = open_dataset("big2015", big, goodware=dumps)
    assert added.labels == ("benign", "Lollipop", "Ramnit")
    assert added.headless
    for name, root, goodware in (("big2015", big, tree), ("folder", tree, dumps)):
        with pytest.raises(MaltriageError, match="hex dumps and files with a PE header are mixed"):
            open_dataset(name, root, goodware=goodware)


def test_dumps_in_a_folder_of_families(tmp_path: Path) -> None:
    for number, family in enumerate("ab"):
        for i in range(3):
            write_dump(tmp_path / family / f"{i}.bytes", program(number, i), 0x400000)
    dataset = open_dataset("folder", tmp_path)
    assert (len(dataset.samples), dataset.notices) == (6, ())
    assert dataset.views(None) == ("body", "head")
