"""The benchmark of thresholds that are carried from one origin of clean files to another."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile.make import sample

from benchmarks.quality import transfer


def test_a_threshold_is_tested_on_files_that_it_was_not_set_on() -> None:
    low = [i / 100 for i in range(100)]
    margins = {
        ("pe32", "debian", "calibration"): low,
        ("pe32", "debian", "test"): low,
        ("pe32", "wheel", "test"): [margin + 0.5 for margin in low],
        ("pe32", "npm", "test"): low[:10],
    }
    found = list(transfer.rows(margins, 0.1))
    assert [(row.source, row.target) for row in found] == [
        ("Debian, calibration", "Debian, test"),
        ("Debian", "wheels"),
        ("wheels", "Debian"),
    ]
    within, there, back = found
    assert (within.set_on, within.tested_on, within.flagged) == (100, 100, 10)
    assert there.set_on == 200
    assert there.flagged == 60
    assert back.flagged == 0
    assert there.rate.low < there.rate.value == 0.6 < there.rate.high
    assert there.own.value == pytest.approx(0.1)
    text = transfer.table(found, 0.1)
    assert "| PE32 | Debian, 200 | 10.00% (" in text
    assert "| wheels | 60 of 100 | 60.00% (" in text
    assert not list(transfer.rows(margins, 0.01))  # which takes 300 files


def test_files_are_sorted_by_kind_and_origin_and_count_once(tmp_path: Path) -> None:
    for place, name in (
        ("calibration/debian-all-a", "console-x86.exe"),
        ("test/wheel-win32-b", "console-x86.exe"),
        ("test/wheel-win32-b", "console-x64.exe"),
    ):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / name).write_bytes(sample(name))
    found = transfer.measure(tmp_path, None, 1)
    assert {key: len(values) for key, values in found.items()} == {
        ("pe32", "debian", "calibration"): 1,
        ("pe32+", "wheel", "test"): 1,
    }
