"""Shows the progress of a scan on stderr: counts, speed, and the files in flight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.sanitize import clean

DRAW_SECONDS = 0.15
MAX_IN_FLIGHT = 4


class Watched(Protocol):
    """Counts of a scan, and the files in flight with their seconds."""

    files: int
    flagged: int
    failed: int
    skipped: int
    known: int
    in_flight: list[tuple[str, float]]


class ScanProgress:
    """A few lines at the foot of a terminal, drawn every 150 ms by a thread, removed at the end.

    Does nothing if the console is no terminal or `enabled` is false (quiet, or records on the same
    terminal). `update` only stores its arguments, so it is cheap to call.
    """

    def __init__(self, console: Console, enabled: bool = True) -> None:
        self._console = console
        self._began = self._updated = time.monotonic()
        self._counts: tuple[int, int, int, int] = (0, 0, 0, 0)
        self._total: int | None = None
        self._known = 0
        self._in_flight: tuple[tuple[str, float], ...] = ()
        self._watched: Watched | None = None
        self._live: Live | None = None
        if enabled and console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                console=console,
                get_renderable=self._draw,
                refresh_per_second=1 / DRAW_SECONDS,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def watching(self, progress: Watched) -> ScanProgress:
        """Read `progress` at each draw, instead of the arguments of `update`."""
        self._watched = progress
        return self

    def start(self) -> None:
        self._began = self._updated = time.monotonic()
        if self._live is not None:
            self._live.start(refresh=True)

    def stop(self) -> None:
        """Remove the lines. Safe to call twice."""
        if self._live is not None:
            self._live.stop()

    def update(
        self,
        scanned: int,
        flagged: int,
        failed: int,
        skipped: int,
        in_flight: Sequence[tuple[str, float]] = (),
        total: int | None = None,
        known: int = 0,
    ) -> None:
        """Store the current state of the scan.

        Args:
            scanned: files with a result.
            in_flight: paths of the files in flight, each with its seconds.
            total: number of files, if known.
            known: files that are known to be good.
        """
        self._updated = time.monotonic()
        self._counts = (scanned, flagged, failed, skipped)
        self._in_flight = tuple(in_flight)
        self._total = total
        self._known = known

    def __enter__(self) -> ScanProgress:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _draw(self) -> Group:
        now = time.monotonic()
        if (seen := self._watched) is not None:
            counts = seen.files, seen.flagged, seen.failed, seen.skipped
            self.update(*counts, seen.in_flight, known=seen.known)
        scanned, flagged, failed, skipped = self._counts
        speed = scanned / max(now - self._began, 1e-3)
        of = f" of {self._total:,}" if self._total is not None else ""
        head = Text.assemble(
            (f"{scanned:,}{of} scanned", "bold"),
            (f"  {flagged:,} flagged", "bold red" if flagged else "dim"),
            (f"  {failed:,} failed", "yellow" if failed else "dim"),
            (f"  {skipped:,} skipped", "dim"),
            (f"  {self._known:,} known good" if self._known else "", "dim"),
            f"  {speed:,.0f} files/s" if speed >= 10 else f"  {speed:.1f} files/s",
        )
        lines = [head]
        # The slowest first: it holds the scan up.
        slowest = sorted(self._in_flight, key=lambda item: -item[1])
        for path, seconds in slowest[:MAX_IN_FLIGHT]:
            age = f"{seconds + now - self._updated:6.1f} s  "
            shown = numbers.middle(clean(path), max(8, self._console.width - len(age) - 1))
            lines.append(Text(age + shown, style="dim"))
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)
