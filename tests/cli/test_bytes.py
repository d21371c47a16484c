"""Hex dumps and pictures from training to the account of one file, as processes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import program, write_big2015, write_dump, write_png
from hostile.make import sample

TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="needs the extra `train`")
SHORT = (
    *("--image-size", "16", "--epochs", "1", "--batch-size", "8"),
    *("--threads", "1", "--jobs", "1"),
)


def lines(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


@needs_torch
def test_big2015_from_training_to_an_account(run_cli: Any, tmp_path: Path) -> None:
    root = write_big2015(tmp_path / "data" / "big2015", {1: 8, 2: 8, 9: 1})
    (root / "train" / "zz.bytes").write_text("00401000 no dump\n")
    environment = {"MALTRIAGE_DATA": str(tmp_path / "data")}
    trained = run_cli("train", "--dataset", "big2015", *SHORT, "--out", "run", env=environment)
    assert trained.returncode == 0, trained.stderr.decode()
    assert "16 samples, 2 labels" in trained.stdout.decode()
    notes = trained.stderr.decode()
    assert "not in trainLabels.csv" in notes
    assert "Gatak (1)" in notes
    bundle = tmp_path / "run" / "big2015-evidence.onnx"
    card = json.loads(run_cli("models", bundle, "--json").stdout)
    assert card["input"] == ["bytes"]
    assert [view["name"] for view in card["views"]] == ["body", "head"]

    (root / "program.exe").write_bytes(sample("console-x86.exe"))
    scanned = run_cli("scan", "--model", bundle, "-f", "ndjson", root)
    assert scanned.returncode == 3  # for zz.bytes; what the model was not made for is a skip
    *found, summary = lines(scanned.stdout)
    assert (summary["files"], summary["failed"], summary["skipped"]) == (17, 1, 2)
    codes = {Path(r["path"]).name: r["code"] for r in found if r["type"] != "result"}
    assert codes == {
        "program.exe": "input",
        "zz.bytes": "damaged-dump",
        "trainLabels.csv": "not-pe",
    }
    (reason,) = [r["reason"] for r in found if r["type"] == "error"]
    assert "line 1" in reason

    dump = root / "train" / "1x000.bytes"
    explained = run_cli("explain", "--model", bundle, dump)
    assert explained.returncode == 0, explained.stderr.decode()
    screen = explained.stdout.decode()
    assert "hex dump" in screen
    assert "00401000" in screen

    measured = run_cli("evaluate", bundle, "--dataset", "big2015", env=environment)
    assert measured.returncode == 0, measured.stderr.decode()
    assert b"macro-F1" in measured.stdout
    nowhere = run_cli("train", "--dataset", "big2015", "--views", "body,header", env=environment)
    assert nowhere.returncode == 2
    assert b"have no PE header" in nowhere.stderr


@needs_torch
def test_a_net_reads_unknown_bytes_as_it_learned_them(run_cli: Any, tmp_path: Path) -> None:
    root = write_big2015(tmp_path / "big2015", {1: 8, 2: 8})
    dump = root / "train" / "1x000.bytes"
    dump.write_text(dump.read_text().rstrip()[:-5] + "?? ??\n")
    command = ("train", "--dataset", "big2015", "--root", root, *SHORT, "--out", "run")
    trained = run_cli(*command, "--unmapped", "255")
    assert trained.returncode == 0, trained.stderr.decode()
    bundle = tmp_path / "run" / "big2015-evidence.onnx"
    assert json.loads(run_cli("models", bundle, "--json").stdout)["unmapped"] == 255
    explained = run_cli("explain", "--model", bundle, "-f", "json", "--no-verify", dump)
    assert explained.returncode == 0, explained.stderr.decode()
    record = json.loads(explained.stdout)
    (notice,) = [n["text"] for n in record["notices"] if n["code"] == "unmapped"]
    assert notice.endswith("read as 0xff.")
    # Its content is read by another worker, which refuses a file with other bytes than before.
    assert record["evidence"]["hot"][0]["content"]
    # Evaluation finds the very samples that the split of the run names.
    measured = run_cli("evaluate", bundle, "--dataset", "big2015", "--root", root)
    assert measured.returncode == 0, measured.stderr.decode()
    resumed = run_cli("train", "--out", "run", "--resume", "--jobs", "1")
    assert resumed.returncode == 0, resumed.stderr.decode()
    for wrong in ("-1", "256", "x"):
        assert run_cli("train", *command[1:], "--unmapped", wrong).returncode == 2


@needs_torch
def test_resized_copies_of_malimg(run_cli: Any, tmp_path: Path) -> None:
    root = tmp_path / "malimg"
    for number, family in enumerate(("Allaple.A", "Yuner.A")):
        for i in range(8):
            write_png(root / "train" / family / f"{i}.png", program(number, i)[1024:5120], 64)
    command = ("train", "--dataset", "malimg", "--root", root, *SHORT, "--out", "run")
    refused = run_cli(*command)
    assert refused.returncode == 2
    assert b"all 16 images are 64 x 64, resized copies" in refused.stderr
    assert not (tmp_path / "run").exists()
    trained = run_cli(*command, "--allow-resized")
    assert trained.returncode == 0, trained.stderr.decode()
    bundle = tmp_path / "run" / "malimg-evidence.onnx"
    card = json.loads(run_cli("models", bundle, "--json").stdout)
    assert card["input"] == ["picture"]
    assert [view["name"] for view in card["views"]] == ["body"]
    dump = write_dump(tmp_path / "a.bytes", program(0, 0))
    scanned = run_cli("scan", "--model", bundle, "-f", "ndjson", root / "train" / "Yuner.A", dump)
    assert scanned.returncode == 3  # the dump was named, and is of another format
    *found, summary = lines(scanned.stdout)
    assert (summary["files"], summary["skipped"]) == (8, 1)
    assert {r["format"] for r in found if r["type"] == "result"} == {"picture"}
    measured = run_cli("evaluate", bundle, "--dataset", "malimg", "--root", root, "--split", "all")
    assert measured.returncode == 0, measured.stderr.decode()
    resumed = run_cli("train", "--out", "run", "--resume", "--jobs", "1")
    assert resumed.returncode == 0, resumed.stderr.decode()


def test_the_model_that_ships_skips_hex_dumps(run_cli: Any, tmp_path: Path) -> None:
    write_dump(tmp_path / "in" / "a.bytes", sample("console-x86.exe"), 0x400000)
    scanned = run_cli("scan", tmp_path / "in")
    assert scanned.returncode == 3
    assert b"nothing was triaged: skipped: 1 of a format that" in scanned.stderr
    assert b"1 file skipped: a hex dump, where the model was made for" in scanned.stdout
    explained = run_cli("explain", tmp_path / "in" / "a.bytes")
    assert (explained.returncode, explained.stdout) == (3, b"")
