"""`maltriage evaluate` as a process: what it says of labelled files and of predictions."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from assess.planted import LABELS, plant, weights
from corpus.synthetic import write_tree
from hostile.make import sample
from PIL import Image
from report.pages import assert_sealed
from typer.testing import CliRunner

from maltriage.cli.app import application
from maltriage.corpus.predictions import Predictions, save_predictions
from maltriage.errors import MaltriageError
from maltriage.version import install_extra


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(600) < 400, 0, 1 + np.arange(600) % 2)
    path = tmp_path / "out-of-fold.csv"
    found = Predictions(
        recipe="net",
        seed=0,
        labels=("benign", "icedid", "maze"),
        sha256=tuple(f"{i:064x}" for i in range(600)),
        truth=truth,
        fold=np.arange(600) % 5,
        added=np.zeros(600, dtype=bool),
        logits=rng.normal(size=(600, 3)) + 3 * np.eye(3)[truth],
    )
    save_predictions(found, path)
    return path


def test_predictions_as_table_json_page_and_picture(
    run_cli: Any, tmp_path: Path, predicted: Path
) -> None:
    run = ("evaluate", "--predictions", predicted)
    (recipe,) = json.loads(run_cli(*run, "-f", "json").stdout)["recipes"]
    assert recipe["reliability"]["ece"]["value"] == pytest.approx(recipe["ece"]["mean"])
    curves = recipe["detection_curves"]
    assert curves["auc"]["value"] == pytest.approx(recipe["detection"]["mean"])
    assert [point["tpr"] is None for point in curves["at"]] == [False, True]
    screen = run_cli(*run).stdout.decode()
    assert f"{recipe['reliability']['brier']['value']:.3f} (" in screen
    assert "malware found at 0.1%: needs 3,000 benign files, there are 400" in screen
    page = run_cli(*run, "-f", "html", "--png", tmp_path / "a.png")
    assert page.returncode == 0, page.stderr
    assert_sealed(page.stdout.decode())
    with Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as image:
        assert image.format == "PNG"


def test_a_bundle_on_labelled_files(run_cli: Any, tmp_path: Path) -> None:
    """It says icedid of every program with the same logits, and three of four are."""
    bundle = plant(tmp_path / "planted.onnx", weights((0, 1, 1.0)))
    for i in range(40):
        path = tmp_path / "mine" / LABELS[i >= 30] / f"{i:02d}.exe"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample("console-x86.exe") + b"tail" * i)
    run = ("evaluate", bundle.path, "--root", tmp_path / "mine", "--split", "all")
    found = json.loads(run_cli(*run, "-f", "json").stdout)
    assert found["calibrated"] is False
    assert found["detection_curves"] is None
    assert found["accuracy"]["value"] == 0.75
    assert sum(row["count"] for row in found["reliability"]["bins"]) == 40
    assert found["ece"] == found["reliability"]["ece"]["value"]
    low, high = found["labels"][0]["f1_interval"]
    assert low < found["labels"][0]["f1"] < high
    screen = run_cli(*run).stdout.decode()
    assert "its probabilities are uncalibrated" in screen
    assert "Brier score" in screen
    assert_sealed(run_cli(*run, "-f", "html").stdout.decode())
    config = tmp_path / "c.toml"
    config.write_text("[evaluate]\nsplit = 'all'\n")
    named = run_cli("--config", config, *run[:-2], "--split-file", "gone.json")
    assert "is not the data that" in named.stderr.decode()  # so its part was asked for
    config.write_text("[evaluate]\nsplit-file = 'gone.json'\nnet = 'mcnn'\n")
    left_out = run_cli("--config", config, *run, "-f", "json")
    assert json.loads(left_out.stdout)["accuracy"]["value"] == 0.75


def test_values_of_the_config_file_that_do_not_apply(
    run_cli: Any, tmp_path: Path, predicted: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        "[evaluate]\nfpr = 0.01\nclean = 'gone'\nexclude = ['*']\nroot = ['gone']\nepochs = 3\n"
        "split-file = 'gone'\ndevice = 'cpu'\n"
    )
    done = run_cli("--config", config, "evaluate", "--predictions", predicted)
    assert (done.returncode, done.stderr) == (0, b"")


def test_charts_without_matplotlib_are_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for arguments in (["--png", "a.png"], ["-f", "html"]):
        done = CliRunner().invoke(application(), ["evaluate", "no-such-bundle", *arguments])
        assert isinstance(done.exception, MaltriageError)
        assert install_extra("study") in str(done.exception)


def test_what_cannot_be_drawn_is_said_before_the_work(
    run_cli: Any, tmp_path: Path, predicted: Path
) -> None:
    clean = write_tree(tmp_path / "clean", {"package": 3})
    one = tmp_path / "one"
    for arguments, message in (
        (("maltriage-evidence", "--predictions", predicted), "leave out a model"),
        (("--predictions", predicted, "--clean", tmp_path), "leave out --clean"),
        (("--predictions", predicted, "--open-set", tmp_path), "leave out --open-set"),
        (("--predictions", predicted, "--exclude", "*"), "leave out --exclude"),
        (("--predictions", predicted, "--png", tmp_path / "no" / "a.png"), "no such folder"),
        (("--predictions", predicted, "--png", one, "-o", one), "name the same file"),
        (("maltriage-evidence", "--clean", clean, "-f", "html"), "no picture and no page"),
        (("maltriage-evidence", "--clean", clean, "--png", one), "no picture and no page"),
        (("maltriage-evidence", "--clean", "gone"), "gone: no such file or folder of clean files"),
    ):
        done = run_cli("evaluate", *arguments)
        assert done.returncode == 2
        assert message in done.stderr.decode()


def test_files_in_the_index_of_the_model_are_counted(run_cli: Any, tmp_path: Path) -> None:
    bundle = plant(tmp_path / "planted.onnx", weights((0, 1, 1.0)))
    for i in range(4):
        path = tmp_path / "zoo" / LABELS[i % 2] / f"{i}.exe"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample("console-x86.exe") + b"tail" * i)
    run = ("evaluate", bundle.path, "--root", "zoo", "--split", "all", "--min-samples", "1")
    shown = run_cli(*run).stdout.decode()
    assert "the overlap with the training files is not known" in shown
    for name in (f"{LABELS[0]}/2.exe", f"{LABELS[1]}/3.exe"):
        (tmp_path / "part" / name).parent.mkdir(parents=True)
        shutil.copy(tmp_path / "zoo" / name, tmp_path / "part" / name)
    built = run_cli("index", "build", bundle.path, "--root", "part", "-o", "planted.index.npz")
    assert built.returncode == 0, built.stderr
    shown = run_cli(*run).stdout.decode()
    assert "2 of 4 files are in the model's index, usually of its training files" in shown
