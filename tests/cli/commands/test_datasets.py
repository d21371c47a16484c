"""`maltriage datasets` and `datasets check`, as processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus.synthetic import program, write_png, write_tree, zipped

from maltriage.cli import options
from maltriage.corpus.datasets import MIN_SAMPLES, open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.predictions import Predictions, save_predictions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two families with a table; a copy within one, a copy in both, a damaged file, a stray."""
    folder = tmp_path / "zoo"
    write_tree(folder, {"zeus": 5, "icarus": 4, "rare": 1})
    write_png(folder / "zeus" / "copy.png", program(0, 0))
    write_png(folder / "icarus" / "same.png", program(0, 1))
    broken = write_png(folder / "zeus" / "broken.png", program(0, 20))
    broken.write_bytes(broken.read_bytes()[:-200])
    lines = ["path,family,first_seen", "gone.exe,zeus,"]
    for path in sorted(folder.rglob("*.png")):
        name, family = path.relative_to(folder).as_posix(), path.parent.name
        lines.append(f"{name},{family},{'2021-03-04' if family == 'zeus' else ''}")
    (folder / "labels.csv").write_text("\n".join(lines))
    write_png(folder / "stray.png", program(5, 0))
    return folder


def test_a_look_into_a_dataset(run_cli: Any, root: Path) -> None:
    done = run_cli("datasets", "check", root, "--jobs", "1", "-f", "json")
    assert done.returncode == 3  # one file could not be read
    assert done.stderr == b""
    found = json.loads(done.stdout)
    assert (found["dataset"], found["samples"]) == ("folder", 11)
    classes = {row.pop("label"): row for row in found["classes"]}
    assert {label: row["samples"] for label, row in classes.items()} == {"icarus": 5, "zeus": 6}
    zeus = classes["zeus"]
    assert (zeus["duplicates"], zeus["near_twins"]) == (3, 3)
    assert zeus["smallest"] <= zeus["median"] <= zeus["largest"] == 7168
    assert (zeus["dated"], zeus["first_seen"]) == (6, "2021-03-04T00:00:00")
    assert (classes["icarus"]["dated"], classes["icarus"]["first_seen"]) == (0, None)
    paths = [sorted(Path(path).as_posix() for path in g["paths"]) for g in found["duplicates"]]
    assert sorted(paths) == [
        ["icarus/same.png", "zeus/001.png"],
        ["zeus/000.png", "zeus/copy.png"],
    ]
    assert [sorted(group["labels"]) for group in found["conflicts"]] == [["icarus", "zeus"]]
    assert len(found["near_twins"]) == 2
    assert 0 <= found["random_leaks"] <= found["random_test"]
    (unreadable,) = found["unreadable"]
    assert (unreadable["code"], unreadable["failed"]) == ("damaged-png", True)
    codes = {notice["code"] for notice in found["notices"]}
    assert codes == {"missing", "unlabelled", "small-family", "damaged-png"}

    shown = run_cli("datasets", "check", root, "--jobs", "1")
    assert shown.returncode == 3
    words = shown.stdout.decode()
    assert "the same bytes under different labels: 2 samples in 1 group, 2 in the largest" in words
    assert "the same bytes more than once: 4 samples in 2 groups" in words
    assert "1 file gave no sample" in words
    assert "2021-03-04" in words
    assert "rare (1)" in words


