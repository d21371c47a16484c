"""`maltriage compare`, as a process."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from corpus.synthetic import write_tree

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs the extra `train`"
)
SHORT = (
    *("--dataset", "folder", "--nets", "gibert,evidence", "--views", "body,head", "--seeds", "1"),
    *("--folds", "2", "--image-size", "16", "--epochs", "1,gibert=2", "--batch-size", "8"),
    *("--threads", "1", "--jobs", "1"),
)


@needs_torch
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nets", "gibert,vgg"], "no such net: vgg"),
        (["--folds", "1"], "two or more"),
        (["--nets", "gibert", "--reference", "mcnn"], "no row of that name"),
        (["--with", "gone.csv"], "cannot read predictions gone.csv"),
        (["--no-train"], "no study out"),
    ],
)
def test_wrong_use(run_cli: Any, tmp_path: Path, arguments: list[str], words: str) -> None:
    found = run_cli("compare", "--out", "out", *arguments)
    assert found.returncode == 2
    assert found.stdout == b""
    assert words in found.stderr.decode()
    assert found.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


@needs_torch
def test_a_device_that_is_not_there(run_cli: Any, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    tree = write_tree(tmp_path / "tree", {"benign": 12, "zeus": 10})
    asked = ("--out", "study", "--accelerator", "cuda", *SHORT)
    found = run_cli("compare", "--root", str(tree), *asked)
    assert (found.returncode, found.stdout) == (2, b"")
    assert b"CUDA" in found.stderr
    assert not (tmp_path / "study").exists()


@needs_torch
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process alone")
def test_a_study_killed_stopped_and_gone_on_with(run_cli: Any, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"benign": 12, "zeus": 10})
    command = ["compare", "--root", str(tree), *SHORT, "--out", "study"]
    first, second = (
        tmp_path / "study" / "gibert" / "seed-0" / f"fold-{fold}" / "gibert.onnx" for fold in (0, 1)
    )
    stamps = dict[Path, int]()
    for number, (path, code) in enumerate(((first, -signal.SIGKILL), (second, 130))):
        process = subprocess.Popen(
            [sys.executable, "-m", "maltriage", *command],
            cwd=tmp_path,
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            until = time.monotonic() + 300
            while not path.exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(signal.SIGINT if number else signal.SIGKILL)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == code
        assert out == b""
        assert (b"The same command goes on" in err) == bool(number)
        stamps[path] = path.stat().st_mtime_ns
        assert first.stat().st_mtime_ns == stamps[first]

    half = run_cli(*command, "--no-train", "-f", "json", "-q", timeout=300)
    assert half.returncode == 0, half.stderr.decode()
    assert [row["name"] for row in json.loads(half.stdout)["rows"]] == ["gibert"]

    whole = run_cli(*command, "-f", "json", timeout=600)
    assert whole.returncode == 0, whole.stderr.decode()
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    document = json.loads(whole.stdout)
    assert document == json.loads((tmp_path / "study" / "table.json").read_text())
    assert document["schema_version"] == "1.0"
    gibert, evidence = document["rows"]
    assert (gibert["epochs"], evidence["epochs"]) == (2, 1)
    assert evidence["agreement"]["by_construction"]
    assert not gibert["agreement"]["by_construction"]
    assert -1.0 <= gibert["agreement"]["mean"] <= 1.0
    for row in document["rows"]:
        assert row["samples"] == 22
        assert row["scan_difference"] < 1e-5
        assert row["timing"]["median"] > 0
        assert row["flops"] > row["parameters"] > 0
    assert evidence["difference"]["second"] == "gibert"
    assert (tmp_path / "study" / "chart.png").stat().st_size > 5000

    peer = (tmp_path / "study" / "evidence" / "seed-0" / "out-of-fold.csv").read_text()
    (tmp_path / "peer.csv").write_text(peer.replace("\nevidence,", "\npeer,"))
    joined = run_cli(*command, "--no-train", "-q", "--with", "peer.csv", timeout=300)
    assert joined.returncode == 0, joined.stderr.decode()
    assert "peer:  accuracy " in joined.stdout.decode()
    assert "\n| peer | - |" in (tmp_path / "study" / "table.md").read_text()

    other = run_cli(*command, "--epochs", "1", "-q", timeout=300)
    assert other.returncode == 2
    assert b"gibert, seed 0, fold 0: exists with epochs 2 instead of 1" in other.stderr
    (tree / "zeus" / "000.png").unlink()
    changed = run_cli(*command, "-q", timeout=300)
    assert changed.returncode == 2
    assert b"was trained on other samples" in changed.stderr
