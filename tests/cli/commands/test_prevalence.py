"""`maltriage prevalence`, and what `explain` and its rules do with the index, as processes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for package, name in (("a", "console-x86.exe"), ("b", "overlay-x86.exe"), ("c", "gui-x86.exe")):
        (tmp_path / "clean" / package).mkdir(parents=True)
        shutil.copy(SAMPLES / name, tmp_path / "clean" / package)
    return tmp_path / "clean"


def test_an_own_index(run_cli: Any, clean: Path, tmp_path: Path) -> None:
    done = run_cli("prevalence", "build", clean, "-o", "own.npz", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"own.npz: ")
    assert done.stdout.endswith(b"from 3 files of 3 packages\n")
    said, heading, *makers = run_cli("prevalence", "show", "own.npz").stdout.decode().splitlines()
    assert said == done.stdout.decode().rstrip()
    assert (heading, makers[0].split()) == ("packages  with programs made with", ["3", "MinGW"])
    told = json.loads(
        run_cli(
            *("explain", SAMPLES / "console-x86.exe", "-f", "json"),
            *("--prevalence", "own.npz", "--no-verify", "--exit-zero"),
        ).stdout
    )["evidence"]
    assert told["common"]["of"] == 3
    assert told["common"]["share"] > 0.5  # two of them are nearly the same program
    assert all(0 <= hot["common"]["share"] <= 1 for hot in told["hot"])
    regions = [region["common"] for region in told["regions"]]
    assert abs(sum(c["contribution"] for c in regions) - told["common"]["contribution"]) < 1e-6
    assert abs(sum(c["texts"] for c in regions) - told["common"]["texts"]) < 1e-6
    shown = run_cli(
        "explain",
        SAMPLES / "console-x86.exe",
        "--prevalence",
        "own.npz",
        "--no-verify",
        "--exit-zero",
    ).stdout.decode()
    amounts = {
        name: float(re.search(rf"{name} +([+-][0-9.]+)", shown)[1])  # type: ignore[index]
        for name in (
            "code and data that clean programs have",
            "texts that clean programs have",
            "the file's own bytes",
            "padding, baseline and bias",
        )
    }
    assert abs(sum(amounts.values()) - told["logit"]) < 0.01
    assert amounts["texts that clean programs have"]
    assert any(line.split()[5:6] == ["common"] for line in shown.splitlines())
    assert "is in clean programs, a typical byte of " in shown
    assert "in 2 of 3 packages" in shown or "in 3 of 3 packages" in shown
    none = run_cli(
        "explain", SAMPLES / "console-x86.exe", "--prevalence", "none", "--no-verify", "--exit-zero"
    ).stdout.decode()
    assert "clean programs have" not in none


def test_one_that_is_broken_is_wrong_use(run_cli: Any, clean: Path, tmp_path: Path) -> None:
    """Also where only its entries are, which workers read."""
    run_cli("prevalence", "build", clean, "-o", "own.npz", "-q")
    data = bytearray((tmp_path / "own.npz").read_bytes())
    at = data.index(b"pieces_high.npy") + 60
    data[at : at + 40] = b"\xff" * 40
    (tmp_path / "own.npz").write_bytes(data)
    explain = ("explain", SAMPLES / "console-x86.exe", "--no-verify")
    done = run_cli(*explain, "--prevalence", "own.npz")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b"maltriage: own.npz: no index of clean programs: pieces_high is damaged\n"
    )


def test_what_it_knows_is_in_no_rule(run_cli: Any, clean: Path, tmp_path: Path) -> None:
    pytest.importorskip("yara_x", reason="needs the extra `yara`")
    run_cli("prevalence", "build", clean, "-o", "own.npz", "-q")
    files = [SAMPLES / "console-x86.exe", SAMPLES / "overlay-x86.exe"]
    make = ("explain", *files, "--class", "icedid", "--yara", "a.yar", "--exit-zero")
    assert run_cli(*make, "--prevalence", "none").returncode == 0
    before = told((tmp_path / "a.yar").read_text())
    assert "string" in before
    done = run_cli(*make, "--prevalence", "own.npz")
    assert done.returncode in (0, 2)  # what is left may be too little for a rule
    after = told((tmp_path / "a.yar").read_text()) if done.returncode == 0 else []
    assert len(after) < len(before) / 2
    assert "string" not in after


def told(rule: str) -> list[str]:
    """The kinds of the strings of a rule."""
    return re.findall(r'evidence_\w+ = "(\w+) ', rule)


def test_an_index_is_extended_and_shown(run_cli: Any, clean: Path) -> None:
    run_cli("prevalence", "build", clean, "-o", "own.npz", "-q")
    done = run_cli("prevalence", "build", clean, "--extend", "own.npz", "-o", "more.npz", "-q")
    assert done.stdout.endswith(b"from 6 files of 6 packages\n")
    shown = run_cli("prevalence", "show", "more.npz").stdout.decode()
    assert shown.startswith("more.npz: ")
    assert "from 6 files of 6 packages" in shown
    ours = run_cli("prevalence", "show").stdout.decode().splitlines()
    assert "clean-programs.npz: " in ours[0]
    done = run_cli("prevalence", "build", clean, "--extend", "none.npz", "-o", "x.npz")
    assert (done.returncode, b"cannot read none.npz" in done.stderr) == (2, True)


def test_wrong_use(run_cli: Any, clean: Path, tmp_path: Path) -> None:
    done = run_cli("prevalence", "build", clean, "-o", "own.exe")
    assert (done.returncode, b"ends in .npz" in done.stderr) == (2, True)
    done = run_cli("prevalence", "build", tmp_path / "missing", "-o", "own.npz")
    assert (done.returncode, b"no folder" in done.stderr) == (2, True)
    (tmp_path / "x.npz").write_bytes(b"no index")
    done = run_cli("explain", SAMPLES / "gui-x86.exe", "--prevalence", "x.npz")
    assert (done.returncode, b"no index of clean programs" in done.stderr) == (2, True)
