"""`maltriage explain --yara` as a process: the file that it writes, and when it writes none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import servers
import yara_x
from corpus.synthetic import zipped
from hostile.make import sample

from maltriage.version import install_extra

FAMILY = ("--class", "maze", "--no-verify", "--exit-zero", "--prevalence", "none")
"""The index of clean programs that ships knows the start-up code that the samples share."""
EPOCH = {"SOURCE_DATE_EPOCH": "1767312000"}


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    return tmp_path / "out" / "a.yar"


def test_a_rule_is_written(run_cli: Any, tmp_path: Path, samples_dir: Path, rule: Path) -> None:
    rule.parent.mkdir()
    good = tmp_path / "good"
    good.mkdir()
    (good / "a.dll").write_bytes(sample("library-x64.dll"))
    paths = [samples_dir / "gui-x86.exe", samples_dir / "console-x86.exe"]
    done = run_cli(
        "explain", *paths, *FAMILY, "--yara", rule, "--goodware", good, "-f", "json", env=EPOCH
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2  # a record of each file
    assert b"in none of 1 clean files" in done.stderr
    assert b"warning: no clean file was tried that is 32-bit, made with MinGW" in done.stderr
    assert [path.name for path in rule.parent.iterdir()] == ["a.yar"]
    text = rule.read_text()
    assert 'date = "2026-01-02"' in text
    compiled = yara_x.compile(text)
    assert all(compiled.scan(path.read_bytes()).matching_rules for path in paths)
    assert not compiled.scan(sample("library-x64.dll")).matching_rules
    before = rule.read_bytes()
    again = run_cli("explain", *paths, *FAMILY, "--yara", rule, "--goodware", good, "-q", env=EPOCH)
    assert (again.stdout, again.stderr, rule.read_bytes()) == (b"", b"", before)
    printed = run_cli("explain", *paths, *FAMILY, "--yara", "-", "--goodware", good, env=EPOCH)
    assert printed.stdout == before
    assert printed.stderr.startswith(b"the rule: maltriage_maze, ")
    both = ("--yara", "-", "--goodware", good, "-o", tmp_path / "both.json")
    assert run_cli("explain", *paths, *FAMILY, *both, "-q", env=EPOCH).stdout == before
    assert len((tmp_path / "both.json").read_bytes().splitlines()) == 2


def test_programs_in_archives_and_in_programs(run_cli: Any, tmp_path: Path, rule: Path) -> None:
    """A rule is made of a file that has no path of its own on the disk, too."""
    rule.parent.mkdir()
    program, carrier = sample("gui-x86.exe"), sample("console-x86.exe")
    (tmp_path / "a.zip").write_bytes(zipped({"a.exe": program}, "secret"))
    (tmp_path / "b.exe").write_bytes(carrier + program)
    given = ("a.zip!a.exe", f"b.exe!carved@{len(carrier):#x}.exe")
    for files in (given[:1], given[1:], ("a.zip", "b.exe")):
        done = run_cli(
            "explain", *files, *FAMILY, "--yara", rule, "--password", "secret", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert yara_x.compile(rule.read_text()).scan(program).matching_rules


def test_a_program_that_is_read_in_part(run_cli: Any, tmp_path: Path, rule: Path) -> None:
    """It is mapped into memory, like every program of 64 MiB or more; YARA-X takes only bytes."""
    rule.parent.mkdir()
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe") + bytes(1 << 20))
    done = run_cli("explain", path, *FAMILY, "--yara", rule, "--max-size", "1")
    assert done.returncode == 0, done.stderr
    assert yara_x.compile(rule.read_text()).scan(path.read_bytes()).matching_rules


@servers.needs_remote
def test_a_program_in_an_archive_at_a_url(run_cli: Any, rule: Path) -> None:
    rule.parent.mkdir()
    program = sample("gui-x86.exe")
    with servers.site() as site:
        site.pages["/a.zip"] = servers.Page(zipped({"a.exe": program}))
        done = run_cli("explain", f"{site.url}/a.zip", *FAMILY, "--yara", rule)
    assert done.returncode == 0, done.stderr
    assert yara_x.compile(rule.read_text()).scan(program).matching_rules


def test_labelled_files_are_tried(
    run_cli: Any, tmp_path: Path, samples_dir: Path, rule: Path
) -> None:
    """A folder for each label: what the rule matches there is in it, and on stderr."""
    rule.parent.mkdir()
    root = tmp_path / "root"
    for label, name in (
        ("maze", "overlay-x86.exe"),
        ("locky", "dotnet.exe"),
        ("benign", "library-x64.dll"),
    ):
        (root / label).mkdir(parents=True)
        (root / label / name).write_bytes(sample(name))
    paths = [samples_dir / "gui-x86.exe", samples_dir / "console-x86.exe"]
    done = run_cli("explain", *paths, *FAMILY, "--yara", rule, "--labelled", root)
    assert done.returncode == 0, done.stderr
    said = b"in none of 1 clean files; in 0 of 1 of other families; in 1 of 1 others of the family"
    assert said in done.stderr
    assert 'recall = "1 of 1 other files of the family"' in rule.read_text()


def test_what_is_left_out_is_said(run_cli: Any, tmp_path: Path, samples_dir: Path) -> None:
    paths = [samples_dir / name for name in ("gui-x86.exe", "console-x86.exe", "driver-x64.sys")]
    done = run_cli("explain", *paths, *FAMILY, "--yara", tmp_path / "a.yar")
    assert done.returncode == 0, done.stderr
    said = f"left out: {paths[2]} shares too few strings with the others"
    assert said.encode() in done.stderr


def test_no_rule_no_file(run_cli: Any, tmp_path: Path, samples_dir: Path, rule: Path) -> None:
    """What a clean file has as well makes no rule, and an older one stays as it is."""
    rule.parent.mkdir()
    rule.write_text("an older one")
    good = tmp_path / "good"
    good.mkdir()
    (good / "a.exe").write_bytes(sample("gui-x86.exe"))
    path = samples_dir / "gui-x86.exe"
    done = run_cli("explain", path, *FAMILY, "--yara", rule, "--goodware", good)
    assert done.returncode == 2
    assert done.stderr.startswith(b"maltriage: no rule: ")
    assert done.stderr.count(b"\n") == 1
    assert [path.name for path in rule.parent.iterdir()] == ["a.yar"]
    assert rule.read_text() == "an older one"


def test_a_file_that_is_no_program(run_cli: Any, tmp_path: Path, samples_dir: Path) -> None:
    (tmp_path / "text").write_bytes(b"no program")
    done = run_cli(
        "explain", samples_dir / "gui-x86.exe", "text", *FAMILY, "--yara", "a.yar", cwd=tmp_path
    )
    assert done.returncode == 2
    assert b"no rule: text: neither a PE file" in done.stderr
    assert not (tmp_path / "a.yar").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.exe", "--yara", "-", "-f", "json"], b"--yara - prints the rule: name a file"),
        (["a.exe", "--goodware", "."], b"--goodware goes with --yara"),
        (["a.exe", "--labelled", "."], b"--labelled goes with --yara"),
        (["a.exe", "--yara", "a.yar", "--labelled", "b"], b"b: no folder of labelled files"),
        (["a.exe", "--yara", "b.exe"], b"ends in .yar or .yara"),
        (["a.exe", "--yara", "nowhere/a.yar"], b"no folder nowhere"),
        (["a.exe", "--yara", "a.yar", "--goodware", "a.exe"], b"no folder of clean files"),
        ([".", "--yara", "a.yar"], b"a folder"),
    ],
)
def test_wrong_use(run_cli: Any, tmp_path: Path, arguments: list[str], reason: bytes) -> None:
    for name in ("a.exe", "b.exe"):
        (tmp_path / name).write_bytes(sample("gui-x86.exe"))
    done = run_cli("explain", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stdout == b""
    assert (tmp_path / "b.exe").read_bytes() == sample("gui-x86.exe")


def test_a_wrong_date(run_cli: Any, samples_dir: Path) -> None:
    done = run_cli(
        "explain", samples_dir / "gui-x86.exe", "--yara", "a.yar", env={"SOURCE_DATE_EPOCH": "now"}
    )
    assert done.returncode == 2
    assert b"SOURCE_DATE_EPOCH is not a time in seconds: 'now'" in done.stderr


def test_without_yara_x(tmp_path: Path, samples_dir: Path) -> None:
    """The base install has no yara-x: one line says what to install, and all else works."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "yara_x":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "yara_x" else found(name, *a)
from maltriage.cli.entry import main
main()
"""
    command = [sys.executable, "-c", code, "explain", str(samples_dir / "gui-x86.exe")]
    how: Any = {"cwd": tmp_path, "capture_output": True}
    done = subprocess.run([*command, "--yara", "a.yar"], check=False, **how)
    assert done.returncode == 2
    assert install_extra("yara").encode() in done.stderr
    assert not (tmp_path / "a.yar").exists()
    plain = subprocess.run([*command, "--exit-zero"], check=False, **how)
    assert plain.returncode == 0, plain.stderr
