"""`scan --resume` after a scan that was killed, as processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from corpus.synthetic import program, zipped
from hostile.make import sample

from maltriage.results.sqlite_file import FILE_NAME
from maltriage.triage.prepare import MAX_IN_FLIGHT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
SCAN = [sys.executable, "-m", "maltriage", "scan", "in", "-j", "1", "--exit-zero"]
KEPT = ["--cache", "results", "-o", "out.ndjson", "--resume"]


def records(path: Path) -> dict[str, dict[str, Any]]:
    """Whole records by path, without their timing and without the summary."""
    found = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            record = json.loads(line)
            record.pop("timing", None)
            if record["type"] != "summary":
                assert record["path"] not in found
                found[record["path"]] = record
    return found


def known(folder: Path) -> int:
    """How many files the store knows, from a store that must be whole."""
    connection = sqlite3.connect(folder / "results" / FILE_NAME)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("files", "reported")
        ]
    finally:
        connection.close()
    return sum(counts)


def kill_at(folder: Path, lines: int, wait: float) -> int:
    """Kill a scan, with its workers, some time after it wrote so many lines; how many it wrote."""
    for part in folder.glob("out.ndjson*"):
        part.unlink()
    process = subprocess.Popen(
        [*SCAN, *KEPT, "-q"], cwd=folder, stderr=subprocess.PIPE, start_new_session=True
    )
    part = folder / "out.ndjson.part"
    while process.poll() is None:
        if part.exists() and part.read_bytes().count(b"\n") >= lines:
            time.sleep(wait)
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (-signal.SIGKILL, b"")
    return len(records(part))


def check(folder: Path, kills: list[tuple[int, float]]) -> None:
    """Killed again and again, a scan comes to say what one says that was left alone."""
    total = sum(path.is_file() for path in (folder / "in").rglob("*"))
    subprocess.run([*SCAN, "--no-cache", "-o", "alone.ndjson", "-q"], cwd=folder, check=True)
    alone = records(folder / "alone.ndjson")
    assert len(alone) == total
    for lines, wait in kills:
        written = kill_at(folder, lines, wait)
        assert known(folder) >= written - MAX_IN_FLIGHT
        for path, record in records(folder / "out.ndjson.part").items():
            assert record == alone[path]
    before = known(folder)
    done = subprocess.run([*SCAN, *KEPT], cwd=folder, capture_output=True, check=True)
    assert b": goes on; it began on 20" in done.stderr
    assert records(folder / "out.ndjson") == alone
    lines = [json.loads(line) for line in (folder / "out.ndjson").read_bytes().splitlines()]
    assert lines[-1]["type"] == "summary"
    assert lines[-1]["interrupted"] is False
    stored = sum(line["type"] == "result" and line["timing"]["stored"] for line in lines)
    results = sum(line["type"] == "result" for line in lines)
    assert stored >= results - (total - before)
    done = subprocess.run([*SCAN, *KEPT], cwd=folder, capture_output=True, check=True)
    assert b": begins, since no stopped scan of this command is known\n" in done.stderr


def test_a_scan_that_was_killed_goes_on(tmp_path: Path) -> None:
    for number in range(180):
        folder = tmp_path / "in" / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        if number % 3:
            (folder / f"{number}.exe").write_bytes(sample("console-x86.exe") + b"%d" % number)
        else:
            (folder / f"{number}.txt").write_text("no program")
    check(tmp_path, [(35, 0.0), (70, 0.0)])


@pytest.mark.slow
def test_a_scan_that_was_killed_twenty_times_goes_on(tmp_path: Path, vx_mini: Path) -> None:
    pictures = sorted(vx_mini.rglob("*.png"))[::2]
    for number, picture in enumerate(pictures):
        target = tmp_path / "in" / picture.parent.name / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if number % 10:
            shutil.copyfile(picture, target)
        else:
            target.write_text("no program")
    draw = random.Random(7)
    # Not near the end: it must be killed before it comes to it.
    steps = sorted(draw.randrange(len(pictures) * 3 // 4) for _ in range(20))
    check(tmp_path, [(lines, draw.random() / 4) for lines in steps])


def test_resume_needs_what_was_kept(run_cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.exe").write_bytes(sample("console-x86.exe"))
    done = run_cli("scan", "a.exe", "--resume", "--no-cache")
    assert done.returncode == 2
    assert b"--resume needs kept results" in done.stderr
    (tmp_path / "results").write_bytes(b"")
    done = run_cli("scan", "a.exe", "--resume", "--cache", "results")
    assert done.returncode == 2
    assert b"nothing to resume from" in done.stderr


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The workers of a scan."""
    with suppress(psutil.Error):
        children = psutil.Process(process.pid).children()
        return [worker for child in children for worker in child.children()]
    return []


@pytest.mark.slow
def test_kills_at_random_of_workers_and_of_scans(tmp_path: Path) -> None:
    """2,000 files, some of them archives; 20 workers and 20 scans are killed; nothing is lost."""
    draw, folder = random.Random(20), tmp_path / "in"
    folder.mkdir()
    for number in range(2000):
        if number % 100 == 50:
            inside = {f"{i}.exe": program(i % 3, 1000 * number + i, size=4000) for i in range(40)}
            (folder / f"{number:04d}.zip").write_bytes(zipped(inside, None))
        elif number % 10 == 0:
            (folder / f"{number:04d}.txt").write_text(f"no program {number}")
        else:
            data = sample("console-x86.exe") + draw.randbytes(draw.randrange(20_000))
            (folder / f"{number:04d}.exe").write_bytes(data)
    command = [argument if argument != "1" else "2" for argument in SCAN]
    subprocess.run([*command, "--no-cache", "-o", "alone.ndjson", "-q"], cwd=tmp_path, check=True)
    alone = records(tmp_path / "alone.ndjson")
    assert len(alone) == 2000 - 20 + 20 * 40
    workers = scans = 0
    while min(workers, scans) < 20:
        for part in tmp_path.glob("out.ndjson*"):
            part.unlink()
        process = subprocess.Popen(
            [*command, *KEPT, "-q"], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True
        )
        found: list[psutil.Process] = []
        while not found and process.poll() is None:
            found = _family(process)
        time.sleep(draw.random() / 4)
        with suppress(psutil.Error, IndexError):
            draw.choice(_family(process)).kill()
            workers += 1
        time.sleep(draw.random() / 4)
        if process.poll() is not None:  # it came to its end: nothing to resume
            assert records(tmp_path / "out.ndjson") == alone
            shutil.rmtree(tmp_path / "results")
            process.communicate()
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        scans += 1
        for part in tmp_path.glob("out.ndjson.part"):  # unless it was killed before it began it
            for path, record in records(part).items():
                assert record == alone[path]
    subprocess.run([*command, *KEPT, "-q"], cwd=tmp_path, check=True)
    assert records(tmp_path / "out.ndjson") == alone
