"""Training and measuring by source, as processes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from corpus.sources import write_sources
from corpus.synthetic import program, write_png

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs the extra `train`"
)
SHORT = (
    *("--dataset", "folder", "--image-size", "16", "--views", "body", "--batch-size", "8"),
    *("--epochs", "12", "--threads", "1", "--jobs", "1", "--name", "net"),
)
EACH = 14
"""Files of each label and source: enough of both for a temperature."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("data") / "files", EACH)


@pytest.fixture(scope="module")
def trained(data: Path) -> tuple[Path, str]:
    """A run by source, and what training printed."""
    run = ("train", *SHORT, "--root", str(data), "--split", "source", "--out", "by")
    done = subprocess.run(
        [sys.executable, "-m", "maltriage", *run],
        cwd=data.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return data.parent / "by", done.stdout


def test_a_random_split_flatters(run_cli: Any, data: Path, trained: tuple[Path, str]) -> None:
    """Across sources the labels are worth nothing; a random split does not show it."""
    run = ("train", *SHORT, "--root", data, "--out")
    random = run_cli(*run, "random", "--split", "random", "--folds", "2")
    assert random.returncode == 0, random.stderr.decode()
    folder, text = trained

    def twins(text: str) -> int:
        (line,) = (line for line in text.splitlines() if line.startswith("twins"))
        return int(line.split("training, ")[1].split()[0])

    assert twins(random.stdout.decode()) > 0
    assert twins(text) == 0
    assert "2 source folds" in text
    for fold, source in enumerate("ab"):
        stored = json.loads((folder / f"fold-{fold}" / "split.json").read_bytes())
        assert (stored["kind"], stored["value"]) == ("source", source)
        parts = [part for _, part in stored["samples"]]
        assert parts.count("test") == 2 * EACH
        assert parts.count("val") > 0
    again = run_cli("train", "--out", folder, "--resume")
    assert again.returncode == 0, again.stderr.decode()

    by = ("evaluate", "--dataset", "folder", "--root", data, "--by", "source")
    areas, held_back = dict[str, set[float]](), dict[str, bool]()
    for name, run in (("random", Path("random")), ("by", folder)):
        report = run_cli(*by, "--predictions", run / "out-of-fold.csv", "-f", "json")
        assert report.returncode == 0, report.stderr.decode()
        (measured,) = json.loads(report.stdout)["runs"]
        held_back[name] = measured["held_back"]
        rows = [row for value in measured["values"] for row in value["against"]]
        areas[name] = {row["auc"]["value"] for row in rows if row["clean_by"] != "trained"}
    assert held_back == {"random": False, "by": True}
    assert min(areas["random"]) > 0.9
    assert max(areas["by"]) < 0.1

    text = run_cli(
        *by, "--predictions", folder / "out-of-fold.csv", "--fpr", "0.05"
    ).stdout.decode()
    assert "at a threshold for 5%, set on the validation part of each net" in text
    assert "at a threshold for 5%, set on the clean files of the other folds" in text
    net, split = folder / "fold-1" / "net.onnx", folder / "fold-1" / "split.json"
    one = run_cli(*by, net, "--split-file", split, "-f", "json")
    assert one.returncode == 0, one.stderr.decode()
    (value,) = json.loads(one.stdout)["runs"][0]["values"]
    assert (value["value"], value["malware"], value["clean"]) == ("b", EACH, EACH)
    assert value["against"][0]["auc"]["value"] < 0.1


def test_a_threshold_by_source(
    run_cli: Any, data: Path, trained: tuple[Path, str], tmp_path: Path
) -> None:
    """On predictions that are right now and then, which those of the test before are not."""
    folder, _ = trained
    path, net = tmp_path / "out-of-fold.csv", folder / "net.onnx"
    header, *rows = (folder / path.name).read_text().splitlines()
    for i, row in enumerate(rows):
        *start, label, fold, added, _, _ = row.split(",")
        right = (label == "benign") == (i % 3 != 0)
        rows[i] = ",".join([*start, label, fold, added, *(["2", "0"] if right else ["0", "2.5"])])
    path.write_text("\n".join([header, *rows]) + "\n")
    calibrate = (
        *("calibrate", net, "-o", "new.onnx", "--dataset", "folder", "--by", "source"),
        *("--root", data, "--predictions", path),
    )
    found = run_cli(*calibrate, "--fpr", "0.2", "-f", "json")
    assert found.returncode == 0, found.stderr.decode()
    threshold = json.loads(found.stdout)["threshold"]
    assert [row["value"] for row in threshold["values"]] == ["a", "b"]
    assert threshold["margin"] == max(row["margin"] for row in threshold["values"])
    card = json.loads(run_cli("models", "new.onnx", "--json").stdout)
    assert card["threshold"]["margin"] == threshold["margin"]
    assert card["threshold"]["goodware"] == "clean files of each source held back: a, b"
    shown = run_cli(*calibrate, "--fpr", "0.2").stdout.decode()
    assert "needed" in shown
    assert "at this threshold" in shown
    for arguments, words in (
        ([*calibrate, "--goodware", data], "--by goes with --predictions"),
        (["calibrate", net, "-o", "n.onnx", "--predictions", path, "--root", data],
         "--root goes with --by"),
        ([*calibrate, "--fpr", "0.01"], "a rate of 0.01 needs 300"),
    ):  # fmt: skip
        refused = run_cli(*arguments)
        assert refused.returncode == 2
        assert words in refused.stderr.decode()


def test_a_model_by_column(run_cli: Any, data: Path) -> None:
    by = ("evaluate", "--dataset", "folder", "--root", data, "--split", "all")
    found = run_cli(*by, "--by", "packer", "-f", "json")
    assert found.returncode == 0, found.stderr.decode()
    report = json.loads(found.stdout)
    assert report["without"] == 4 * EACH - 4
    (value,) = report["runs"][0]["values"]
    # The model knows no family of this name, and it is malware all the same.
    assert (value["value"], value["malware"], value["unlearned"]) == ("UPX", 2, 2)
    threshold, even = value["thresholds"]
    assert even["set_on"] == "even"
    assert threshold["set_on"] == "card"
    assert {row["kind"] for row in threshold["kinds"]} == {"all", "32-bit", "packed"}
    for arguments, words in (
        (["--by", "sauce"], "no such split: sauce"),
        (["--by", "source", "--clean", data], "--by goes without"),
        (["--by", "source", "-f", "html"], "--by has no picture"),
        (["--fpr", "0.1"], "--fpr goes with --by"),
    ):
        refused = run_cli(*by, *arguments)
        assert refused.returncode == 2
        assert words in refused.stderr.decode()


def test_wrong_use(run_cli: Any, data: Path) -> None:
    for arguments, words in (
        (["--split", "sauce"], "no such split: sauce"),
        (["--split", "source", "--folds", "5"], "makes 2 folds"),
        (["--split", "packer"], "at least two folds, not 1"),
        (["--split", "family"], "left to train on"),
        (["--split", "source", "--patience", "2"], "--patience needs"),
    ):
        found = run_cli("train", *SHORT, "--root", data, *arguments)
        assert found.returncode == 2
        assert words in found.stderr.decode()
        assert "Traceback" not in found.stderr.decode()


def test_a_last_fold_that_cannot_be(run_cli: Any, tmp_path: Path) -> None:
    """It is found before the first is trained."""
    for source, families in (("x", (1, 2)), ("y", (0, 1, 2))):
        for number in families:
            for i in range(4):
                path = tmp_path / source / ("benign", "icarus", "zeus")[number] / f"{i}.png"
                write_png(path, program(number, 100 * len(families) + i))
    roots = ("--root", tmp_path / "x", "--root", tmp_path / "y")
    found = run_cli("train", *SHORT, *roots, "--split", "source", "--out", "o")
    assert found.returncode == 2
    words = "without source y, nothing but malware would be left to train on"
    assert words in found.stderr.decode()
    assert "steps in all" not in found.stderr.decode()
    assert not (tmp_path / "o").exists()


def test_one_fold_alone(run_cli: Any, tmp_path: Path) -> None:
    """Of two folders, each a source; going on reads both again."""
    for source, count in (("x", 8), ("y", 9)):
        for number, family in enumerate(("benign", "zeus")):
            for i in range(count):
                path = tmp_path / source / family / f"{i}.png"
                write_png(path, program(number, 100 * count + i))
    roots = ("--root", tmp_path / "x", "--root", tmp_path / "y")
    short = ("--epochs", "1", *roots, "--split", "source", "--out", "o")
    found = run_cli("train", *SHORT, *short, "--fold", "1")
    assert found.returncode == 0, found.stderr.decode()
    assert "without      source y" in found.stdout.decode()
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["fold-1"]
    last = run_cli("train", "--out", "o", "--resume", "--jobs", "1")
    assert last.returncode == 0, last.stderr.decode()
    assert "34 samples" in last.stdout.decode()
    assert (tmp_path / "o" / "fold-0" / "validation.csv").is_file()


def test_compare_by_source(run_cli: Any, data: Path, tmp_path: Path) -> None:
    study = (
        *("compare", "--out", "study", "--dataset", "folder", "--root", data, "--nets", "evidence"),
        *("--seeds", "1", "--image-size", "16", "--views", "body", "--epochs", "1"),
        *("--batch-size", "8", "--threads", "1", "--jobs", "1", "--split", "source"),
    )
    refused = run_cli(*study, "--folds", "3")
    assert (refused.returncode, b"leave out --folds" in refused.stderr) == (2, True)
    assert b"no such split: sauce" in run_cli(*study[:-1], "sauce").stderr
    found = run_cli(*study, "-f", "json")
    assert found.returncode == 0, found.stderr.decode()
    document = json.loads(found.stdout)
    assert (document["split"], document["folds"]) == ("source", 2)
    assert [fold["samples"] for fold in document["rows"][0]["folds"]] == [2 * EACH] * 2
    path = tmp_path / "study" / "evidence" / "seed-0" / "out-of-fold.csv"
    by = run_cli(
        *("evaluate", "--dataset", "folder", "--root", data, "--by", "source", "-f", "json"),
        *("--predictions", path),
    )
    assert by.returncode == 0, by.stderr.decode()
    (run,) = json.loads(by.stdout)["runs"]
    assert run["held_back"]
    sets = [of["set_on"] for of in run["values"][0]["thresholds"]]
    assert sets == ["validation", "elsewhere", "even"]
