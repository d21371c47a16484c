"""Training and measuring by source, as processes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from corpus.sources import FILES, write_sources

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs the extra `train`"
)
SHORT = (
    *("--dataset", "folder", "--image-size", "16", "--views", "body", "--batch-size", "8"),
    *("--epochs", "6", "--threads", "1", "--jobs", "1", "--name", "net"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_sources(tmp_path / "files")


def test_a_random_split_flatters(run_cli: Any, data: Path, tmp_path: Path) -> None:
    """Across sources the labels are worth nothing; a random split does not show it."""
    run = ("train", *SHORT, "--root", data, "--out")
    random = run_cli(*run, "random", "--split", "random", "--folds", "2")
    assert random.returncode == 0, random.stderr.decode()
    found = run_cli(*run, "by", "--split", "source")
    assert found.returncode == 0, found.stderr.decode()

    def twins(text: bytes) -> int:
        (line,) = (line for line in text.decode().splitlines() if line.startswith("twins"))
        return int(line.split("training, ")[1].split()[0])

    assert twins(random.stdout) > 0
    assert twins(found.stdout) == 0
    assert "2 source folds" in found.stdout.decode()
    for fold, source in enumerate("ab"):
        stored = json.loads((tmp_path / "by" / f"fold-{fold}" / "split.json").read_bytes())
        assert (stored["kind"], stored["value"]) == ("source", source)
        assert (tmp_path / "by" / f"fold-{fold}" / "validation.csv").is_file()
        parts = [part for _, part in stored["samples"]]
        assert parts.count("test") == 2 * FILES
        assert parts.count("val") > 0
    again = run_cli("train", "--resume", "by")
    assert again.returncode == 0, again.stderr.decode()


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


def test_one_fold_alone(run_cli: Any, data: Path, tmp_path: Path) -> None:
    found = run_cli(
        "train", *SHORT, "--root", data, "--split", "source", "--fold", "1", "--out", "o"
    )
    assert found.returncode == 0, found.stderr.decode()
    assert "without      source b" in found.stdout.decode()
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["fold-1"]


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
    assert [fold["samples"] for fold in document["rows"][0]["folds"]] == [2 * FILES] * 2
