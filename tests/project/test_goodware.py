"""The script that fetches clean programs: its manifest, and what it does without a package."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest
from hostile.make import sample

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "goodware.py"


@pytest.fixture
def goodware() -> ModuleType:
    spec = importlib.util.spec_from_file_location("goodware", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows() -> list[dict[str, str]]:
    with SCRIPT.with_suffix(".csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_package_belongs_to_one_part_and_training_is_32_bit() -> None:
    parts = defaultdict(set)
    for row in rows():
        assert len(row["sha256"]) == 64
        assert row["version"]
        parts[row["package"]].add(row["part"])
        if row["part"] == "train":
            assert row["platform"] in ("win32", "i386")
    assert all(len(found) == 1 for found in parts.values())
    assert set().union(*parts.values()) == {"train", "calibration", "test"}


def test_a_package_that_is_gone_costs_only_itself(
    goodware: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ("console-x86.exe", "gui-x86.exe")
    wheel = tmp_path / "good-1-py3-none-win32.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("good/read.me", "no program")
        for name in (*names, names[0]):
            archive.writestr(f"good/{len(archive.namelist())}.pyd", sample(name))

    def download(row: dict[str, str], folder: Path) -> Path:
        if row["package"] == "gone":
            raise ValueError("no such version")
        return wheel

    manifest = tmp_path / "goodware.csv"
    line = "train,wheel,win32,{},1,0\n"
    manifest.write_text(
        ",".join(goodware.COLUMNS) + "\n" + line.format("gone") + line.format("good")
    )
    monkeypatch.setattr(goodware, "MANIFEST", manifest)
    monkeypatch.setattr(goodware, "download", download)
    monkeypatch.setattr(sys, "argv", ["goodware.py", str(tmp_path / "out")])
    assert goodware.main() == 1
    said = capsys.readouterr()
    assert said.out == "train: 2 programs\n"
    assert said.err == "missing: wheel-win32-gone 1: no such version\n"
    files = sorted(path.stem for path in (tmp_path / "out").rglob("*.exe"))
    assert files == sorted(hashlib.sha256(sample(name)).hexdigest() for name in names)
