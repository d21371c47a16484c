"""Datasets: which files belong to them, in which order, and what is said of the rest."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from pathlib import Path

import pytest
from corpus.synthetic import program, write_png, write_tree

from maltriage.corpus.datasets import DATASETS, open_dataset
from maltriage.corpus.datasets.base import sort_labels
from maltriage.errors import MaltriageError


def test_labels_begin_with_benign() -> None:
    assert sort_labels(["zeta", "benign", "alpha", "zeta"]) == ("benign", "alpha", "zeta")
    assert sort_labels(["b", "a"]) == ("a", "b")


def test_folders_are_families(tmp_path: Path) -> None:
    write_tree(tmp_path, {"zeus": 3, "benign": 4})
    nested = tmp_path / "zeus" / "2020" / "more.exe"
    nested.parent.mkdir()
    nested.write_bytes(program(0, 9))
    (tmp_path / "manifest.csv").write_text("path,family\nzeus/000.png,other\n")
    (tmp_path / "README.md").write_text("read me")
    (tmp_path / ".git").mkdir()
    dataset = open_dataset("folder", tmp_path)
    assert dataset.labels == ("benign", "zeus")
    found = [(Path(s.path).relative_to(tmp_path).as_posix(), s.label) for s in dataset.samples]
    assert found == sorted(found)
    assert len(found) == 8
    assert ("zeus/2020/more.exe", "zeus") in found
    assert dataset.notices == ()


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    write_tree(tmp_path, {"benign": 3, "zeus": 3, "rare": 2})
    (tmp_path / "zeus" / "notes.txt").write_text("not a program")
    (tmp_path / "zeus" / "empty").touch()
    (tmp_path / "nothing").mkdir()
    dataset = open_dataset("folder", tmp_path)
    assert dataset.labels == ("benign", "zeus")
    assert len(dataset.samples) == 6
    text = {notice.code: notice.text for notice in dataset.notices}
    assert text["not-a-sample"].startswith("2 files left out")
    assert "rare (2)" in text["small-family"]
    assert "nothing" in text["empty-family"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode")
def test_a_label_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """A label stands in documents and cards, which are UTF-8."""
    write_tree(tmp_path, {"benign": 3, "zeus": 3, "icarus": 3})
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/fam\xff"))
    (tmp_path / "zeus").rename(odd)
    with pytest.raises(MaltriageError, match=r"must be UTF-8: rename the folder of fam\\udcff$"):
        open_dataset("folder", tmp_path)
    (odd / "000.png").unlink()
    assert open_dataset("folder", tmp_path).labels == ("benign", "icarus")  # too small: left out


def test_min_samples(tmp_path: Path) -> None:
    write_tree(tmp_path, {"benign": 3, "zeus": 3, "rare": 2})
    assert open_dataset("folder", tmp_path, min_samples=2).labels == ("benign", "rare", "zeus")


def test_a_label_that_differs_by_case(tmp_path: Path) -> None:
    rows = [
        f"{label.lower()}{i}.png,{label}" for label in ("BENIGN", "_Other", "Zeus") for i in "12"
    ]
    for number, row in enumerate(rows):
        write_png(tmp_path / row.split(",")[0], program(number, 0))
    (tmp_path / "labels.csv").write_text("\n".join(["path,family", *rows]))
    dataset = open_dataset("folder", tmp_path, min_samples=2)
    assert dataset.labels == ("BENIGN", "Zeus", "_Other")
    assert [(notice.code, notice.text) for notice in dataset.notices] == [
        ("label-case", "BENIGN is taken for a malware family: the label of clean files is benign"),
        (
            "label-case",
            "_Other is taken for a malware family: the label of malware of no family is _other",
        ),
    ]


@pytest.mark.parametrize("column", ["path", "sha256"])
def test_table_of_labels(tmp_path: Path, column: str) -> None:
    lines = [f"number,{column},family"]
    for i in range(6):
        data = program(i % 2, i)
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / f"{digest}.exe").write_bytes(data)
        key = f"{digest}.exe" if column == "path" else digest.upper()
        lines.append(f"{i},{key},{'benign' if i % 2 else 'zeus'}")
    outside = tmp_path.parent / "outside.exe"
    outside.write_bytes(program(0, 7))
    lines += ["7,../outside.exe,zeus", f"8,{'0' * 64},zeus", "9,,zeus"]
    (tmp_path / "labels.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    (tmp_path / "unlabelled.exe").write_bytes(program(0, 8))
    dataset = open_dataset("folder", tmp_path)
    assert dataset.labels == ("benign", "zeus")
    assert [s.label for s in dataset.samples].count("zeus") == 3
    assert len(dataset.samples) == 6
    assert [n.code for n in dataset.notices] == ["missing", "unlabelled"]
    assert dataset.notices[0].text.startswith("2 files left out")
    assert dataset.notices[1].text.startswith("1 file left out: not in labels.csv")


def test_table_without_its_columns(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\na,b\n")
    with pytest.raises(MaltriageError, match=r"labels\.csv: the first line must name"):
        open_dataset("folder", tmp_path)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MaltriageError, match=r"no folder .*nowhere.*<root>/<family>/<file>"):
        open_dataset("folder", tmp_path / "nowhere")
    with pytest.raises(MaltriageError, match="--root"):
        open_dataset("folder")


def test_a_table_without_a_file_of_its_rows(tmp_path: Path) -> None:
    write_tree(tmp_path, {"zeus": 2})
    (tmp_path / "labels.csv").write_text("path,family\na.exe,benign\nb.exe,zeus\nc.exe,\n")
    with pytest.raises(MaltriageError) as caught:
        open_dataset("folder", tmp_path)
    assert str(caught.value) == (
        f"dataset folder: no sample has a family in {tmp_path / 'labels.csv'}: 3 files left out: in"
        " labels.csv, but not there, or no sample (such as a.exe); 2 files left out: not in"
        f" labels.csv (such as {tmp_path / 'zeus' / '000.png'})"
    )
    (tmp_path / "labels.csv").write_text("path,family\n")
    (tmp_path / "zeus").rename(tmp_path.parent / "elsewhere")
    with pytest.raises(MaltriageError, match=r"labels\.csv: it has no rows$"):
        open_dataset("folder", tmp_path)


def test_folder_without_samples(tmp_path: Path) -> None:
    (tmp_path / "zeus").mkdir()
    with pytest.raises(MaltriageError, match=r"no samples in .*<root>/<family>/<file>"):
        open_dataset("folder", tmp_path)


def test_one_family_is_no_dataset(tmp_path: Path) -> None:
    write_tree(tmp_path, {"zeus": 4, "rare": 1})
    with pytest.raises(MaltriageError, match="two families of 3 samples"):
        open_dataset("folder", tmp_path)


def test_all_datasets_can_be_read_and_are_documented() -> None:
    for entry in DATASETS.values():
        assert callable(importlib.import_module(f"maltriage.corpus.datasets.{entry.module}").read)
    text = (Path(__file__).parents[3] / "docs" / "reference" / "datasets.md").read_text(
        encoding="utf-8"
    )
    assert [name for name in DATASETS if f"`--dataset {name}`" not in " ".join(text.split())] == []


def test_unknown_dataset() -> None:
    with pytest.raises(MaltriageError) as raised:
        open_dataset("malnet")
    assert str(raised.value) == f"no such dataset: malnet (known: {', '.join(sorted(DATASETS))})"
    assert {"big2015", "folder", "malimg", "vx-zoo"} <= set(DATASETS)


def test_vx_zoo_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    families = {"benign": 3, "zeus": 3}
    here, config, variable, named = (tmp_path / n for n in ("here", "config", "variable", "named"))
    here.mkdir()
    monkeypatch.chdir(here)
    home = tmp_path / "home" / "maltriage"
    home.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.parent))

    write_tree(here / "data" / "vx-zoo", families)
    assert open_dataset("vx-zoo").root == Path("data/vx-zoo")
    write_tree(config / "vx-zoo", families)
    (home / "config.toml").write_text(f"data = '{config}'\n")
    assert open_dataset("vx-zoo").root == config / "vx-zoo"
    monkeypatch.setenv("MALTRIAGE_DATA", str(variable))
    assert open_dataset("vx-zoo").root == config / "vx-zoo"  # nothing in the variable's folder
    write_tree(variable / "vx-zoo", families)
    assert open_dataset("vx-zoo").root == variable / "vx-zoo"
    write_tree(named, families)
    assert open_dataset("vx-zoo", named).root == named


def test_vx_zoo_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MALTRIAGE_DATA", str(tmp_path / "variable"))
    home = tmp_path / "home" / "maltriage"
    home.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.parent))
    (home / "config.toml").write_text("data = '/configured'\n")
    with pytest.raises(MaltriageError) as caught:
        open_dataset("vx-zoo")
    message = str(caught.value)
    assert "\n" not in message
    for place in (str(tmp_path / "variable" / "vx-zoo"), "vx-zoo (from the current folder)"):
        assert place in message
    assert str(Path("/configured/vx-zoo")) in message
    assert "<root>/<family>/<file>" in message
    assert "--root" in message


DEEP_LIST = "data = " + "[" * 100_000


@pytest.mark.parametrize(
    "text", ["data = 3", "data = ", "data = ''", r'data = "a\u0000b"', DEEP_LIST], ids=range(5)
)
def test_bad_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "maltriage").mkdir()
    (tmp_path / "maltriage" / "config.toml").write_text(text)
    with pytest.raises(MaltriageError, match=r"config.*config\.toml"):
        open_dataset("vx-zoo")


def test_vx_mini(vx_mini: Path) -> None:
    dataset = open_dataset("vx-zoo", vx_mini)
    assert len(dataset.samples) == 972
    assert len(dataset.labels) == 14
    assert dataset.labels[0] == "benign"
    assert dataset.notices == ()


def test_a_png_counts_by_its_head_only(tmp_path: Path) -> None:
    """What is inside is looked at when it is prepared, in a worker process."""
    write_tree(tmp_path, {"benign": 3, "zeus": 3})
    broken = write_png(tmp_path / "zeus" / "broken.png", program(0, 5))
    broken.write_bytes(broken.read_bytes()[:60])
    assert len(open_dataset("folder", tmp_path).samples) == 7


def test_goodware_is_benign_besides_and_last(tmp_path: Path) -> None:
    root, clean = tmp_path / "z", tmp_path / "a"
    write_tree(root, {"icedid": 3, "maze": 3})
    write_tree(clean, {"package": 2})
    dataset = open_dataset("folder", root, goodware=clean)
    assert dataset.labels == ("benign", "icedid", "maze")
    assert [sample.label for sample in dataset.samples[-2:]] == ["benign", "benign"]
    assert dataset.goodware == clean
    with pytest.raises(MaltriageError, match="no folder"):
        open_dataset("folder", root, goodware=tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaltriageError, match="no samples"):
        open_dataset("folder", root, goodware=tmp_path / "empty")
