"""`scan` and `explain` of saved reports, as processes: any format, the same exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hostile.make import sample
from report.factories import (
    make_failed,
    make_result,
    make_scan,
    make_skipped,
    make_summary,
    make_verdict,
)
from report.screens import hidden, written

from maltriage.cli.replay import Replay
from maltriage.report.documents.record import ModelRef, Result, Summary
from maltriage.triage.options import Progress

CALM = make_verdict("benign", 0.99, -6.0)
HOSTILE = "[red]\x1b]52;c;eA==\x07\u202e.exe"


def saved(folder: Path, *items: Any, name: str = "r.ndjson", format: str = "ndjson") -> Path:
    path = folder / name
    path.write_bytes(written(format, items))
    return path


def test_a_scan_is_shown_again_without_its_samples(run_cli: Any, folder: Path) -> None:
    shown = {
        name: run_cli("scan", folder, "-f", name, "--exit-zero").stdout
        for name in ("table", "ndjson", "json", "csv")
    }
    (folder / "a.exe").unlink()
    for written_as in ("ndjson", "json"):
        report = folder / written_as
        report.write_bytes(shown[written_as])
        for name in ("ndjson", "json", "csv", "table"):
            done = run_cli("scan", report, "-f", name)
            assert (done.returncode, done.stderr) == (0, b"")
            if name == "csv" or name == written_as:
                assert done.stdout == shown[name]
        assert b"a.exe" in done.stdout
        assert b"1 file " in done.stdout


def test_a_report_nested_without_end_is_one_line_and_code_2(run_cli: Any, tmp_path: Path) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    (tmp_path / "deep.ndjson").write_bytes(b'{"type":"skipped","code":"x","path":' + deep + b"}\n")
    for command in ("scan", "explain"):
        done = run_cli(command, "deep.ndjson")
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert done.stderr.startswith(b"maltriage: deep.ndjson, line 1: not a maltriage record")


def test_an_explanation_is_shown_again_without_its_sample(run_cli: Any, folder: Path) -> None:
    arguments = ("explain", folder / "a.exe", "--class", "icedid")
    screen, record = run_cli(*arguments), run_cli(*arguments, "-f", "json")
    report = folder / "e.json"
    report.write_bytes(record.stdout)
    (folder / "a.exe").unlink()
    again = run_cli("explain", report)
    assert (again.returncode, again.stderr) == (0, b"")
    assert again.stdout == screen.stdout
    assert run_cli("explain", report, "-f", "json").stdout == record.stdout
    table = run_cli("scan", report)
    assert (table.returncode, table.stderr) == (0, b"")
    assert b"a.exe" in table.stdout


def test_pages_of_saved_reports(run_cli: Any, tmp_path: Path) -> None:
    report = saved(tmp_path, make_result(plane=True))
    for command in ("scan", "explain"):
        page = tmp_path / f"{command}.html"
        done = run_cli(command, report, "-f", "html", "-o", page, "-q")
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
        assert "invoice_0481.exe" in page.read_text("utf-8")


def test_exit_codes_are_those_of_the_run_that_wrote_it(run_cli: Any, tmp_path: Path) -> None:
    def code(command: str, *items: Any, more: tuple[str, ...] = ()) -> int:
        return int(run_cli(command, saved(tmp_path, *items), *more).returncode)

    calm = make_result(verdict=CALM)
    one = {"files": 1, "failed": 0, "skipped": 0, "bytes": calm.size}
    assert code("scan", calm, make_summary(**one, flagged=0)) == 0
    assert code("scan", make_result(), make_summary(**one, flagged=1)) == 1
    assert code("scan", make_result(), more=("--exit-zero",)) == 0
    assert code("scan", make_result(), make_failed(), make_summary()) == 3
    assert code("scan", calm, make_summary(**one, flagged=0, interrupted=True)) == 130
    assert code("scan", make_result(), make_result("b.exe")) == 130
    assert code("explain", calm) == 0
    assert code("explain", make_result(), make_summary()) == 1
    assert code("explain", make_result(), more=("--exit-zero",)) == 0
    assert code("explain", make_failed()) == 3
    assert code("explain", make_skipped()) == 3


def test_a_report_is_narrowed_to_what_is_asked_for(run_cli: Any, tmp_path: Path) -> None:
    """What is left out counts nowhere, and the exit code is of the rest."""
    calm = make_result("case/pc01/calm.exe", verdict=CALM)
    records = [calm, make_result("case/pc03/a.exe"), make_failed("case/pc03/b.exe")]
    one = make_summary(files=2, flagged=1, failed=1, skipped=0, bytes=2 * calm.size)
    report = saved(tmp_path, *records, one)
    done = run_cli("scan", report, "--only", "flagged,clean", "-f", "ndjson")
    *found, summary = map(json.loads, done.stdout.splitlines())
    assert [record["path"] for record in found] == [calm.path, "case/pc03/a.exe"]
    counts = [summary[name] for name in ("files", "flagged", "clean", "failed", "interrupted")]
    assert counts == [2, 1, 1, 0, False]
    assert (done.returncode, done.stderr) == (1, b"note: 2 of 3 records shown\n")
    done = run_cli("scan", report, "--include", "*/pc01/*", "-q", "-f", "csv")
    assert (done.returncode, done.stdout.count(b"\n"), done.stderr) == (0, 2, b"")
    assert run_cli("scan", report, "--exclude", "pc01", "-q").returncode == 3
    done = run_cli("scan", report, "--only", "bad")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--only bad: no such thing; there are flagged, known-malware" in done.stderr
    done = run_cli("scan", tmp_path, "--only", "flagged")
    assert (done.returncode, done.stderr) == (2, b"maltriage: --only goes with a saved report\n")


def test_what_is_the_matter_is_said_on_stderr(run_cli: Any, tmp_path: Path) -> None:
    report = saved(tmp_path, *make_scan())
    done = run_cli("scan", report, "-f", "json")
    assert done.returncode == 130
    assert json.loads(done.stdout)["summary"]["interrupted"] is True
    assert b"no summary at the end; the scan did not finish" in done.stderr
    assert run_cli("scan", report, "-q").stderr == b""
    report.write_bytes(report.read_bytes()[:-20])
    done = run_cli("scan", report, "-f", "ndjson")
    assert b"r.ndjson: cut off in line 11; the records before it are shown" in done.stderr
    assert len(done.stdout.splitlines()) == 11


def test_several_reports_are_one(run_cli: Any, tmp_path: Path) -> None:
    first = saved(tmp_path, make_result("a.exe"), make_result("b.exe", CALM), make_summary())
    second = saved(tmp_path, make_failed(), make_summary(), name="s.json", format="json")
    done = run_cli("scan", first, second, "-q", "-f", "json")
    assert (done.returncode, done.stderr) == (3, b"")
    document = json.loads(done.stdout)
    assert [record["path"] for record in document["records"]][:2] == ["a.exe", "b.exe"]
    counts = [document["summary"][name] for name in ("files", "flagged", "failed", "skipped")]
    assert counts == [2, 1, 1, 0]
    assert document["summary"]["seconds"] == pytest.approx(2 * make_summary().seconds)
    other = saved(tmp_path, make_result(model=ModelRef("other", "ab" * 32)), name="other")
    done = run_cli("scan", first, other)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"reports of two models cannot be joined" in done.stderr


def test_a_replay_can_be_stopped(tmp_path: Path) -> None:
    """What is done is written, with a summary that counts it."""
    scan = make_scan()
    source = Replay.of_reports([str(saved(tmp_path, *scan, make_summary()))], quiet=True)
    progress, seen = Progress(), []
    for record in source.records(progress, lambda: len(seen) == 5):
        seen.append(record)
    *found, summary = seen
    assert found == scan[:5]
    assert isinstance(summary, Summary)
    assert summary.interrupted
    assert (summary.files, summary.skipped, summary.failed) == (4, 1, 0)
    assert summary.bytes == sum(r.size for r in found if isinstance(r, Result))


def test_a_report_on_standard_input_is_told_from_a_sample(run_cli: Any, folder: Path) -> None:
    done = run_cli("scan", "-", stdin=saved(folder, make_result()).read_bytes())
    said = b"maltriage: -: a saved report, which is read from a file: give it by its name\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", said)


def test_wrong_use_with_saved_reports(run_cli: Any, folder: Path) -> None:
    report = saved(folder, make_result(plane=True), make_result("b.exe"))
    program = folder / "a.exe"
    for arguments, message in (
        (("scan", report, program), "r.ndjson is a saved report and "),
        (("scan", report, folder), "name saved reports or samples, not both"),
        (("scan", report, "--verify", "-j", "2"), "--verify, --jobs are options for samples"),
        (("scan", report, "--files-from", "x"), "--files-from is an option for samples"),
        (("explain", report, "--class", "a"), "--class is an option for samples, and "),
        (("explain", report, "--against", "a", "--no-verify"), "--against, --verify are options"),
        (("explain", report, "--model", "x"), "--model is an option for samples"),
        (("explain", report, "--method", "occlusion"), "--method is an option for samples"),
        (("explain", report), "records of 2 files; pick one with --record"),
        (("explain", report, "--record", "c.exe"), "no record of 'c.exe' among 2"),
        (("explain", program, "--record", "a.exe"), "--record needs a saved report"),
        (("explain", program, "--with", "a.exe"), "--with needs a saved report"),
        (("scan", report, "-o", report), "an input, which would be overwritten"),
        (("explain", report, "-o", report), "an input, which would be overwritten"),
    ):
        before = report.read_bytes()
        done = run_cli(*arguments)
        assert (done.returncode, done.stdout) == (2, b""), arguments
        assert message in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
        assert report.read_bytes() == before


def test_a_walk_takes_no_report(run_cli: Any, folder: Path) -> None:
    """Only what the user names is read as a report: a folder may be an attacker's."""
    saved(folder, make_result("from the report"))
    done = run_cli("scan", folder, "-f", "ndjson")
    kinds = {
        Path(r["path"]).name: r["type"] for r in map(json.loads, done.stdout.splitlines()[:-1])
    }
    assert kinds == {"a.exe": "result", "b.txt": "skipped", "r.ndjson": "skipped"}
    listed = run_cli("scan", "--files-from", "-", stdin=bytes(folder / "r.ndjson"))
    assert b"1 skipped" in listed.stdout
    (folder / "package.json").write_text('{"type": "module"}')
    assert b"1 skipped" in run_cli("scan", folder / "package.json").stdout


