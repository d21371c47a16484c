"""The consoles of a command (stdout and stderr), and the handling of a closed stdout."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NoReturn, TextIO

from rich.console import Console
from rich.segment import Segment

from maltriage.cli.stop.interrupt import EXIT_INTERRUPTED
from maltriage.errors import MaltriageError, OverdueError
from maltriage.report.sanitize import clean_lines

Color = Literal["auto", "always", "never"]

PIPED_WIDTH = 160
"""Columns if there is no terminal; COLUMNS overrides it.

Enough for every column of the scan table with 60 to 90 cells left for the path, and for a
full sha256 with its label; still one line in a CI log or in `less -S`.
"""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, a quota or a limit that is full."""


_BLANKS = re.compile(r" +(?=\n)")


class _Console(Console):
    """A console that sanitizes all text once more before it is written.

    Renderers clean strings of a sample themselves, since only they know the maximum length;
    this catches one that forgets. Rich adds its own codes afterwards. Off a terminal no line ends
    in blanks, with which Rich fills the cells of a table.
    """

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        text = super()._render_buffer(
            segment
            if segment.control
            else Segment(clean_lines(segment.text), segment.style, segment.control)
            for segment in buffer
        )
        return text if self.is_terminal else _BLANKS.sub("", text)

    def on_broken_pipe(self) -> NoReturn:
        # Rich would exit with 1, the code for flagged files.
        raise BrokenPipeError(errno.EPIPE, "the reader went away")


def make_console(
    color: Color = "auto",
    stderr: bool = False,
    width: int | None = None,
    file: TextIO | None = None,
) -> Console:
    """A console for results (stdout, or `file`) or for progress and notices (stderr).

    `auto` colours a terminal and honours NO_COLOR, FORCE_COLOR and TERM; `always` and `never`
    override the environment. `never` writes no escape codes at all. Highlighting, markup and
    emoji codes are off.
    """
    stream = file if file is not None else sys.stderr if stderr else sys.stdout
    _never_fail_on_characters(stream)
    if width is None and not _is_terminal(stream):
        columns = os.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdigit() and int(columns) else PIPED_WIDTH
    depth: Literal["auto", "256"] | None = None if color == "never" else "auto"
    # Rich takes a pipe or a file on Windows for an old console, and would not ask `_render_buffer`.
    legacy = None if _is_terminal(stream) else False
    while True:
        console = _Console(
            file=stream,
            stderr=stderr,
            width=width,
            color_system=depth,
            no_color=None if color == "auto" else color == "never",
            force_terminal=True if color == "always" else None,
            legacy_windows=legacy,
            highlight=False,
            markup=False,
            emoji=False,
        )
        if color != "always" or console.color_system is not None:
            return console
        depth = "256"  # TERM is unset or `dumb`, but the user asked for colours


@dataclass
class Pipe:
    """Whether the reader of stdout has gone, or, `overdue`, does not read."""

    broken: bool = False
    overdue: bool = False

    @property
    def exit_code(self) -> int:
        """Of a command that has no other output."""
        return EXIT_INTERRUPTED if self.overdue else 0


@contextmanager
def quiet_broken_pipe() -> Iterator[Pipe]:
    """End the block quietly when stdout is closed early (`maltriage scan . | head`), or when its
    reader holds up a scan that was asked to stop.

    Buffered output goes to the null device, so that the interpreter reports no error at exit.
    The command chooses its exit code by what is yielded.

    Raises:
        MaltriageError: the disk is full that stdout is redirected to.
    """
    pipe = Pipe()
    try:
        yield pipe
        sys.stdout.flush()
    except (OSError, OverdueError) as error:
        pipe.overdue = isinstance(error, OverdueError)
        full = isinstance(error, OSError) and error.errno in _FULL
        if not (_is_readerless(error) or pipe.overdue or full):
            raise
        pipe.broken = True
        _discard_stdout()
        if full:
            raise MaltriageError(
                f"cannot write the output: {getattr(error, 'strerror', error)}"
            ) from error


def _is_readerless(error: BaseException) -> bool:
    """Whether an error may be that of writing to a pipe that nobody reads.

    On Windows that is EINVAL, as is every error that Python has no number for; but those have a
    number of Windows or the name of a file.
    """
    if isinstance(error, BrokenPipeError):
        return True
    if sys.platform != "win32" or not isinstance(error, OSError):
        return False
    told = getattr(error, "winerror", None) is not None or error.filename is not None
    return error.errno == errno.EINVAL and not told


def _discard_stdout() -> None:
    """Have what is written to stdout from here on go to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # stdout has no file descriptor (a test's buffer): nothing to redirect
    finally:
        os.close(null)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _never_fail_on_characters(stream: TextIO) -> None:
    """Escape characters that the terminal's encoding lacks, instead of failing."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure and not (stream.encoding or "").lower().startswith("utf"):
        reconfigure(errors="backslashreplace")
