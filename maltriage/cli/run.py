"""How a command that scans begins and ends: its output, Ctrl-C, its exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO, TextIO

import typer

from maltriage.cli import options as opt
from maltriage.cli.console import quiet_broken_pipe
from maltriage.errors import MaltriageError
from maltriage.triage.options import Progress


@dataclass(frozen=True)
class Output:
    """Where results go: machine formats write bytes, screens write text."""

    binary: BinaryIO
    text: TextIO


def keep(read: Sequence[str], output: Path | None) -> None:
    """Raise MaltriageError where results would be written over a sample or report to be read."""
    for name in read if output is not None and output.exists() else ():
        if os.path.exists(name) and os.path.samefile(name, str(output)):
            raise MaltriageError(f"{output}: it would be written over while it is read")


@contextmanager
def opened(path: Path | None) -> Iterator[Output]:
    """Results go to stdout, or to a file that is written anew.

    A reader of stdout that goes away ends the command quietly.

    Raises:
        MaltriageError: the file cannot be written, or the disk is full.
    """
    if path is None:
        with quiet_broken_pipe() as pipe:
            yield Output(sys.stdout.buffer, sys.stdout)
        if pipe.broken:
            raise typer.Exit(0)
        return
    try:
        with path.open("wb") as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="\n", write_through=True)
            yield Output(stream, text)
            text.detach()
    except OSError as error:
        raise MaltriageError(f"cannot write {path}: {error.strerror}") from error


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


def exit_code(progress: Progress, *, interrupted: bool, exit_zero: bool) -> int:
    """The exit code of a scan: see `maltriage.cli.options.EXIT_HELP`."""
    if interrupted:
        return opt.EXIT_INTERRUPTED
    if progress.failed:
        return opt.EXIT_UNREAD
    return opt.EXIT_FLAGGED if progress.flagged and not exit_zero else 0
