"""Ctrl-C while a command starts up: one line, the outputs that were named, and 130."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process alone")

START = """
import builtins, os, signal, sys
from maltriage.cli import entry

plain, at, times = builtins.__import__, sys.argv.pop(1), int(sys.argv.pop(1))

def importing(name, *arguments, **more):
    global times
    if name == at:
        while times:
            times -= 1
            os.kill(os.getpid(), signal.SIGINT)
    return plain(name, *arguments, **more)

builtins.__import__ = importing
if __name__ == "__main__":
    entry.main()
"""
EARLY = ("maltriage.cli.app", "typer", "maltriage.cli.archives", "maltriage.triage.pipeline")


def start(at: str, times: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command, with Ctrl-C when it first imports a module."""
    return subprocess.run(
        [sys.executable, "-c", START, at, str(times), *arguments],
        capture_output=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("at", EARLY)
def test_a_scan_that_is_stopped_as_it_starts_has_its_outputs(
    at: str, tmp_path: Path, samples_dir: Path
) -> None:
    out = tmp_path / "out.ndjson"
    done = start(at, 1, "scan", str(samples_dir), "--no-cache", "-o", str(out))
    assert (done.returncode, done.stdout) == (130, b"")
    wrote, stopped = done.stderr.splitlines()
    assert wrote.startswith(b"wrote " + bytes(out) + b" (ndjson, 0 records, ")
    files = sum(path.is_file() for path in samples_dir.rglob("*"))
    assert stopped == b"maltriage: stopped, 0 of %d done" % files
    (summary,) = map(json.loads, out.read_text().splitlines())
    assert (summary["type"], summary["interrupted"], summary["files"]) == ("summary", True, 0)


@pytest.mark.parametrize("at", EARLY[:2])
def test_other_commands_stop_at_once(at: str) -> None:
    done = start(at, 1, "models")
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"maltriage: stopped\n")


def test_who_presses_it_twice_does_not_want_to_wait(tmp_path: Path, samples_dir: Path) -> None:
    done = start("typer", 2, "scan", str(samples_dir), "-o", str(tmp_path / "out.ndjson"))
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"maltriage: stopped\n")
    assert list(tmp_path.iterdir()) == []


WITH_TERMINAL = """
import os, pty, sys, time

folder, out = sys.argv[1:]
pid, terminal = pty.fork()
if not pid:
    scan = ["scan", folder, "--no-cache", "--jobs", "1", "-o", out, "-o", "-"]
    os.execv(sys.executable, [sys.executable, "-m", "maltriage", *scan])
while not os.path.exists(out + ".part") or os.path.getsize(out + ".part") < 10_000:
    time.sleep(0.02)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_terminal_that_closes_ends_a_scan_in_order(tmp_path: Path, samples_dir: Path) -> None:
    """All processes of the terminal get SIGHUP, and its streams are gone."""
    folder, out = tmp_path / "in", tmp_path / "out.ndjson"
    folder.mkdir()
    program = (samples_dir / "gui-x86.exe").read_bytes()
    for number in range(400):
        (folder / f"{number}.exe").write_bytes(program + b"%d" % number)
    done = subprocess.run(
        [sys.executable, "-c", WITH_TERMINAL, str(folder), str(out)],
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    *records, summary = map(json.loads, out.read_text().splitlines())
    assert summary["interrupted"]
    assert 0 < len(records) < 400
    assert {record["type"] for record in records} == {"result"}
