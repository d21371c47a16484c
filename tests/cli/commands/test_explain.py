"""`maltriage explain` shows what is in the hot bytes, and nothing that acts on a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hostile.make import CASES, Pe, sample
from probe.inspect import builds
from report.pages import assert_sealed
from report.screens import hidden

from maltriage.report.documents.schema import json_schema


def record(run_cli: Any, path: Path, *arguments: str) -> dict[str, Any]:
    done = run_cli("explain", path, "-f", "json", *arguments)
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == b""
    found: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(found, json_schema())
    return found


@pytest.mark.parametrize("bits", [32, 64])
def test_hot_ranges_say_what_is_in_them(run_cli: Any, tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(builds.program(bits))
    found = record(run_cli, path)
    contents = [hot["content"] for hot in found["evidence"]["hot"]]
    assert contents
    assert all(content is not None for content in contents)
    kinds = {content["kind"] for content in contents}
    assert kinds & {"header", "code", "strings", "imports"}
    screen = run_cli("explain", path, "--exit-zero").stdout.decode()
    assert ", entropy " in screen.split("Hot ranges")[1]


def test_a_net_program(run_cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(builds.assembly())
    for label in ("icedid", "benign"):
        for hot in record(run_cli, path, "--class", label)["evidence"]["hot"]:
            assert hot["content"]["code"] is None
            # Nothing failed; more strings than are listed are counted.
            notes = hot["content"]["notes"]
            assert all(note.endswith("in this range, not listed") for note in notes), notes


def test_no_inspect(run_cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    hot = record(run_cli, path, "--no-inspect")["evidence"]["hot"]
    assert hot
    assert all(item["content"] is None and item["hex"] is None for item in hot)
    screen = run_cli("explain", path, "--no-inspect", "--exit-zero").stdout.decode()
    assert ", entropy " not in screen.split("Hot ranges")[1]
    assert "--no-inspect" in run_cli("explain", "--help", env={"COLUMNS": "120"}).stdout.decode()


def test_a_scan_loads_no_disassembler() -> None:
    """Whatever only the inspection needs is imported when it is asked for."""
    code = "import sys, maltriage.triage.pipeline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "maltriage.triage.hot_ranges" in loaded
    assert not loaded & {"capstone", "dnfile", "dncil", "pefile", "lief"}


def test_excerpts_of_a_file_are_bounded(run_cli: Any, tmp_path: Path) -> None:
    """4 KiB of hexdumps, instructions and strings, whatever label is asked for."""
    path = tmp_path / "a.exe"
    path.write_bytes(builds.program(32))
    total = 0
    for hot in record(run_cli, path, "--class", "benign")["evidence"]["hot"]:
        content = hot["content"]
        total += len(hot["hex"]) // 2
        total += sum(len(i["hex"]) // 2 for i in (content["code"] or {}).get("instructions", ()))
        total += sum(len(s["text"]) for s in content["strings"])
    assert 16 < total <= 4096


def test_strings_of_a_sample_do_not_reach_the_terminal(run_cli: Any, tmp_path: Path) -> None:
    """Names of exports and sections, and strings, with escapes, bidi controls and markup."""
    pe = Pe(sample("library-x64.dll"))
    data = pe.put("8s", pe.section(0), b"\x1b]52;c;\x07").bytes()
    hostile = "[/red]\u202e".encode()
    data = data.replace(b"sample_adler32", hostile.ljust(14, b"\x1b"))
    data = data.replace(b"maltriage sample", b"[/red]\x1b[31m[/x]y")
    path = tmp_path / "a.dll"
    path.write_bytes(data)
    for arguments in (["--top", "0"], ["--color", "never"], ["--class", "icedid"]):
        done = run_cli("explain", path, "--exit-zero", *arguments)
        assert done.returncode == 0, done.stderr
        assert not hidden(done.stdout.decode())


@pytest.mark.parametrize("case", ["resource_loop", "section_of_4gb", "unsorted_sections"])
def test_hostile_files_are_explained(run_cli: Any, tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(CASES[case]())
    found = record(run_cli, path)
    assert "not-inspected" not in {notice["code"] for notice in found["notices"]}


def test_a_page(run_cli: Any, tmp_path: Path) -> None:
    path = tmp_path / ("&lt;b.exe" if sys.platform == "win32" else "<b>.exe")
    path.write_bytes(sample("gui-x86.exe"))
    done = run_cli("explain", path, "-f", "html", "-o", tmp_path / "a.html", "--exit-zero")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    parts = assert_sealed((tmp_path / "a.html").read_text("utf-8"))
    plot = json.loads(parts.data["plot-data"])
    size = path.stat().st_size
    # The map covers the bytes that are plotted, which are all but the zeros at the end.
    assert 0 < sum(cell[3] for cell in plot["cells"]) <= 2 * size
    assert max(cell[1] for cell in plot["cells"]) == len(path.read_bytes().rstrip(b"\0"))
    assert run_cli("explain", path, "-f", "html", "--exit-zero").stdout.startswith(b"<!doctype")


def test_several_files_one_after_the_other(run_cli: Any, tmp_path: Path) -> None:
    for name in ("gui-x86.exe", "dotnet.exe"):
        (tmp_path / name).write_bytes(sample(name))
    (tmp_path / "text").write_bytes(b"no program")
    one, two = "gui-x86.exe", "dotnet.exe"
    arguments = ("--no-verify", "--exit-zero")
    both = run_cli("explain", one, two, *arguments, cwd=tmp_path)
    alone = [run_cli("explain", name, *arguments, cwd=tmp_path).stdout for name in (one, two)]
    assert (both.returncode, both.stderr) == (0, b"")
    assert both.stdout == b"\n".join(alone)
    done = run_cli("explain", one, "text", "gone", two, "-f", "json", *arguments, cwd=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["type"] for each in found] == ["result", "skipped", "error", "result"]
    assert done.returncode == 3
    unread = run_cli("explain", "gone", two, *arguments, cwd=tmp_path)
    assert (unread.returncode, unread.stdout) == (3, alone[1])
    assert unread.stderr.startswith(b"maltriage: gone: ")  # and why, as the system says
    assert unread.stderr.count(b"\n") == 1
    for wrong, said in (
        (("-f", "html"), b"HTML shows one file"),
        (("-o", "x.html"), b"HTML shows one file"),
        (("--svg", "x.svg"), b"--png and --svg draw one file"),
        (("--record", "x"), b"--record goes with one saved report"),
    ):
        refused = run_cli("explain", one, two, *wrong, cwd=tmp_path)
        assert (refused.returncode, refused.stdout, refused.stderr.count(b"\n")) == (2, b"", 1)
        assert said in refused.stderr


def test_several_saved_records(run_cli: Any, tmp_path: Path) -> None:
    paths = []
    for name in ("gui-x86.exe", "dotnet.exe"):
        (tmp_path / name).write_bytes(sample(name))
        paths.append(f"{name}.json")
        run_cli("explain", name, "--no-verify", "-o", paths[-1], cwd=tmp_path)
    screens = [run_cli("explain", path, "--exit-zero", cwd=tmp_path).stdout for path in paths]
    both = run_cli("explain", *paths, "--exit-zero", cwd=tmp_path)
    assert (both.returncode, both.stdout, both.stderr) == (0, b"\n".join(screens), b"")
    mixed = run_cli("explain", paths[0], "dotnet.exe", cwd=tmp_path)
    assert mixed.returncode == 2
    assert b"name saved reports or samples, not both" in mixed.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_closed_stdout_is_quiet_and_keeps_the_exit_code(tmp_path: Path) -> None:
    """That of what was explained until then; for a rule all files are."""
    (tmp_path / "a.exe").write_bytes(sample("gui-x86.exe"))
    command = [sys.executable, "-m", "maltriage", "explain", "--no-verify", "--prevalence", "none"]
    for more, code in (
        (("gone", "a.exe"), 3),
        (("a.exe", "gone"), 0),
        (("a.exe", "gone", "--yara", "a.yar"), 2),
    ):
        process = subprocess.Popen(
            [*command, *more], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait(timeout=120) == code
        assert (b"no rule: gone" in errors) == ("--yara" in more)


def test_a_page_into_a_folder_that_does_not_exist(run_cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    done = run_cli("explain", path, "-f", "html", "-o", tmp_path / "none" / "a.html")
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode().count("\n") == 1
    assert "cannot write" in done.stderr.decode()


def test_a_page_of_a_saved_record(run_cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.exe"
    path.write_bytes(sample("gui-x86.exe"))
    page = run_cli("explain", path, "-f", "html", "--no-verify", "--exit-zero").stdout
    saved = tmp_path / "a.json"
    run_cli("explain", path, "-f", "json", "--no-verify", "-o", saved)
    path.unlink()
    again = run_cli("explain", saved, "-f", "html", "--exit-zero")
    assert (again.returncode, again.stderr) == (0, b"")
    assert again.stdout == page
