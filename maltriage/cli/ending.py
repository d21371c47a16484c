"""How a command that scans ends: Ctrl-C, its exit code."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from maltriage.cli import options as opt
from maltriage.report.sanitize import clean
from maltriage.triage.options import Progress


class Stop:
    """Whether the user asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """As a shell has it of a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return opt.EXIT_INTERRUPTED if self.number is None else 128 + self.number


@contextmanager
def stopping() -> Iterator[Stop]:
    """The first Ctrl-C or SIGTERM asks to stop; a second one stops at once.

    Yields:
        Whether the user asked.
    """
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop():
            raise KeyboardInterrupt
        stop.number = number

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(progress: Progress, *, quiet: bool) -> None:
    """Say on stderr what a scan noted of how it ran."""
    for note in () if quiet else progress.notes:
        typer.echo(f"note: {clean(note)}", err=True)


def exit_code(progress: Progress, *, interrupted: bool, exit_zero: bool) -> int:
    """The exit code of a scan: see `maltriage.cli.options.EXIT_FLAGGED`."""
    if interrupted:
        return opt.EXIT_INTERRUPTED
    if progress.failed:
        return opt.EXIT_UNREAD
    return opt.EXIT_FLAGGED if progress.flagged and not exit_zero else 0
