"""`-` among the paths of a command: standard input as one file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.source.stdin import Stdin


def stdin_among(
    paths: Sequence[str], max_size: int, resources: ExitStack, files_from: str | None = None
) -> Stdin | None:
    """Standard input, held as long as `resources`; None if no path is `-`.

    Raises:
        MaltriageError: standard input is also the list of paths, or there is no memory for it.
    """
    if "-" not in paths:
        return None
    if files_from == "-":
        raise MaltriageError("- and --files-from -: standard input can be only one of them")
    from maltriage.source.stdin import read_stdin

    try:
        return resources.enter_context(read_stdin(sys.stdin.buffer, max_size))
    except OSError as error:
        raise MaltriageError(
            f"standard input: no shared memory for it: {error.strerror}"
        ) from error
