"""The benchmark of growth: slopes, files of one mix, and its parts on small numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scale import growth

TIMED = re.compile(r": (slope|too short to be timed)")


def test_the_slope_is_the_exponent() -> None:
    numbers = [10, 100, 1000]
    assert growth.slope(numbers, [0.2, 2.0, 20.0]) == pytest.approx(1)
    assert growth.slope(numbers, [n**2 for n in numbers]) == pytest.approx(2)


def test_no_slope_of_a_time_below_the_clock(capsys: pytest.CaptureFixture[str]) -> None:
    growth.slopes("search", [1, 2], [0.0, 0.1])
    assert capsys.readouterr().out == "search: too short to be timed\n"


def test_files_of_any_number_have_the_same_mix(tmp_path: Path) -> None:
    pairs = len(growth.PROGRAMS) * len(growth.TAILS)
    paths = growth.write_files(tmp_path, 2 * pairs)
    sizes = [Path(path).stat().st_size for path in paths]
    assert sizes[:pairs] == sizes[pairs:]
    assert len({Path(path).read_bytes() for path in paths}) == 2 * pairs


def run(*arguments: str) -> str:
    """The output of the script, in a process: it waits for all that runs below its own."""
    done = subprocess.run(
        [sys.executable, growth.__file__, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_index_groups_and_lists() -> None:
    numbers = ["--entries", "100", "--records", "50", "200", "--hashes", "10000", "20000"]
    parts = ["--parts", "index", "groups", "known"]
    out = run(*parts, *numbers, "--batches", "1", "--scan-ms", "1000")
    assert "above 5% of a scan with none of these; a scan without it: 1000.00 ms a file" in out
    assert "groups: 100% of the records unlike any other" in out
    # Parts as small as these may take less than the clock can tell; each says so or gives a slope.
    told = [line.partition(":")[0] for line in out.splitlines() if TIMED.search(line)]
    assert told == ["search", "records", "records", "hashes", "look-ups"]


@pytest.mark.slow
def test_scans_of_more_and_more_files() -> None:
    out = run("--parts", "scan", "--files", "20", "60", "--rounds", "1")
    assert "time from the first record on: slope" in out
    assert "memory, as times that of the fewest: 1.00, " in out
