"""What the benchmarks share: a command that is timed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COUNT = 200_000


@pytest.mark.skipif(sys.platform == "win32", reason="it waits for orphans, as POSIX has them")
def test_a_command_that_writes_while_it_reads_is_timed_to_its_end() -> None:
    """In a process of its own: `timed` waits for all children of its process."""
    code = (
        "import sys; from benchmarks.speed.measure import timed\n"
        "echo = [sys.executable, '-c',"
        " 'import sys\\nfor line in sys.stdin: sys.stdout.write(line)']\n"
        "for keep in (True, False):"
        f" print(len(timed(echo, b'line\\n' * {COUNT}, keep=keep).output))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.stdout.split() == [b"%d" % (5 * COUNT)] * 2, done.stderr.decode()
