"""`--fields` and `--ecs` as a process, on saved records: no sample is read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from report.factories import make_result, make_skipped, make_summary

from maltriage.report.documents.record import encode


@pytest.fixture
def report(tmp_path: Path) -> Path:
    records = [make_result("a.exe"), make_skipped("b.txt"), make_summary(files=1, flagged=1)]
    path = tmp_path / "saved.ndjson"
    path.write_bytes(b"".join(encode(record) + b"\n" for record in records))
    return path


def test_chosen_fields_in_several_outputs(run_cli: Any, report: Path) -> None:
    outputs = ("-o", "f.ndjson", "-o", "f.csv", "-o", "f.html", "-o", "-")
    done = run_cli("scan", report, *outputs, "--fields", "path, verdict.label", cwd=report.parent)
    assert done.returncode == 1
    lines = [json.loads(line) for line in (report.parent / "f.ndjson").read_bytes().splitlines()]
    assert lines == [
        {"path": "a.exe", "verdict": {"label": "icedid"}},
        {"path": "b.txt", "verdict": {"label": None}},
    ]
    rows = list(csv.reader((report.parent / "f.csv").read_text().splitlines()))
    assert rows == [["path", "verdict.label"], ["a.exe", "icedid"], ["b.txt", ""]]
    assert b"a.exe" in done.stdout  # the table is as ever
    for command in ("scan", "explain"):
        again = run_cli(command, "f.ndjson", cwd=report.parent)
        assert (again.returncode, again.stdout) == (2, b"")
        assert b"f.ndjson: not a saved report, since it was written with --fields" in again.stderr


def test_events_of_ecs(run_cli: Any, report: Path) -> None:
    done = run_cli("scan", report, "-f", "ndjson", "--ecs")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"]["action"] for event in events] == [
        "file-triaged",
        "file-skipped",
        "scan-finished",
    ]
    assert events[0]["file"]["hash"]["sha256"] == make_result("a.exe").sha256


def test_wrong_use(run_cli: Any, report: Path) -> None:
    for arguments, message in (
        (("-f", "csv", "--fields", "signer"), "no field signer; close to it: identity.signer"),
        (("--fields", "path"), "--fields goes with NDJSON, JSON, CSV or Parquet"),
        (("-o", "a.csv", "--ecs"), "--ecs goes with NDJSON or JSON"),
        (("-f", "json", "--ecs", "--fields", "path"), "not both"),
        (("-f", "json", "--ecs", "--fields", "event.kind"), "not both"),
    ):
        done = run_cli("scan", report, *arguments, cwd=report.parent)
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr.decode()
        assert not (report.parent / "a.csv").exists()
