"""The end of a command that scans: Ctrl-C and the exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING

import typer

from maltriage.cli import options as opt
from maltriage.cli.stop import interrupt, overdue
from maltriage.cli.stop.interrupt import EXIT_INTERRUPTED
from maltriage.report.documents.record import Summary
from maltriage.report.sanitize import clean
from maltriage.triage.options import Progress

if TYPE_CHECKING:
    from maltriage.cli.asked import Asked
    from maltriage.cli.outputs import Sinks
    from maltriage.report.scan.progress import ScanProgress
    from maltriage.triage.request import RecordSource


HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""None: Windows has none."""
BREAK: signal.Signals | None = getattr(signal, "SIGBREAK", None)
"""Ctrl-Break, and what one program sends another to end it: only Windows has it."""


class Stop:
    """Whether the user asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal, as in a shell: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.

        Windows has no such rule: Ctrl-Break ends as Ctrl-C does.
        """
        return EXIT_INTERRUPTED if self.number in (None, BREAK) else 128 + self.number


@contextmanager
def stopping(*, in_time: bool = False) -> Iterator[Stop]:
    """The first Ctrl-C, Ctrl-Break, SIGTERM or SIGHUP asks to stop, also an earlier one; a second
    one but SIGHUP stops at once. A terminal that closes may send two SIGHUP; under `nohup` it
    counts for nothing.

    Args:
        in_time: end the process even if the block does not stop, see `maltriage.cli.stop.overdue`.
    """
    stop = Stop()
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def ask(number: int, frame: FrameType | None) -> None:
        if overdue.check():
            return
        if number == HANGUP:
            _write_nowhere(terminals)
        if stop():
            if number == HANGUP:
                return
            raise KeyboardInterrupt
        stop.number = number
        interrupt.note(number)

    stop.number = interrupt.take_over()
    ending = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        ending.append(HANGUP)
    if BREAK is not None:
        ending.append(BREAK)
    before = {number: signal.signal(number, ask) for number in ending}
    try:
        with overdue.ending_in_time() if in_time else nullcontext():
            yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_nowhere(numbers: Sequence[int]) -> None:
    """Have what is written to streams go to the null device: a terminal that closed is an error to
    each write."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in numbers:
        os.dup2(null, number)
    os.close(null)


def write_records(
    source: RecordSource,
    outputs: AbstractContextManager[Sinks],
    status: ScanProgress,
    quiet: bool,
    exit_zero: bool,
    asked: Asked | None = None,
    resumes: Callable[[], bool] = lambda: False,
    *,
    endless: bool = False,
) -> int:
    """Write the records of a source to its outputs, with progress on stderr.

    Args:
        asked: what the user named: where nothing of it is triaged, that is said, and the exit code
            is that of files that could not be read.
        resumes: whether --resume would go on, once the scan is stopped.
        endless: whether a stop is how the scan is meant to end.

    Returns:
        The exit code.

    Raises:
        MaltriageError: the source failed, or an output cannot be written.
    """
    progress, summary = Progress(), None
    with (
        stopping(in_time=True) as stop,
        outputs as sinks,
        status.watching(progress),
        _rotating(sinks) if endless else nullcontext(),
    ):
        for record in source.records(progress, stop):
            if isinstance(record, Summary):
                summary = record
                status.stop()
                sinks.finish(record, _how_far(progress) if stop() and not endless else None)
            else:
                if asked is not None:
                    asked.see(record)
                sinks.write(record)
            if sinks.gone:
                break  # as `head` wants no more; what was found so far is the exit code
    if endless:
        interrupt.forget()
    interrupted = (stop() and not endless) or (sinks.gone is not None and sinks.gone.overdue)
    if interrupted:
        whole = summary is not None and not summary.interrupted
        interrupt.say(_how_far(progress, resumes=not whole and resumes()))
    quiet = quiet or sinks.gone is not None
    tell(progress, quiet=quiet)
    for file in () if quiet else sinks.written:
        typer.echo(f"wrote {clean(str(file))}", err=True)
    interrupted = interrupted or (summary is not None and summary.interrupted)
    code = exit_code(progress, interrupted=interrupted, exit_zero=exit_zero)
    if asked is None or summary is None or code == EXIT_INTERRUPTED:
        return code
    for path, why in () if sinks.shown else asked.failed:
        typer.echo(f"maltriage: {clean(path)}: not read: {clean(why)}", err=True)
    for path, why in asked.unanswered():
        code = opt.EXIT_UNREAD
        if sinks.gone is None:  # no notice, which `quiet` would leave out: it is why the code is 3
            typer.echo(f"maltriage: {clean(path)}: nothing was triaged: {why}", err=True)
    return code


@contextmanager
def _rotating(sinks: Sinks) -> Iterator[None]:
    """A block in which SIGHUP has files begun anew under their names, so that one that was renamed
    is left behind; where there is a terminal, SIGHUP says that it closed, and ends the watch."""
    if HANGUP is None or _has_terminal():
        yield
        return
    before = signal.signal(HANGUP, lambda *_: sinks.begin_anew())
    try:
        yield
    finally:
        signal.signal(HANGUP, before)


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal, whatever its streams are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


def _how_far(progress: Progress, *, resumes: bool = False) -> str:
    """How many files of a stopped scan are done, and how to go on."""
    done = min(progress.done, progress.records)  # a file that was not verified yet has no record
    total = "" if progress.found is None else f"of {progress.found:,} "
    advice = "; go on with --resume" if resumes and done else ""
    return f"{done:,} {total}done{advice}"


def tell(progress: Progress, *, quiet: bool) -> None:
    """Print the notes of a scan on stderr."""
    for note in () if quiet else progress.notes:
        typer.echo(f"note: {clean(note)}", err=True)


def exit_code(progress: Progress, *, interrupted: bool, exit_zero: bool) -> int:
    """The exit code of a scan: see `maltriage.cli.options.EXIT_FLAGGED`."""
    if interrupted:
        return EXIT_INTERRUPTED
    if progress.failed:
        return opt.EXIT_UNREAD
    found = progress.flagged or progress.known_malware
    return opt.EXIT_FLAGGED if found and not exit_zero else 0
