"""A process that is forked from a warm one does what one does that starts cold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm import Warm

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")

MODULE = """
import atexit, json, os, sys, threading, time
atexit.register(lambda: print("at the end"))
print(__name__, sys.argv, os.getcwd(), os.environ.get("MALTRIAGE_TEST"), sys.stdin.read())
print(sys.stdout.isatty(), sys.stdout.encoding, sys.path[0], threading.active_count())
print("wrong", file=sys.stderr)
def late():
    time.sleep(0.1)
    print("from a thread")
threading.Thread(target=late).start()
if sys.argv[1] == "fails":
    1 / 0
if sys.argv[1] == "hangs":
    time.sleep(600)
sys.exit({"text": "a text", "none": None}.get(sys.argv[1], 3))
"""


@pytest.fixture
def warm() -> Iterator[Warm]:
    process = Warm("said", "gc:collect")
    yield process
    process.close()


def test_it_does_what_a_cold_one_does(warm: Warm, tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text(MODULE)
    environment = {**os.environ, "MALTRIAGE_TEST": "1"}
    for arguments in (["odd \udce9", "b"], ["text"], ["none"], ["fails"], ["code"]):
        found = warm.run(arguments, tmp_path, environment, b"given", 60)
        cold = subprocess.run(
            [sys.executable, "-m", "said", *arguments],
            cwd=tmp_path, env=environment, input=b"given", capture_output=True, check=False,
        )  # fmt: skip
        assert (found.returncode, found.stdout) == (cold.returncode, cold.stdout)
        assert found.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]
        assert found.stderr.startswith(b"wrong\n")


def test_one_that_takes_too_long_is_killed(warm: Warm, tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text(MODULE)
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(["hangs"], tmp_path, os.environ, b"", 0.5)
    assert warm.run(["code"], tmp_path, os.environ, b"", 60).returncode == 3


def test_what_is_read_at_the_start_takes_a_cold_one(warm: Warm) -> None:
    assert warm.suits({**os.environ, "MALTRIAGE_TEST": "1", "COLUMNS": "40"})
    assert not warm.suits({**os.environ, "PYTHONPATH": "elsewhere"})
    assert not warm.suits({**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1"})
    assert not warm.suits({n: v for n, v in os.environ.items() if n != "PATH"})
