"""URLs among the paths of a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.source.urls import Remote


def urls_among(paths: Sequence[str]) -> tuple[list[str], Remote | None]:
    """Paths by the names that may be shown, and how URLs are read; None where there are none.

    Raises:
        MaltriageError: one is of no store that is read, or what reads it is not installed.
    """
    from maltriage.source.urls import is_url, seal

    urls = [path for path in paths if is_url(path)]
    if urls:
        from maltriage.source.remote import check
        from maltriage.work.forkserver import expect_urls

        expect_urls(urls)  # of a list, which is read after the other paths
        check(urls)
    return seal(paths)


def on_disk(paths: Sequence[str]) -> list[str]:
    """Those of the paths that are no URLs."""
    from maltriage.source.urls import is_url

    return [path for path in paths if not is_url(path)]


def refuse_folders(paths: Sequence[str], remote: Remote) -> None:
    """Raise MaltriageError where a URL is that of a folder and one of a file is wanted."""
    from maltriage.source.archive.find import split_path
    from maltriage.source.remote import asked

    for path, status in asked(paths, remote, lambda path: split_path(path, remote)[0]):
        if status is not None and status.what is None:
            raise MaltriageError(f"{path}: a folder (scan takes folders, explain files)")