def test_one_file_of_a_scan(run_cli: Any, tmp_path: Path) -> None:
    report = saved(tmp_path, *make_scan(), make_summary())
    done = run_cli("explain", report, "--record", "putty.exe", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"tools/putty.exe" in done.stdout
    failed = run_cli("explain", report, "--record", "locked.exe", "-q")
    assert (failed.returncode, failed.stdout) == (3, b"")
    assert failed.stderr == b"maltriage: cases/2024-117/locked.exe: permission denied\n"


def test_the_file_of_a_record_is_explained_anew(run_cli: Any, folder: Path) -> None:
    program, report = folder / "a.exe", folder / "r.ndjson"
    report.write_bytes(run_cli("scan", folder, "-f", "ndjson").stdout)
    done = run_cli("explain", report, "--with", program, "-f", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["evidence"]["plane"]
    asked = ("--class", "icedid", "--against", "maze")
    report.write_bytes(run_cli("explain", program, *asked, "-f", "json").stdout)
    before = json.loads(report.read_bytes())["evidence"]
    again = json.loads(run_cli("explain", report, "--with", program, "-f", "json").stdout)
    assert again["evidence"] == before
    other = ("--class", "benign", "--no-verify", "--no-inspect")
    again = json.loads(run_cli("explain", report, "--with", program, *other, "-f", "json").stdout)
    assert (again["evidence"]["label"], again["evidence"]["against"]) == ("benign", None)
    program.write_bytes(sample("console-x86.exe") + b"!")
    done = run_cli("explain", report, "--with", program)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a.exe: not the file of " in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_record_of_another_model_is_not_made_anew(run_cli: Any, folder: Path) -> None:
    program = folder / "a.exe"
    unknown = saved(folder, make_result(model=ModelRef("../a.onnx", "ab" * 32)))
    done = run_cli("explain", unknown, "--with", program)
    assert done.returncode == 2
    assert b"made with the model ../a.onnx, which is not installed" in done.stderr
    another = saved(folder, make_result(model=ModelRef("maltriage-evidence", "ab" * 32)))
    done = run_cli("explain", another, "--with", program)
    assert done.returncode == 2
    assert b"made with maltriage-evidence abababababab, which is not maltriage-evid" in done.stderr
    failed = saved(folder, make_failed())
    done = run_cli("explain", failed, "--with", program)
    assert done.returncode == 2
    assert b"no result for cases/2024-117/locked.exe: permission denied" in done.stderr


def test_strings_of_a_report_do_not_reach_the_terminal(run_cli: Any, tmp_path: Path) -> None:
    hostile = make_result(
        HOSTILE, notices=((HOSTILE, HOSTILE),), model=ModelRef(HOSTILE, "ab" * 32)
    )
    name = "report" if os.name == "nt" else HOSTILE  # no name has such characters there
    first, second = (
        saved(tmp_path, *items, name=f"{name}.{len(items)}")
        for items in ([hostile], [make_result("b"), make_failed(HOSTILE, reason=HOSTILE)])
    )
    for arguments in (
        ("scan", first),
        ("scan", first, "-f", "csv"),
        ("scan", first, second),
        ("explain", first),
        ("explain", second, "--record", HOSTILE),
        ("explain", second, "--record", HOSTILE + "?"),
        ("scan", second),
    ):
        done = run_cli(*arguments)
        assert not hidden(done.stdout.decode()), arguments
        assert not hidden(done.stderr.decode()), arguments
