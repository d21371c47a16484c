"""What can be said here of Windows and macOS: a scan where Python has no more than it has there.

`other_system/sitecustomize.py` says what is simulated. What lies outside of that was never run:
docs/reference/platforms.md.
"""

from __future__ import annotations

import ast
import csv
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest

from maltriage.cli import files as output_files
from maltriage.source.carve import split_carved
from maltriage.source.urls import is_url
from maltriage.triage import graph

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
POSIX_ONLY = frozenset("fcntl grp posix pty pwd resource syslog termios tty".split())
SYSTEMS = ("win32", "darwin")
ONE_AS_ANOTHER = "timing"


def run(
    system: str,
    tmp_path: Path,
    *arguments: str | Path,
    stdin: bytes = b"",
    script: Path | None = None,
    start_new_session: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """A command, or a script, where Python is as on another system."""
    told = ["-m", "maltriage"] if script is None else [script]
    return subprocess.run(
        [sys.executable, *told, *arguments],
        env={
            **os.environ,
            "OTHER_SYSTEM": system,
            "PYTHONPATH": os.pathsep.join([str(HERE / "other_system"), str(ROOT)]),
            "TMPDIR": str(tmp_path),
        },
        cwd=tmp_path,
        input=stdin,
        capture_output=True,
        start_new_session=start_new_session,
        timeout=120,
        check=False,
    )


def rows(out: bytes) -> list[dict[str, str]]:
    """Rows of CSV without what no two scans have in common."""
    read = csv.DictReader(io.StringIO(out.decode("utf-8-sig"), newline=""))
    return [{k: v for k, v in row.items() if not k.startswith(ONE_AS_ANOTHER)} for row in read]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_scan_finds_what_it_finds_here(
    system: str, tmp_path: Path, run_cli: object, samples_dir: Path
) -> None:
    """Workers are started anew, not forked; the store is filled, and answers the second scan."""
    arguments = ["scan", samples_dir, "-f", "csv", "-j", "1", "--exit-zero"]
    expected = run_cli(*arguments, "--no-cache", cwd=tmp_path)  # type: ignore[operator]
    first = run(system, tmp_path, *arguments, "-vv", "--engines", "2")
    assert (first.returncode, rows(first.stdout)) == (0, rows(expected.stdout)), first.stderr
    assert b"starting workers: 1," in first.stderr
    assert b"engine 1 of" not in first.stderr
    second = run(system, tmp_path, *arguments, "-vv")
    assert (second.returncode, rows(second.stdout)) == (0, rows(expected.stdout)), second.stderr
    assert b"starting workers: 1," not in second.stderr
    assert not list(tmp_path.iterdir())  # where temporary files go


@pytest.mark.parametrize(("system", "held"), [("win32", 0), ("darwin", 1)])
def test_doctor_says_what_holds(system: str, held: int, tmp_path: Path) -> None:
    done = run(system, tmp_path, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.decode().splitlines()
    said = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
    assert (said["holds"].strip(), said["by"].strip()) == (
        ("no core dumps", "limits") if held else ("nothing", "nothing")
    )
    assert lines[-1] == "No problems."


def test_standard_input_and_an_explanation(tmp_path: Path, samples_dir: Path) -> None:
    data = (samples_dir / "gui-x86.exe").read_bytes()
    done = run("win32", tmp_path, "scan", "-", "-f", "csv", "--no-cache", stdin=data)
    assert done.returncode in (0, 1), done.stderr
    assert [row["status"] for row in rows(done.stdout)] == ["result"]
    done = run("win32", tmp_path, "explain", samples_dir / "driver-x64.sys", "-f", "json")
    assert done.returncode in (0, 1), done.stderr
    assert b'"type":"result"' in done.stdout


CTRL_C = """
import os, signal, time
from maltriage.work.workers import Workers

if __name__ == "__main__":
    asked = []
    signal.signal(signal.SIGINT, lambda *_: asked.append(1))
    with Workers(1, 60) as workers:
        job = workers.submit(os.getpid)
        while not job.done() and len(asked) < 1000:
            time.sleep(0.02)
            os.killpg(0, signal.SIGINT)
        print(len(asked) > 1, job.result(timeout=60) != os.getpid())
"""


def test_ctrl_c_does_not_reach_a_worker_that_starts(tmp_path: Path) -> None:
    """It would print a traceback, from anywhere in its imports."""
    (tmp_path / "script.py").write_text(CTRL_C)
    done = run("darwin", tmp_path, script=tmp_path / "script.py", start_new_session=True)
    assert (done.stdout, done.stderr) == (b"True True\n", b"")


IMPORT_ALL = """
import importlib, pkgutil, sys
import maltriage
import maltriage.work.isolation as isolation
assert isolation.sys.platform == "win32" and not hasattr(isolation.os, "geteuid")
for found in pkgutil.walk_packages(maltriage.__path__, "maltriage."):
    if not found.name.startswith(("maltriage.learn", "maltriage.cluster", "maltriage.__main__")):
        importlib.import_module(found.name)
"""


def test_every_module_is_imported_without_what_windows_lacks(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(IMPORT_ALL)
    done = run("win32", tmp_path, script=tmp_path / "script.py")
    assert (done.returncode, done.stderr) == (0, b"")


def imported_at_the_top(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_no_module_needs_what_only_posix_has() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "maltriage").rglob("*.py")
        if not POSIX_ONLY.isdisjoint(imported_at_the_top(path))
    }
    assert found == set()


@pytest.mark.parametrize(
    "path",
    [
        "C:\\zoo\\x.exe",
        "C:/zoo/x.exe",
        "C://zoo/x.exe",
        "\\\\?\\C:\\zoo\\x.exe",
        "\\\\?\\UNC\\host\\share\\x.exe",
        "\\\\host\\share\\x.exe",
        "\\\\.\\C:\\zoo\\x.exe",
    ],
)
def test_paths_of_windows_are_files_and_not_urls(path: str) -> None:
    assert not is_url(path)
    assert split_carved(f"{path}!carved@0x400.exe") == (path, 0x400)
    output_files.refuse_url(Path(path))


def test_a_url_as_an_output_is_one_on_windows_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There both slashes of `s3://` are written as one backslash."""
    monkeypatch.chdir(tmp_path)
    shown = str(PureWindowsPath("s3://bucket/r.json"))
    assert output_files.looks_like_url(shown)
    assert not output_files.looks_like_url(str(PureWindowsPath("C:\\zoo\\r.json")))


def test_a_run_of_the_model_is_waited_for_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a wait without end keeps Ctrl-C from being handled."""
    waits = []
    join = graph.Thread.join

    def seen(thread: object, timeout: float | None = None) -> None:
        waits.append(timeout)
        join(thread, timeout)  # type: ignore[arg-type]

    monkeypatch.setattr(graph, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(graph.Thread, "join", seen)
    assert graph._waited_for(lambda: time.sleep(0.5) or 7) == 7
    assert len(waits) >= 2
    assert None not in waits
