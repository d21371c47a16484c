"""The script that builds installers of clean programs: its list, and what it builds."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hostile.make import sample

from benchmarks import goodware, installers
from maltriage.probe.prepare import PrepareOptions
from maltriage.source.samples import read_sample

ROWS = installers.read(installers.MANIFEST)


def test_the_list_has_what_each_part_needs() -> None:
    counts = Counter((row["part"], row["tool"]) for row in ROWS)
    wanted = {
        (part, tool): count
        for part, tools in installers.COUNTS.items()
        for tool, count in tools.items()
    }
    assert counts == wanted
    assert len({row["sha256"] for row in ROWS}) == len(ROWS)


def test_an_installer_holds_programs_of_its_own_part() -> None:
    """A program in two parts would be known from training where it is tested with."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in goodware.read(goodware.FILES):
        counts[line["part"], f"{line['kind-platform']}-{line['package'].replace('/', '-')}"] += 1
    for row in ROWS:
        count, _, package = row["programs"].partition(" of ")
        assert 0 < int(count) <= counts[row["part"], package]


def test_the_list_is_made_of_every_choice() -> None:
    for tool in ("nsis", "nsis-debian"):
        words = Counter(
            word for row in ROWS if row["tool"] == tool for word in row["options"].split()
        )
        choices = (
            "lzma zlib bzip2 solid each unicode ansi modern plain admin user version unversioned"
        )
        assert set(words) == set(choices.split())
        assert min(words.values()) >= 4


def test_an_installer_that_cannot_be_built_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whose bytes differ too, and neither is kept."""

    class Broken:
        def __init__(self, *folders: Path) -> None:
            pass

        def build(self, tool: str, options: str, name: str, programs: list[Path]) -> bytes:
            if tool == "7z":
                raise FileNotFoundError("7zz")
            return tool.encode() + b" built"

    monkeypatch.setattr(installers, "Tools", Broken)
    folder = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["installers", str(folder), "--goodware", str(tmp_path)])
    assert installers.main() == 1
    told = capsys.readouterr().err
    assert "missing: train: 7z of " in told
    assert "7zz" in told
    assert "differs: test: pyinstaller of " in told
    assert "makensis v3.08" in told
    assert not folder.exists()


@pytest.mark.skipif(shutil.which("makensis") is None, reason="makensis is not installed")
@pytest.mark.parametrize("number", [0, 3])
def test_a_real_installer(number: int, tmp_path: Path) -> None:
    """It comes out the same twice, and is read as what it is."""
    program = tmp_path / "program"
    program.write_bytes(sample("console-x86.exe"))
    tools = object.__new__(installers.Tools)
    tools.empty = tmp_path
    options = installers.options_of("nsis-debian", number)
    built = [tools.build("nsis-debian", options, "example", [program]) for _ in range(2)]
    assert built[0] == built[1]
    (tmp_path / "installer.exe").write_bytes(built[0])
    content = read_sample(tmp_path / "installer.exe", PrepareOptions(()))
    assert b"NullsoftInst" in content.data


def test_labels_are_those_of_a_dataset(tmp_path: Path) -> None:
    row = {"sha256": "ab", "tool": "7z", "programs": "2 of npm-any-turbo"}
    installers.write_labels(tmp_path, [row])
    with (tmp_path / "labels.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert line == {
        "path": "ab.exe",
        "family": "benign",
        "source": "installers",
        "package": "npm-any-turbo",
        "packer": "7z",
    }
