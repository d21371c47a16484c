"""Prediction sets from the command line: measured, and in the verdict of a scan."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from corpus.synthetic import write_tree

from maltriage import bundle as bundles
from maltriage.bundle import Conformal
from maltriage.corpus.predictions import Predictions, save_predictions


def with_scores(path: Path, score: float, margin: float) -> Path:
    """The default bundle with a threshold, and of each label 20 samples with one score."""
    bundle = bundles.load(bundles.resolve(None))
    labels = bundle.card.labels
    conformal = Conformal(
        coverage=0.9,
        temperature=bundle.card.temperature or 1.0,
        source="a test",
        counts=dict.fromkeys(labels, 20),
        scores=dict.fromkeys(labels, (score,) * 20),
    )
    assert bundle.card.threshold is not None
    threshold = msgspec.structs.replace(bundle.card.threshold, margin=margin, kinds={})
    card = msgspec.structs.replace(bundle.card, conformal=conformal, threshold=threshold)
    bundles.with_card(bundle, card, path)
    return path


def predictions(path: Path, count: int = 200) -> Path:
    rng = np.random.default_rng(0)
    truth, labels = rng.integers(0, 3, count), ("benign", "icedid", "maze")
    logits = 3.0 * np.eye(3)[truth] + rng.normal(0, 1.5, (count, 3))
    sha256 = tuple(f"{i:064x}" for i in range(count))
    added = np.zeros(count, dtype=np.bool_)
    found = Predictions("net", 0, labels, sha256, truth, rng.integers(0, 4, count), added, logits)
    save_predictions(found, path)
    return path


def test_everything_fits(run_cli: Any, program: Path, tmp_path: Path) -> None:
    model = with_scores(tmp_path / "all.onnx", 1.0, -1e6)
    done = run_cli("scan", program, "--model", model, "-f", "ndjson", "--coverage", "0.8", "-q")
    assert done.returncode == 1, done.stderr
    verdict = json.loads(done.stdout.splitlines()[0])["verdict"]
    assert verdict["set"] == [row["label"] for row in verdict["ranked"]]
    assert verdict["coverage"] == 0.8


def test_nothing_fits(run_cli: Any, program: Path, tmp_path: Path) -> None:
    model = with_scores(tmp_path / "none.onnx", 0.0, -1e6)
    done = run_cli("scan", program, "--model", model, "-f", "csv", "-q")
    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert (row["set"], row["flagged"]) == ("(empty)", "true")
    assert row["label"] in ("unknown", "suspicious")
    shown = run_cli("explain", program, "--model", model, "--no-verify").stdout.decode()
    assert "set       empty: nothing that the model knows fits (coverage 90%)" in shown


def test_a_coverage_that_the_model_cannot_have(run_cli: Any, program: Path, tmp_path: Path) -> None:
    bundle = bundles.load(bundles.resolve(None))
    plain = tmp_path / "plain.onnx"
    bundles.with_card(bundle, msgspec.structs.replace(bundle.card, conformal=None), plain)
    for command in ("scan", "explain"):
        done = run_cli(command, program, "--model", plain, "--coverage", "0.9")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"has no prediction sets" in done.stderr
    done = run_cli("scan", program, "--model", plain, "--coverage", "1")
    assert done.returncode == 2
    assert b"less than or equal to 0.999" in done.stderr


def test_coverage_is_measured(run_cli: Any, tmp_path: Path) -> None:
    path = predictions(tmp_path / "out-of-fold.csv")
    done = run_cli("evaluate", "--predictions", path, "--coverage", "0.9", "-f", "json")
    (sets,) = json.loads(done.stdout)["recipes"][0]["sets"]
    assert (sets["coverage"], sets["samples"], sets["needed"]) == (0.9, 200, 9)
    assert sets["held"]["low"] < 0.9 < sets["held"]["high"]
    shown = run_cli("evaluate", "--predictions", path, "--coverage", "0.99").stdout.decode()
    assert "prediction sets at a coverage of 99%, seed 0" in shown
    assert "shared threshold: fewer than 99 scores" in shown
    both = run_cli("evaluate", "maltriage-evidence", "--open-set", tmp_path / "nets")
    assert both.returncode == 2
    assert b"--open-set takes no model" in both.stderr
    refused = run_cli("evaluate", "--coverage", "0.9")
    assert refused.returncode == 2
    assert b"go with --predictions" in refused.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the extra `train`")
def test_strangers_are_measured(run_cli: Any, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", {"benign": 60, "icarus": 50, "zeus": 40})
    clean = write_tree(tmp_path / "clean", {"a": 5})
    command = (
        *("evaluate", "--open-set", tmp_path / "nets", "--dataset", "folder", "--root", root),
        *("--goodware", clean, "--views", "body,head", "--epochs", "1", "--jobs", "1"),
    )
    done = run_cli(*command, "-f", "json", timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["name"] for row in found["families"]] == ["icarus", "zeus"]
    assert [(row["name"], row["files"]) for row in found["others"]] == [("added clean files", 5)]
    assert (found["net"], found["epochs"], found["views"]) == ("evidence", 1, ["body", "head"])
    again = run_cli(*command, timeout=600)  # nothing is trained, and it says the same
    area = found["auroc"]["novelty"]["mean"]
    assert f"novelty {area:.3f}" in again.stdout.decode()