def test_without_anything_to_find(run_cli: Any, tmp_path: Path) -> None:
    write_tree(tmp_path / "clean", {"benign": 3, "zeus": 3})
    done = run_cli("datasets", "check", "clean", "-o", "found.txt", "-q", "--jobs", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    words = (tmp_path / "found.txt").read_text(encoding="utf-8")
    assert "the same bytes more than once: none" in words
    assert "first seen" not in words


def test_the_list(run_cli: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tree(data / "vx-zoo", {"benign": 3, "zeus": 3})
    here = {"MALTRIAGE_DATA": str(tmp_path / "nowhere")}
    assert run_cli("datasets", "check", data / "vx-zoo", "--dataset", "vx-zoo").returncode == 0
    found = json.loads(run_cli("datasets", "-f", "json", env=here).stdout)
    datasets = {row["name"]: row for row in found["datasets"]}
    assert datasets["folder"]["places"] == []
    places = [(place["source"], place["found"]) for place in datasets["vx-zoo"]["places"]]
    assert places == [("$MALTRIAGE_DATA", False), ("the current folder", True)]
    (cached,) = datasets["vx-zoo"]["cached"]
    assert (cached["files"], cached["root"], cached["views"]) == (6, str(data / "vx-zoo"), [])
    folder = Path(cached["folder"])
    assert folder.parent == Path(found["cache"])
    assert cached["size"] == sum(path.stat().st_size for path in folder.iterdir())
    words = run_cli("datasets", env=here).stdout.decode()
    assert "not found  " in words
    assert "6 files of" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], b"no folder nowhere"),
        ([".", "--dataset", "malnet"], b"no such dataset: malnet"),
        (["."], b"no samples in"),
    ],
)
def test_wrong_use(run_cli: Any, arguments: list[str], words: bytes) -> None:
    done = run_cli("datasets", "check", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_the_same_bytes_as_benign_and_malware_are_shown(run_cli: Any, tmp_path: Path) -> None:
    """What training refuses can be looked at here."""
    write_tree(tmp_path / "zoo", {"benign": 3, "zeus": 3})
    write_png(tmp_path / "zoo" / "zeus" / "same.png", program(0, 0))
    done = run_cli("datasets", "check", "zoo", "-f", "json", "--jobs", "1")
    assert done.returncode == 0
    (group,) = json.loads(done.stdout)["conflicts"]
    assert sorted(group["labels"]) == ["benign", "zeus"]


def test_archives_are_measured_like_files(run_cli: Any, tmp_path: Path) -> None:
    for family in ("benign", "icedid"):
        (tmp_path / "zoo" / family).mkdir(parents=True)
        for i in range(3):
            data = zipped({"x.exe": program(family == "benign", i)})
            (tmp_path / "zoo" / family / f"{i}.zip").write_bytes(data)
    arguments = ("--dataset", "folder", "--root", "zoo", "--split", "all", "--jobs", "1")
    done = run_cli("evaluate", "maltriage-evidence", *arguments, "-f", "json")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert (found["samples"], found["unreadable"]) == (6, 0)
    assert (found["near_twins"], found["in_index"]) == (None, 0)
    shown = run_cli("evaluate", "maltriage-evidence", *arguments).stdout.decode()
    assert "none of 6 files is in the model's index, usually of its training files" in shown


def test_the_default_is_that_of_the_library() -> None:
    assert options.MIN_SAMPLES == MIN_SAMPLES


def test_labels_that_are_probably_wrong(run_cli: Any, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "zoo", {"zeus": 12, "icarus": 12})
    (root / "icarus" / "swapped.png").write_bytes((root / "zeus" / "003.png").read_bytes())
    (root / "zeus" / "003.png").unlink()
    found = open_dataset("folder", root, MIN_SAMPLES)
    corpus = load_corpus(found, (), jobs=1)
    real = np.array([int("zeus" in path or "swapped" in path) for path in corpus.paths])
    assert corpus.labels == ("icarus", "zeus")
    predictions = Predictions(
        *("net", 0, corpus.labels, corpus.sha256, corpus.label, np.arange(24) % 5),
        np.zeros(24, dtype=np.bool_),
        np.linspace(3.0, 5.0, 24)[:, None] * np.eye(2)[real],
    )
    save_predictions(predictions, tmp_path / "out-of-fold.csv")
    asked = ("datasets", "check", root, "--predictions", tmp_path / "out-of-fold.csv", "-j", "1")
    told = json.loads(run_cli(*asked, "-f", "json").stdout)
    assert told["predicted"] == 24
    (doubt,) = told["doubtful"]
    assert Path(doubt["path"]).as_posix() == "icarus/swapped.png"
    assert (doubt["label"], doubt["likelier"]) == ("icarus", "zeus")
    shown = run_cli(*asked).stdout.decode()
    assert "labels that are probably wrong: 1 of 24, the surest first" in shown
    assert "rather zeus 9" in shown
    (root / "icarus" / "swapped.png").rename(root / "zeus" / "003.png")
    assert json.loads(run_cli(*asked, "-f", "json").stdout)["doubtful"] == []

    for i, family in enumerate(["maze", "ramnit"] * 4):
        write_png(tmp_path / "other" / family / f"{i}.png", program(6, i))
    refused = run_cli(*asked[:2], tmp_path / "other", *asked[3:])
    assert refused.returncode == 2
    assert refused.stderr.decode().endswith(
        "predictions of other files: the dataset has none of them\n"
    )
