"""`maltriage export --quantize`, as a process."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import write_tree

from maltriage import bundle as bundles
from maltriage.corpus.predictions import load_predictions


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("data"), {"benign": 20, "gbot": 20, "zeus": 20})


def test_the_default_in_int8(run_cli: Any, data: Path, tmp_path: Path) -> None:
    made = run_cli(
        *("export", "maltriage-evidence", "--quantize", "int8", "--dataset", "folder"),
        *("--root", data, "-o", "small.onnx", "--format", "json"),
    )
    assert made.returncode == 0, made.stderr.decode()
    said = json.loads(made.stdout)
    assert (said["calibrated"], said["compared"]) == (30, 30)
    assert said["costs"][1]["bytes"] < said["costs"][0]["bytes"]
    assert said["folds"] is None
    card = bundles.load(tmp_path / "small.onnx").card
    assert card.weights_sha256 == said["model"]["weights_sha256"]
    assert card.quantization is not None
    assert card.quantization.calibrated_on == "30 samples of folder"
    assert card.threshold is None

    sample = data / "zeus" / "000.png"
    scanned = run_cli("scan", "--model", "small.onnx", "-f", "ndjson", sample)
    assert scanned.returncode == 0, scanned.stderr.decode()
    record = json.loads(scanned.stdout.splitlines()[0])
    assert record["model"]["name"] == "maltriage-evidence-int8"
    assert record["evidence"]["additive"]
    explained = run_cli("explain", sample, "--model", "small.onnx", "--verify")
    assert explained.returncode == 0, explained.stderr.decode()

    again = run_cli("export", "small.onnx", "--quantize", "fp16", "--root", data, "-o", "x.onnx")
    assert again.returncode == 2
    assert b"quantised already (int8)" in again.stderr
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the extra `train`")
def test_a_run_with_its_folds(run_cli: Any, data: Path, tmp_path: Path) -> None:
    trained = run_cli(
        *("train", "--root", data, "--image-size", "16", "--views", "body,head", "--epochs", "12"),
        *("--threads", "1", "--jobs", "1", "--name", "net", "--folds", "2", "--out", "run", "-q"),
    )
    assert trained.returncode == 0, trained.stderr.decode()
    made = run_cli(
        *("export", "run", "--quantize", "int8", "--root", data, "-o", "small.onnx"),
        *("--folds", "small", "--files", "16"),
    )
    assert made.returncode == 0, made.stderr.decode()
    text = made.stdout.decode()
    assert "net int8 - net float32:" in text
    assert "out of fold" in text
    card = bundles.load(tmp_path / "small.onnx").card
    before = bundles.load(tmp_path / "run" / "net.onnx").card
    assert card.temperature is not None
    assert "out-of-fold predictions of 60 samples" in str(card.calibrated_on)
    assert card.metrics["out_of_fold_samples"] == before.metrics["out_of_fold_samples"] == 60.0
    found = load_predictions(tmp_path / "small" / "out-of-fold.csv")
    assert (len(found), found.folds, found.recipe) == (60, 2, "net int8")
    for fold in (0, 1):
        folder = tmp_path / "small" / f"fold-{fold}"
        assert {path.name for path in folder.iterdir()} == {
            *("net.onnx", "predictions.csv", "split.json")
        }
    compared = run_cli(
        *("evaluate", "--predictions", "small/out-of-fold.csv"),
        *("--against", "run/out-of-fold.csv"),
    )
    assert compared.returncode == 0, compared.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--folds", "out"], "--folds goes with --quantize"),
        (
            ["maltriage-evidence", "--quantize", "int8", "--folds", "out"],
            "--folds needs the folder of a",
        ),
        (["nothing", "--quantize", "int8"], "no such model: nothing"),
        ([".", "--quantize", "int8"], "no bundle in this folder"),
        (["maltriage-evidence", "--quantize", "int8", "--root", "gone"], "gone"),
        (["maltriage-evidence-int8", "--quantize", "int8", "--root", "DATA"], "quantised already"),
        (["maltriage-evidence", "--quantize", "int8", "-o", "gone/x.onnx"], "no such folder"),
    ],
)
def test_what_cannot_be_done(
    run_cli: Any, data: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    filled = [str(data) if value == "DATA" else value for value in arguments]
    output = [] if "-o" in filled else ["-o", "x.onnx"]
    found = run_cli("export", *filled, *output)
    assert found.returncode == 2
    assert said in found.stderr.decode()
    assert found.stderr.startswith(b"maltriage: ")
    assert not (tmp_path / "x.onnx").exists()
