"""Processes that change one file wait for each other, and nothing of one is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from maltriage.errors import MaltriageError
from maltriage.files.lock import turn

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no turns are taken there")

COUNT = """
import os, sys
from pathlib import Path
from maltriage.files.lock import turn
path = Path(sys.argv[1])
for _ in range(100):
    with turn(path):
        part = path.with_name(f"{os.getpid()}.part")
        part.write_text(str(int(path.read_text()) + 1))
        part.replace(path)
"""


def test_no_change_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    counting = [subprocess.Popen([sys.executable, "-c", COUNT, str(path)]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in counting] == [0] * 4
    assert path.read_text() == "400"
    assert list(tmp_path.iterdir()) == [path]  # no lock file beside it


def test_a_turn_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    script = (
        "import sys, time, pathlib\n"
        "from maltriage.files.lock import turn\n"
        "with turn(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
        began = time.monotonic()
        with turn(path):
            assert time.monotonic() - began < 60


def test_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(MaltriageError, match="none: No such file"),
        turn(tmp_path / "none"),
    ):
        pass
