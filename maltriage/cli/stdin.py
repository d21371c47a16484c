"""`-` among the paths of a command, or a file in the archive there: standard input as one file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.source.stdin import Stdin

STDIN = "-"
IN_IT = "-!"
"""How the path of a file in an archive on standard input begins."""


def is_stdin(path: str) -> bool:
    """Whether a path is standard input, or a file in the archive there."""
    return path == STDIN or (path.startswith(IN_IT) and not os.path.lexists(path))


def stdin_among(
    paths: Sequence[str], max_size: int, resources: ExitStack, files_from: str | None = None
) -> Stdin | None:
    """Standard input, held as long as `resources`; None if no path is of it.

    Raises:
        MaltriageError: standard input is also the list of paths, or a saved report, or there is no
            memory for it.
    """
    if not any(map(is_stdin, paths)):
        return None
    if files_from == STDIN:
        raise MaltriageError("- and --files-from -: standard input can be only one of them")
    from maltriage.report.saved.recognise import BEGIN, HEAD_BYTES
    from maltriage.source.stdin import read_stdin

    # What has no `peek` is the stand-in of a test, or of an application.
    peek = getattr(sys.stdin.buffer, "peek", lambda _: b"")
    try:
        if BEGIN.match(peek(HEAD_BYTES)):
            raise MaltriageError(
                "-: a saved report, which is read from a file: give it by its name"
            )
        return resources.enter_context(read_stdin(sys.stdin.buffer, max_size))
    except OSError as error:
        raise MaltriageError(
            f"standard input: no shared memory for it: {error.strerror}"
        ) from error
