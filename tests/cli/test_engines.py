"""`scan --engines`: several processes, which end with the command, however that ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hostile.make import sample

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="one engine there")
FILES = 300
"""More than one engine is given at once."""


@pytest.fixture
def scan(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A scan by two engines that has begun to write."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(FILES):
        data = sample("console-x86.exe") + b"%d" % number
        (folder / f"{number:03d}.exe").write_bytes(data)
    arguments = ("scan", "in", "--no-cache", "--engines", "2", "--jobs", "2", "--device", "cpu")
    process = subprocess.Popen(
        [sys.executable, "-m", "maltriage", *arguments, "-o", "out.ndjson"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    part = tmp_path / "out.ndjson.part"
    until = time.monotonic() + 60
    while not part.exists() or not part.stat().st_size:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


def session(leader: int) -> list[psutil.Process]:
    """The processes of a session that run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def all_end(leader: int, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while session(leader) and time.monotonic() < until:
        time.sleep(0.05)
    return not session(leader)


def test_ctrl_c_leaves_whole_outputs(scan: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert len(session(scan.pid)) >= 6  # the command, the server, and an engine and a worker twice
    os.killpg(scan.pid, signal.SIGINT)
    _, errors = scan.communicate(timeout=20)
    assert scan.returncode == 130, errors
    assert errors.splitlines()[-1].startswith(b"maltriage: stopped, ")
    *records, summary = map(json.loads, (tmp_path / "out.ndjson").read_text().splitlines())
    assert (summary["type"], summary["interrupted"]) == ("summary", True)
    assert 0 < len(records) == summary["files"] < FILES
    paths = [record["path"] for record in records]
    assert paths == sorted(paths)
    assert all_end(scan.pid)


def test_nothing_outlives_a_command_that_is_killed(scan: subprocess.Popen[bytes]) -> None:
    assert len(session(scan.pid)) >= 6
    scan.kill()
    scan.communicate(timeout=20)
    assert all_end(scan.pid)
