"""`maltriage index`, as a process."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from corpus.synthetic import program, write_png, write_tree

from maltriage import bundle as bundles
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.split_file import manifest_sha256
from maltriage.corpus.splits import make_split
from maltriage.files.lock import locked
from maltriage.report.documents.record import SCHEMA_VERSION


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "zoo", {"zeus": 3, "gbot": 2})


def build(run_cli: Any, root: Path, **more: Any) -> Any:
    return run_cli(
        *("index", "build", bundles.DEFAULT_MODEL, "-o", "a.index.npz", "--jobs", "1"),
        *("--dataset", "folder", "--root", root),
        **more,
    )


def test_build_look_and_grow(run_cli: Any, root: Path, tmp_path: Path) -> None:
    done = build(run_cli, root)
    assert done.returncode == 0
    assert done.stderr.startswith(b"maltriage: the index has no limit for similar files: ")
    assert done.stderr.endswith(b"name its run with --folds\n")
    assert done.stdout == b"a.index.npz: 5 files of 2 labels\n"
    told = json.loads(run_cli("index", "info", "a.index.npz", "-f", "json").stdout)
    card = bundles.load(bundles.resolve(None)).card
    assert told["model"] == {"name": card.name, "weights_sha256": card.weights_sha256}
    assert (told["files"], told["labels"], told["own_labels"]) == (
        5,
        {"gbot": 2, "zeus": 3},
        ["zeus"],
    )
    assert told["limit"] is None

    # One family is enough to add, and a file that is there gets another label.
    write_png(tmp_path / "own" / "icarus" / "a.png", program(6, 1))
    write_png(tmp_path / "own" / "icarus" / "b.png", program(0, 0))
    (tmp_path / "own" / "icarus" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    before = (tmp_path / "a.index.npz").read_bytes()
    done = run_cli("index", "add", "a.index.npz", "--root", "own", "-o", "b.npz", "--jobs", "1")
    assert done.returncode == 3  # one of them could not be read
    assert done.stdout == b"b.npz: 1 added, 1 replaced, 6 now\n"
    assert done.stderr.count(b"\n") == 1
    assert b"left out: own" in done.stderr
    assert (tmp_path / "a.index.npz").read_bytes() == before
    told = json.loads(run_cli("index", "info", "b.npz", "-f", "json").stdout)
    assert told["labels"] == {"gbot": 2, "zeus": 2, "icarus": 2}

    (tmp_path / "own" / "icarus" / "c.png").unlink()
    grown = run_cli("index", "add", "a.index.npz", "--root", "own", "--label", "x", "--jobs", "1")
    assert grown.stdout == b"a.index.npz: 1 added, 1 replaced, 6 now\n"
    one = tmp_path / "own" / "icarus" / "a.png"
    grown = run_cli("index", "add", "a.index.npz", "--root", one, "--label", "y", "--jobs", "1")
    assert grown.stdout == b"a.index.npz: 0 added, 1 replaced, 6 now\n"
    shown = run_cli("index", "info", "a.index.npz").stdout.decode()
    assert "not known to the model" in shown
    assert "none: it was not measured" in shown


def test_info_takes_the_name_of_a_model(run_cli: Any) -> None:
    named = run_cli("index", "info", "maltriage-evidence-int8", "-f", "json")
    told = json.loads(named.stdout)
    by_path = run_cli("index", "info", told["path"], "-f", "json")
    assert named.stdout == by_path.stdout
    none = run_cli("index", "info", "maltriage-camvit")
    said = b"maltriage: the model maltriage-camvit has no index\n"
    assert (none.returncode, none.stderr) == (2, said)


def test_what_others_add_meanwhile_stays(run_cli: Any, root: Path, tmp_path: Path) -> None:
    build(run_cli, root)
    path = tmp_path / "a.index.npz"
    shutil.copy(path, tmp_path / "b.npz")
    for number, name in enumerate(("icarus", "daedalus"), 4):
        write_png(tmp_path / name / name / "a.png", program(number, 1))
    other = run_cli("index", "add", "b.npz", "--root", "icarus", "--jobs", "1")
    assert other.stdout == b"b.npz: 1 added, 0 replaced, 6 now\n"
    command = [sys.executable, "-m", "maltriage", "index", "add", str(path), "--root", "daedalus"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with locked(path.with_name("a.index.npz.lock")):
        waiting = subprocess.Popen([*command, "--jobs", "1"], cwd=tmp_path, **pipes)
        assert waiting.stderr is not None
        said = waiting.stderr.readline().decode().rstrip()
        assert said == f"maltriage: waiting for another process to unlock {path}"
        (tmp_path / "b.npz").replace(path)  # as the other does it, at the end of its turn
    done = waiting.communicate(timeout=60)[0].decode()
    assert done.rstrip() == f"{path}: 1 added, 0 replaced, 7 now"
    told = json.loads(run_cli("index", "info", path, "-f", "json").stdout)
    assert told["labels"] == {"gbot": 2, "zeus": 3, "icarus": 1, "daedalus": 1}


def test_scan_and_explain_compare_with_it(run_cli: Any, root: Path, tmp_path: Path) -> None:
    assert build(run_cli, root).returncode == 0
    write_png(tmp_path / "new" / "a.png", program(0, 99))
    (tmp_path / "new" / "b.png").write_bytes((root / "zeus" / "000.png").read_bytes())
    scan = ("scan", "new", "--exit-zero", "--jobs", "1", "--index")
    new, known = map(
        json.loads, run_cli(*scan, "a.index.npz", "-f", "ndjson").stdout.splitlines()[:2]
    )
    assert new["schema_version"] == known["schema_version"] == SCHEMA_VERSION
    assert [near["label"] for near in new["similar"]["nearest"]] == ["zeus"] * 3
    assert (new["similar"]["files"], new["similar"]["known_as"]) == (5, None)
    assert known["similar"]["known_as"] == "zeus"
    assert "in-index" in [notice["code"] for notice in known["notices"]]
    assert known["sha256"] not in [near["sha256"] for near in known["similar"]["nearest"]]
    found = run_cli("scan", "new/b.png", "--jobs", "1", "--index", "a.index.npz", "-f", "ndjson")
    *_, summary = map(json.loads, found.stdout.splitlines())
    assert summary["known_malware"] + summary["flagged"] == found.returncode == 1
    table = io.StringIO(run_cli(*scan, "a.index.npz", "-f", "csv").stdout.decode())
    rows = [(row["nearest_label"], row["known_as"]) for row in csv.DictReader(table)]
    assert rows == [("zeus", ""), ("zeus", "zeus")]
    table = run_cli(*scan, "a.index.npz", "--no-groups").stdout.decode()
    assert "=zeus" in table
    explain = ("explain", tmp_path / "new" / "b.png", "--no-verify", "--exit-zero", "--index")
    shown = run_cli(*explain, "a.index.npz").stdout.decode()
    assert "This very file is in the index of labelled files, as zeus." in shown
    assert "Similar files   the nearest of 5 labelled files" in shown
    assert "Similar files" in run_cli(*explain, "a.index.npz", "-f", "html").stdout.decode()

    # Without one there is nothing to say, and the model that ships has one of its own.
    assert b"Similar files" not in run_cli(*explain, "none").stdout
    (record,) = map(json.loads, run_cli(*explain[:-1], "-f", "json").stdout.splitlines())
    card = bundles.load(bundles.resolve(None)).card
    assert record["similar"]["files"] == card.training.samples

    camvit = (*scan, "a.index.npz", "--model", "maltriage-camvit")
    made = f"made with {card.name} {card.weights_sha256[:12]}, which is not maltriage-camvit"
    for arguments, message in (
        (camvit, made.encode()),
        ((*scan, "gone.npz"), b"cannot read index gone.npz"),
        ((*scan, "new/a.png"), b"not an index of maltriage"),
        ((*scan, "a.index.npz", "-o", "a.index.npz"), b"an input, which would be overwritten"),
    ):
        done = run_cli(*arguments)
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_recall(run_cli: Any, tmp_path: Path) -> None:
    """Of a model that says that it was trained on a part of these files."""
    root = write_tree(tmp_path / "zoo", {"gbot": 8, "maze": 8, "benign": 8})
    corpus = load_corpus(open_dataset("folder", root), (), jobs=1)
    split = make_split(corpus, "random", 1)
    default = bundles.load(bundles.resolve(None))
    training = msgspec.structs.replace(
        default.card.training,
        manifest_sha256=manifest_sha256(corpus),
        split="random",
        split_seed=1,
        split_sha256=split.sha256,
        folds=0,
    )
    card = msgspec.structs.replace(default.card, training=training)
    bundles.with_card(default, card, tmp_path / "a.onnx")
    data = ("--dataset", "folder", "--root", root, "--jobs", "1")
    done = run_cli("index", "recall", "a.onnx", *data, "-f", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    parts = [part for _, part in split.samples]
    assert sum(row["files"] for row in found["labels"]) == parts.count("test")
    assert found["indexed"] == parts.count("train")
    assert 0 <= found["at_1"]["value"] <= found["at_5"]["value"] <= 1
    shown = run_cli("index", "recall", "a.onnx", *data).stdout.decode()
    assert "family recall at 5" in shown
    assert "no limit: too few files were held back" in shown
    built = run_cli("index", "build", "a.onnx", "-o", "a.index.npz", *data)
    assert (built.returncode, built.stdout) == (0, b"a.index.npz: 24 files of 3 labels\n")
    assert b"fewer than 100 files were held back" in built.stderr
    for arguments, message in (
        (("maltriage-evidence",), b"is not the data that"),
        (("a.onnx", "--folds", "gone"), b"not from a cross-validation"),
        (("a.onnx", "--folds", "gone", "--split-file", "x"), b"--folds or --split-file"),
    ):
        done = run_cli("index", "recall", *arguments, *data)
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr


def test_refusals(run_cli: Any, root: Path, tmp_path: Path) -> None:
    assert build(run_cli, root).returncode == 0
    before = (tmp_path / "a.index.npz").read_bytes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("no program")
    (tmp_path / "bad.npz").write_bytes(before[:200])
    camvit = bundles.resolve("maltriage-camvit")
    add = ("index", "add", "a.index.npz", "--jobs", "1")
    for arguments, message in (
        ((*add, "--root", "gone"), "no folder gone"),
        ((*add, "--root", "empty"), "no samples in empty"),
        ((*add, "--root", "empty", "--label", "x"), "no samples in empty"),
        ((*add, "--root", "text", "--label", "x"), "no samples in text"),
        ((*add, "--root", root, "--label", ""), "not a label"),
        ((*add, "--root", root, "--model", camvit), "which is not maltriage-camvit"),
        ((*add, "--root", root, "-o", "gone/b.npz"), "no such folder"),
        (("index", "add", "bad.npz", "--root", root), "not an index of maltriage"),
        (("index", "info", "bad.npz"), "not an index of maltriage"),
        (("index", "info", "gone.npz"), "cannot read index gone.npz"),
        (("index", "info", "a.index.npz", "--model", camvit), "which is not maltriage-camvit"),
    ):
        done = run_cli(*arguments)
        assert (done.returncode, done.stdout) == (2, b""), arguments
        assert message in done.stderr.decode().replace("\n", " "), arguments
        assert done.stderr.count(b"\n") <= 2
    assert (tmp_path / "a.index.npz").read_bytes() == before


def test_an_index_beside_another_bundle(run_cli: Any, root: Path, tmp_path: Path) -> None:
    """`add` takes the bundle that lies beside the index, and refuses it where it is another."""
    assert build(run_cli, root).returncode == 0
    shutil.copy(bundles.resolve("maltriage-camvit"), tmp_path / "a.onnx")
    done = run_cli("index", "add", "a.index.npz", "--root", root)
    assert done.returncode == 2
    assert b"distances would mean nothing" in done.stderr
    # What is in it is told all the same.
    assert run_cli("index", "info", "a.index.npz").returncode == 0
