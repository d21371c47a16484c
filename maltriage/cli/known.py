"""Reads the lists of known good files that a command names, or finds them in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maltriage.source.known import KnownList


def known_lists(paths: Sequence[str], *, quiet: bool) -> tuple[KnownList, ...]:
    """The lists that the user named.

    Raises:
        MaltriageError: see `read_known`.
    """
    if not paths:
        return ()
    from maltriage.cli.console import make_console
    from maltriage.cli.extras import status
    from maltriage.files.places import cache_dir
    from maltriage.source.known import FOLDER, read_known

    console = make_console(stderr=True)
    with status(console, "reading hashes of known files", enabled=not quiet):
        return tuple(read_known(path, cache_dir() / FOLDER) for path in paths)
