"""URLs among the paths of a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.source.urls import Remote


def urls_among(paths: Sequence[str]) -> tuple[list[str], Remote | None]:
    """Paths by the names that may be shown, and the reader of URLs; None if there are none.

    Raises:
        MaltriageError: a path is empty, a URL's store is unknown, or its library is not installed.
    """
    from maltriage.source.urls import is_url, seal

    if "" in paths:
        raise MaltriageError("a path is empty: a variable that is not set?")
    urls = [path for path in paths if is_url(path)]
    if urls:
        from maltriage.source.remote import check
        from maltriage.work.forkserver import expect_urls

        expect_urls(urls)  # those of --files-from, which is read after the other paths
        check(urls)
    return seal(paths)


def on_disk(paths: Sequence[str]) -> list[str]:
    """The paths that are not URLs."""
    from maltriage.source.urls import is_url

    return [path for path in paths if not is_url(path)]


def refuse_folders(paths: Sequence[str], remote: Remote) -> None:
    """Raise MaltriageError if a URL is that of a folder."""
    from maltriage.source.archive.find import split_path
    from maltriage.source.remote import asked

    for path, status in asked(paths, remote, lambda path: split_path(path, remote)[0]):
        if status is not None and status.what is None:
            raise MaltriageError(f"{path}: a folder (scan takes folders, explain files)")
