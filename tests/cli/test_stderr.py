"""Trouble with standard error changes neither results nor exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes end in another way there")


def code_of(arguments: list[str | Path], stderr: int, stdout: int | None = None) -> int:
    command = [sys.executable, "-m", "maltriage", *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=stderr, check=False).returncode


def readerless() -> int:
    """The end of a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes


@pytest.mark.parametrize("trouble", ["a full disk", "no reader"])
def test_exit_codes_stay(program: Path, trouble: str, tmp_path: Path) -> None:
    if trouble == "a full disk" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    cases: tuple[tuple[list[str | Path], int], ...] = (
        (["scan", program, "-o", tmp_path / "out.ndjson"], 0),
        (["scan", tmp_path / "missing.exe", "-o", tmp_path / "out.csv"], 3),
        (["scan", program, "--fpr", "0.3"], 2),
        (["group", tmp_path / "missing.ndjson"], 2),
    )
    for arguments, expected in cases:
        stream = readerless() if trouble == "no reader" else os.open("/dev/full", os.O_WRONLY)
        try:
            assert code_of(arguments, stream) == expected, arguments
        finally:
            os.close(stream)
    assert (tmp_path / "out.ndjson").read_bytes().count(b"\n") == 2


def test_one_that_is_closed(program: Path, tmp_path: Path) -> None:
    for arguments, expected in (
        (f"scan {program.name} -o out.ndjson", 0),
        ("scan missing.exe -o out.csv", 3),
        ("scan --bogus x", 2),
        ("group missing.ndjson", 2),
    ):
        line = ["sh", "-c", f'exec "$0" -m maltriage {arguments} 2>&-', sys.executable]
        done = subprocess.run(line, cwd=tmp_path, stdout=subprocess.DEVNULL, check=False)
        assert done.returncode == expected, arguments


def test_both_streams_in_one_pipe_that_nobody_reads(program: Path, tmp_path: Path) -> None:
    """`2>&1 | true`: the results are in a file."""
    stream = readerless()
    arguments: list[str | Path] = ["scan", tmp_path / "missing.exe", "-q"]
    assert code_of([*arguments, "-o", tmp_path / "out.csv"], stream, stream) == 3
    os.close(stream)
