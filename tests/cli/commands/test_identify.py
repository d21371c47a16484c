"""What a file was made with: `scan --identify`, `explain`, and signatures of library functions."""

from __future__ import annotations

import csv
import io
import json
import struct
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maltriage.cli.app import application
from maltriage.cli.commands import explain
from maltriage.errors import MaltriageError
from maltriage.probe.inspect import library
from maltriage.version import install_extra
from maltriage.work.workers import Workers

GOOD = "558BEC83EC0C" + ".." * 26 + " 00 0000 0040 :0000 _main\n---\n"
MAX_SIZE = 1 << 20


def test_headers_alone_fill_the_record_and_no_column(run_cli, samples_dir: Path) -> None:
    path = samples_dir / "dotnet.exe"
    (record, _) = (
        json.loads(line) for line in run_cli("scan", path, "-f", "ndjson").stdout.splitlines()
    )
    assert record["identity"]["made_with"] == [
        {"kind": "language", "name": ".NET", "version": None, "by": "headers"}
    ]
    assert b"made with" not in run_cli("scan", path).stdout
    (row,) = csv.DictReader(io.StringIO(run_cli("scan", path, "-f", "csv").stdout.decode()))
    assert row["made_with"] == ".NET"


def test_identify_asks_detect_it_easy(run_cli, samples_dir: Path) -> None:
    pytest.importorskip("die", reason="the extra `identify` is not installed")
    path = samples_dir / "dotnet.exe"
    table = run_cli("scan", "--identify", path, env={"COLUMNS": "200"}).stdout.decode()
    assert "made with" in table
    done = run_cli("scan", "--identify", path, "-f", "ndjson", "--ecs")
    tools = json.loads(done.stdout.splitlines()[0])["maltriage"]["identity"]["made_with"]
    assert {tool["by"] for tool in tools} == {"headers", "die"}
    shown = run_cli("explain", path).stdout.decode()
    assert "made with" in shown
    assert "by Detect It Easy" in " ".join(shown.split())


def test_kept_results_without_its_names_do_not_serve_a_scan_with_them(
    run_cli, samples_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("die", reason="the extra `identify` is not installed")
    for option, by in (((), {"headers"}), (("--identify",), {"headers", "die"})):
        done = run_cli(
            "scan", *option, samples_dir / "dotnet.exe", "-f", "ndjson", "--cache", tmp_path
        )
        tools = json.loads(done.stdout.splitlines()[0])["identity"]["made_with"]
        assert {tool["by"] for tool in tools} == by


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for arguments in (["scan", "--identify"], ["explain", "--signatures", "folder"]):
        done = CliRunner().invoke(application(), [*arguments, "a.exe"])
        assert isinstance(done.exception, MaltriageError)
        assert install_extra("identify") in str(done.exception)


def test_signatures_that_are_none_are_refused_before_anything_is_read(
    run_cli, samples_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("flirt", reason="the extra `identify` is not installed")
    done = run_cli("explain", samples_dir / "console-x86.exe", "--signatures", tmp_path)
    assert done.returncode == 2
    assert b"no FLIRT signatures" in done.stderr
    (tmp_path / "bad.sig").write_bytes(b"IDASGN" + bytes(100))
    done = run_cli("explain", samples_dir / "console-x86.exe", "--signatures", tmp_path)
    assert done.returncode == 2
    assert b"bad.sig: no FLIRT signatures" in done.stderr


def of_many_bytes() -> bytes:
    """A file whose name is no text: the library's error has every byte of it."""
    head = b"IDASGN" + bytes([5, 0]) + struct.pack("<IHHH", 0xFFFFFFFF, 0xFFFF, 0, 0)
    return head + bytes([8, 0, 0, 0]) + b"ct".ljust(12, b"\0") + b" nam" + b"\xff" * 100_000


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.pat", b"zzz"), ("a.pat", b""), ("a.sig", b"IDASGN"), ("a.sig", of_many_bytes())],
)
def test_signatures_that_are_none_are_wrong_use_in_a_short_line(
    run_cli, samples_dir: Path, tmp_path: Path, name: str, data: bytes
) -> None:
    pytest.importorskip("flirt", reason="the extra `identify` is not installed")
    (tmp_path / name).write_bytes(data)
    done = run_cli("explain", samples_dir / "console-x86.exe", "--signatures", name)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(f"maltriage: {tmp_path / name}: no FLIRT signatures: ".encode())
    assert done.stderr.count(b"\n") == 1
    assert len(done.stderr) < 500


def test_signatures_that_can_be_read_are_not_refused(tmp_path: Path) -> None:
    pytest.importorskip("flirt", reason="the extra `identify` is not installed")
    (tmp_path / "a.pat").write_text(GOOD)
    assert library.problem_of(tmp_path) is None
    explain._refuse_broken(tmp_path, MAX_SIZE, 60.0)


def test_a_worker_that_dies_of_signatures_is_their_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flirt", reason="the extra `identify` is not installed")
    submit = Workers.submit
    monkeypatch.setattr(Workers, "submit", lambda self, *_: submit(self, sum, 3))
    with pytest.raises(MaltriageError, match="no FLIRT signatures: TypeError"):
        explain._refuse_broken(tmp_path, MAX_SIZE, 60.0)
