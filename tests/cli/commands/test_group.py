"""`maltriage group` and the groups of a scan, as processes, on real files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, samples_dir: Path) -> Path:
    """Two programs, one of them with other data behind its end and under another name too."""
    folder = tmp_path_factory.mktemp("group")
    for name in ("console-x86.exe", "console-x64.exe"):
        shutil.copy(samples_dir / name, folder)
    (folder / "changed.exe").write_bytes((folder / "console-x86.exe").read_bytes() + b"more" * 50)
    shutil.copy(folder / "changed.exe", folder / "copy.exe")
    return folder


def test_similar_files_are_one_group(run_cli: Any, folder: Path, tmp_path: Path) -> None:
    report, table = tmp_path / "a.ndjson", tmp_path / "a.csv"
    assert run_cli("scan", folder, "-o", report, "-o", table).returncode == 0
    *records, summary = map(json.loads, report.read_text().splitlines())
    group = {Path(record["path"]).name: record["group"] for record in records}
    assert group["changed.exe"] == group["copy.exe"] == group["console-x86.exe"]
    assert group["console-x64.exe"] != group["copy.exe"]
    assert summary["group_count"] == 2
    (found,) = summary["groups"]
    assert (found["files"], found["contents"]) == (3, 2)
    assert "code" in found["shared"]
    assert group["copy.exe"] in table.read_text()

    done = run_cli("group", report)
    assert done.returncode == 0
    screen = done.stdout.decode()
    assert "3 files" in screen
    assert "3 files in 1 group, 1 file like no other." in screen
    document = json.loads(run_cli("group", report, "-f", "json").stdout)
    assert document["groups"][0]["group"] == found
    members = [Path(member["path"]).name for member in document["groups"][0]["members"]]
    assert sorted(members) == ["changed.exe", "console-x86.exe", "copy.exe"]
    for name in ("groups.json", "groups.txt"):
        assert run_cli("group", report, "-o", name).returncode == 0
    assert json.loads((tmp_path / "groups.json").read_bytes()) == document
    assert "3 files in 1 group" in (tmp_path / "groups.txt").read_text()

    again = tmp_path / "again.ndjson"
    assert run_cli("scan", report, "-o", again).returncode == 0
    assert again.read_text() == report.read_text()
    assert run_cli("scan", report, "--no-groups", "-o", again).returncode == 0
    *records, summary = map(json.loads, again.read_text().splitlines())
    assert {record["group"] for record in records} == {summary["groups"]} == {None}


def test_without_groups(run_cli: Any, folder: Path) -> None:
    done = run_cli("scan", folder, "--no-groups", "-f", "ndjson")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert {record.get("group") for record in records[:-1]} == {None}
    assert records[-1]["groups"] is None


def test_what_is_no_report_is_refused(run_cli: Any, folder: Path) -> None:
    done = run_cli("group", folder / "copy.exe")
    assert done.returncode == 2
    assert b"not a saved report: scan first" in done.stderr
    assert run_cli("scan", folder, "-o", "few.ndjson", "--fields", "path").returncode == 0
    done = run_cli("group", "few.ndjson")
    assert done.returncode == 2
    assert b"not a saved report, since it was written with --fields" in done.stderr


def test_reports_that_do_not_go_together_and_one_that_breaks_off(
    run_cli: Any, folder: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "a.ndjson"
    assert run_cli("scan", folder, "-o", whole).returncode == 0
    other = tmp_path / "b.ndjson"
    other.write_text(whole.read_text().replace('"weights_sha256":"', '"weights_sha256":"0'))
    done = run_cli("group", whole, other)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"reports of two models cannot be joined" in done.stderr
    cut = tmp_path / "cut.ndjson"
    cut.write_bytes(whole.read_bytes()[:-400].rsplit(b"\n", 2)[0] + b'\n{"type":"res')
    done = run_cli("group", cut)
    assert done.returncode == 0
    assert b"cut.ndjson: cut off in line" in done.stderr
