"""What a file was made with: `scan --identify`, `explain`, and signatures of library functions."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from maltriage.errors import MaltriageError
from maltriage.probe import detect_it_easy
from maltriage.probe.inspect import library


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
    for need in (detect_it_easy.need_identify, library.need_flirt):
        with pytest.raises(MaltriageError, match=r"maltriage\[identify\]"):
            need()


def test_signatures_that_are_none_are_refused_before_anything_is_read(
    run_cli, samples_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("flirt", reason="the extra `identify` is not installed")
    done = run_cli("explain", samples_dir / "console-x86.exe", "--signatures", tmp_path)
    assert done.returncode == 2
    assert b"no FLIRT signatures" in done.stderr
    (tmp_path / "bad.sig").write_bytes(b"IDASGN" + bytes(100))
    done = run_cli("explain", samples_dir / "console-x86.exe", "--signatures", tmp_path)
    assert done.returncode == 3
    assert b"bad.sig: no FLIRT signatures" in done.stderr
