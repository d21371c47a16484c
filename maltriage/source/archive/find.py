"""Finds one file of an archive: the one that a path names, or the only one."""

from __future__ import annotations

import os
from typing import BinaryIO

from maltriage.sample.errors import SampleError
from maltriage.source.archive.entries import Opening, damaged
from maltriage.source.archive.kinds import entries
from maltriage.source.archive.limits import Archives, Budget
from maltriage.source.archive.names import SEPARATOR
from maltriage.source.archive.walk import Member, Trouble, Walk
from maltriage.source.remote import held, split
from maltriage.source.stdin import STDIN
from maltriage.source.urls import Remote, is_url


def split_path(path: str, remote: Remote | None = None) -> tuple[str, str | None]:
    """Split a path into the file on disk and the file in it: `a.zip!b.exe` is `a.zip`, `b.exe`.

    The second is None where the path is that of a file on disk, or names no file in one.

    Args:
        remote: the reader of URLs; None: the one that this process holds, if any.

    Raises:
        SampleError: a store at a URL cannot list its files.
    """
    remote = remote or held()
    if remote is not None and is_url(path):
        return split(path, remote)
    if SEPARATOR not in path or os.path.lexists(path):
        return path, None
    at = path.find(SEPARATOR)
    while at >= 0:
        if path[:at] == STDIN or os.path.isfile(path[:at]):
            return path[:at], path[at + 1 :]
        at = path.find(SEPARATOR, at + 1)
    return path, None


def find_member(
    file: BinaryIO,
    archive: str,
    path: str,
    size: int,
    kind: str,
    limits: Archives,
    max_size: int,
) -> bytes:
    """The bytes of the file `path` in the archive `archive` of `size` bytes, which `file` reads.

    Raises:
        SampleError: the file is missing, cannot be read or is too large, or a cap was hit before.
    """
    walk = Walk(file, archive, size, limits, max_size, lambda name, head: True, only=path)
    trouble: SampleError | None = None
    for item in walk.items(kind):
        if isinstance(item, Member) and item.path == path:
            return item.data
        if isinstance(item, Trouble):
            trouble = trouble or item.error
    raise trouble or SampleError("not-found", "no such file in the archive", failed=True)


def only_member(
    file: BinaryIO, path: str, size: int, kind: str, limits: Archives, max_size: int
) -> tuple[str, bytes]:
    """Name and bytes of the one file in an archive, as in labelled collections.

    An archive in it is not opened.

    Raises:
        SampleError: it holds no file, several or one that is too large (a skip), needs another
            password, or is damaged.
    """
    budget = Budget(limits, size)
    opening = Opening(file, kind, os.path.basename(path), max_size, budget, lambda name, head: True)
    found = None
    try:
        for count, entry in enumerate(entries(opening), 1):
            if count > 1:
                raise SampleError("archive", "an archive of several files, where one is expected")
            found = entry
    except (SampleError, MemoryError):
        raise
    except Exception as error:
        raise damaged(error) from error
    if found is None:
        raise SampleError("archive", "an archive without files, where one is expected")
    if found.error is not None:
        raise found.error
    if found.data is None:
        raise SampleError("archive", "an archive of a link, where a file is expected")
    return found.name, found.data
