"""`maltriage calibrate` as a process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from assess.planted import LABELS, plant, weights
from hostile.make import sample

from maltriage import bundle as bundles


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    folder = tmp_path / "clean"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i:02d}.exe").write_bytes(sample("console-x86.exe") + b"tail" * i)
    return folder


def last(text: bytes) -> str:
    return text.decode().strip().splitlines()[-1]


def test_a_threshold_that_scan_uses(run_cli: Any, tmp_path: Path, clean: Path) -> None:
    new, config = tmp_path / "mine.onnx", tmp_path / "c.toml"
    config.write_text("[calibrate]\nby = 'source'\nroot = ['gone']\ncoverage = 0.95\n")
    done = run_cli(
        *("--config", config),  # its values do not apply
        *("calibrate", "maltriage-evidence", "--goodware", clean, "--goodware", clean),
        *("--fpr", "0.1", "-o", new),
    )
    assert done.returncode == 0, done.stderr
    assert b"95 % interval" in done.stdout
    card = json.loads(run_cli("models", new, "--json").stdout)
    before = json.loads(run_cli("models", "maltriage-evidence", "--json").stdout)
    limit = card["threshold"]
    assert limit["goodware"] == "clean"
    assert 0 <= limit["low"] <= limit["flagged"] / 30 <= limit["high"] < 1
    assert card["temperature"] == before["temperature"]
    assert card["weights_sha256"] == before["weights_sha256"]
    shown = run_cli("models", new).stdout.decode()
    assert f"flagged: {limit['flagged']} of 30 clean files of clean" in shown
    assert (
        "17 of 3,392 clean files of each source"
        in run_cli("models", "maltriage-evidence").stdout.decode()
    )
    few = run_cli("calibrate", "maltriage-evidence", "--goodware", clean, "-o", new)
    assert few.returncode == 2
    assert "30 different clean files: a rate of 0.015 needs 200" in last(few.stderr)  # of the card
    again = run_cli("calibrate", new, "--goodware", clean, "-o", tmp_path / "again.onnx")
    assert b"set for 10% on clean" in again.stdout


def test_a_temperature_from_labelled_files(run_cli: Any, tmp_path: Path) -> None:
    """Without a benign label, which a temperature does not need."""
    bundle = plant(tmp_path / "planted.onnx", weights((0, 1, 1.0)))
    root = tmp_path / "mine"
    for i in range(60):
        path = root / LABELS[i >= 45] / f"{i:02d}.exe"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample("console-x86.exe") + b"tail" * i)
    assert b"says little" in run_cli("scan", path, "-m", bundle.path).stdout
    new = tmp_path / "new.onnx"
    done = run_cli("calibrate", bundle.path, "--labelled", root, "-o", new, "-f", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["threshold"] is None
    assert found["temperature"]["right"] == 45
    card = bundles.load(new).card
    assert card.temperature == found["temperature"]["temperature"]
    assert card.calibrated_on == "60 labelled files of mine"
    scanned = run_cli("scan", path, "-m", new, "-f", "ndjson").stdout.splitlines()
    verdict = json.loads(scanned[0])["verdict"]
    assert verdict["probability"] == pytest.approx(0.75, abs=1e-6)
    assert verdict["calibrated"] is True
    # All files look alike, and one in four has another label: at 90 % both labels stay possible.
    assert (sorted(verdict["set"]), verdict["coverage"]) == (sorted(LABELS[:2]), 0.9)
    assert found["sets"]["samples"] == 60
    assert card.conformal is not None
    assert card.open_set is not None
    assert card.open_set.files == found["novelty"]["files"] == 60
    assert verdict["novelty_limit"] == card.open_set.limit
    assert card.conformal.source == card.calibrated_on
    assert card.conformal.counts == {LABELS[0]: 45, LABELS[1]: 15}
    listed = run_cli("models", new).stdout.decode()
    assert "prediction sets at coverage 0.9, from probability: " in listed
    more = ("--labelled", root, "--coverage", "0.95", "-o", new)
    screen = run_cli("calibrate", bundle.path, *more).stdout.decode()
    assert "(before: none), fitted to 60 labelled files of mine" in screen
    assert "prediction sets at a coverage of 95%" in screen
    again = bundles.load(new).card.conformal
    assert again is not None
    assert (again.coverage, again.pooled) == (0.95, (LABELS[1],))


def test_wrong_use_is_said_before_the_work(run_cli: Any, tmp_path: Path, clean: Path) -> None:
    out = ("-o", tmp_path / "new.onnx")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (out, "nothing to calibrate on"),
        (("--goodware", clean, "-o", tmp_path / "no" / "new.onnx"), "no such folder"),
        (("--goodware", clean, "--goodware", "gone", "--fpr", "0.1", *out), "gone: no such file"),
        (("--labelled", tmp_path / "empty", *out), "vx-zoo"),
        (("--labelled", tmp_path / "empty", "--folds", clean, *out), "--folds goes with"),
        (("--goodware", clean, "--coverage", "0.9", *out), "--coverage goes with"),
        (("--predictions", tmp_path / "gone.csv", *out), "cannot read predictions"),
    ):
        done = run_cli("calibrate", "maltriage-evidence", *arguments)
        assert done.returncode == 2
        assert message in done.stderr.decode()
    assert not (tmp_path / "new.onnx").exists()
    program = clean / "00.exe"
    before = program.read_bytes()
    done = run_cli("calibrate", "maltriage-evidence", "--goodware", clean, "-o", program)
    assert done.returncode == 2
    assert "not overwritten, since it is no bundle" in done.stderr.decode()
    assert program.read_bytes() == before
