from __future__ import annotations

import io
import time

from report.screens import console_of, printed
from rich.console import Console

from maltriage.report.scan.progress import MAX_IN_FLIGHT, ScanProgress


def drawn(progress: ScanProgress, width: int = 80) -> list[str]:
    console = console_of(width)
    console.print(progress._draw())
    return printed(console).splitlines()


def test_it_is_silent_where_there_is_no_terminal() -> None:
    console = console_of(80)
    with ScanProgress(console) as progress:
        progress.update(1, 0, 0, 0, [("a.exe", 1.0)])
        time.sleep(0.2)
    assert printed(console) == ""


def test_it_can_be_switched_off() -> None:
    console = console_of(80, colour=True)
    with ScanProgress(console, enabled=False) as progress:
        progress.update(1, 0, 0, 0)
    assert printed(console) == ""


def test_it_draws_by_itself_and_leaves_nothing_behind() -> None:
    console = console_of(80, colour=True)
    with ScanProgress(console) as progress:
        progress.update(12, 3, 1, 2, [("slow.exe", 4.0)])
        time.sleep(0.4)
    text = printed(console)
    assert "12 scanned" in text
    assert "slow.exe" in text
    assert text.endswith("\x1b[1A\x1b[2K")  # the last thing it does is wipe its lines
    progress.stop()
    assert printed(console) == text


def test_counts_and_the_slowest_files() -> None:
    progress = ScanProgress(console_of(80))
    progress.start()
    flight = [(f"file{i}.exe", float(i)) for i in range(10)]
    progress.update(1234, 5, 6, 7, flight, total=5000)
    lines = drawn(progress)
    assert lines[0].startswith("1,234 of 5,000 scanned  5 flagged  6 failed  7 skipped  ")
    assert lines[0].endswith(" files/s")
    names = [line.split()[-1] for line in lines[1:]]
    assert names == ["file9.exe", "file8.exe", "file7.exe", "file6.exe"]
    assert len(names) == MAX_IN_FLIGHT


def test_seconds_go_on_between_updates() -> None:
    progress = ScanProgress(console_of(80))
    progress.update(0, 0, 0, 0, [("a.exe", 5.0)])
    progress._updated -= 2.0
    assert drawn(progress)[1].startswith("   7.0 s  a.exe")


def test_hostile_and_long_paths_take_one_line() -> None:
    progress = ScanProgress(console := Console(file=io.StringIO(), width=60))
    assert console.width == 60
    progress.update(0, 0, 0, 0, [("a\x1b]52;c;x\x07\nb" + "/long" * 50 + "/[/red]end.exe", 1.0)])
    lines = drawn(progress, 60)
    assert len(lines) == 2
    assert lines[1].endswith("/[/red]end.exe")
    assert "\x1b" not in lines[1]
    assert len(lines[1]) <= 60
