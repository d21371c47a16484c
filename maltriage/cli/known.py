"""Reads the lists of known good files that a command names, or finds them in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.source.known import KnownList

MAX_SHOWN = 3
"""Most files that are named."""


def known_lists(
    paths: Sequence[str], *, quiet: bool, no_cache: bool = False
) -> tuple[KnownList, ...]:
    """The lists that the user named.

    Args:
        no_cache: sort them in a temporary folder, as where the cache cannot be written.

    Raises:
        MaltriageError: see `read_known`.
    """
    if not paths:
        return ()
    from maltriage.cli.bars import status
    from maltriage.cli.console import make_console
    from maltriage.files.places import cache_dir
    from maltriage.source.known import FOLDER, UnwritableError, read_known

    console = make_console(stderr=True)
    with status(console, "reading hashes of known files", enabled=not quiet):
        try:
            folder = _temporary() if no_cache else cache_dir() / FOLDER
            return tuple(read_known(path, folder) for path in paths)
        except UnwritableError:
            if no_cache:
                raise
            return known_lists(paths, quiet=True, no_cache=True)


def _temporary() -> Path:
    """A folder that is removed when this process ends."""
    import atexit
    import tempfile

    from maltriage.errors import cannot_write
    from maltriage.files.temporary import make_folder, remove_folder

    try:
        folder = make_folder(Path(tempfile.gettempdir()))
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error) from error
    atexit.register(remove_folder, folder)
    return folder


def contradicted(lists: Sequence[KnownList], bundle: Bundle, index: str | None) -> str | None:
    """What to tell of files that are in a list, and malware in the index; None: there are none.

    Args:
        index: see `maltriage.similar.search.open_index`.

    Raises:
        MaltriageError: the index cannot be read, or is one of another bundle.
    """
    if not lists:
        return None
    from maltriage.report import numbers
    from maltriage.similar.search import open_index
    from maltriage.source.known import has_sha256

    searcher = open_index(bundle, index)
    of_index = () if searcher is None else searcher.index.malware()
    found = sorted(digest for digest in of_index if has_sha256(lists, digest))
    if not found:
        return None
    shown = ", ".join(found[:MAX_SHOWN]) + (" and more" if len(found) > MAX_SHOWN else "")
    many = numbers.count(len(found), "file")
    return f"{many} of the index that are malware are known good by a list, which counts: {shown}"
