"""The two consoles of a command, and what happens when the reader of stdout goes away."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NoReturn, TextIO

from rich.console import Console
from rich.segment import Segment

from maltriage.report.sanitize import clean_lines

Color = Literal["auto", "always", "never"]

PIPED_WIDTH = 160
"""Columns where no terminal sets them.

Enough for every column of the scan table with 60 to 90 cells left for the path, and for a
full sha256 with its label; still one line in a CI log or in `less -S`. COLUMNS overrides it.
"""


class _Console(Console):
    """What is printed on it passes the sanitizer once more, at the last moment.

    Renderers clean what comes from a sample themselves, since only they know how long it may be;
    this holds for the one that forgets. Rich's own codes are added behind it.
    """

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            segment
            if segment.control
            else Segment(clean_lines(segment.text), segment.style, segment.control)
            for segment in buffer
        )

    def on_broken_pipe(self) -> NoReturn:
        # Rich would exit with 1, which here means that something was flagged.
        raise BrokenPipeError(errno.EPIPE, "the reader went away")


def make_console(
    color: Color = "auto",
    stderr: bool = False,
    width: int | None = None,
    file: TextIO | None = None,
) -> Console:
    """A console for results (stdout, or `file`) or for progress and notices (stderr).

    `auto` colours a terminal and honours NO_COLOR, FORCE_COLOR and TERM; `always` and `never`
    were asked for by name and go over the environment. `never` writes no escape codes at all.
    Nothing is highlighted, no markup and no emoji code is read.
    """
    stream = file if file is not None else sys.stderr if stderr else sys.stdout
    _never_fail_on_characters(stream)
    if width is None and not _is_terminal(stream):
        columns = os.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdigit() and int(columns) else PIPED_WIDTH
    depth: Literal["auto", "256"] | None = None if color == "never" else "auto"
    while True:
        console = _Console(
            file=stream,
            stderr=stderr,
            width=width,
            color_system=depth,
            no_color=None if color == "auto" else color == "never",
            force_terminal=True if color == "always" else None,
            highlight=False,
            markup=False,
            emoji=False,
        )
        if color != "always" or console.color_system is not None:
            return console
        depth = "256"  # TERM says nothing or `dumb`, colours were asked for all the same


@dataclass
class Pipe:
    """Whether the reader of stdout has gone."""

    broken: bool = False


@contextmanager
def quiet_broken_pipe() -> Iterator[Pipe]:
    """Ends the block without a word when stdout is closed early (`maltriage scan . | head`).

    What is still buffered goes to the null device, so that the interpreter has nothing to
    complain about when it exits. The command looks at `broken` to choose its exit code.
    """
    pipe = Pipe()
    try:
        yield pipe
        sys.stdout.flush()
    except OSError as error:
        # Windows says EINVAL where POSIX raises EPIPE.
        windows = sys.platform == "win32" and error.errno == errno.EINVAL
        if not (isinstance(error, BrokenPipeError) or windows):
            raise
        pipe.broken = True
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, sys.stdout.fileno())
        except (OSError, ValueError):
            pass  # stdout is no file of the system (a test's buffer): nothing to redirect
        finally:
            os.close(null)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _never_fail_on_characters(stream: TextIO) -> None:
    """A name that the terminal's encoding lacks is shown escaped instead of ending the scan."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure and not (stream.encoding or "").lower().startswith("utf"):
        reconfigure(errors="backslashreplace")
