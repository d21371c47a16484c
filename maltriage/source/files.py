"""Walks folders for samples. Read-only throughout."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch

from maltriage.errors import MaltriageError
from maltriage.files.atomic import PART
from maltriage.sample.errors import SampleError
from maltriage.source import remote
from maltriage.source.archive.find import split_path
from maltriage.source.decode import too_large
from maltriage.source.reading import MAX_FILE_BYTES, MAX_IN_PART
from maltriage.source.samples import failure
from maltriage.source.stdin import STDIN, Stdin
from maltriage.source.stores.base import Entry
from maltriage.source.urls import Remote

_JUNCTION = 0xA0000003
"""IO_REPARSE_TAG_MOUNT_POINT, which `stat` has on Windows alone."""


@dataclass(frozen=True)
class WalkOptions:
    """Options of a walk below the given paths. `depth` 0: only the files of a folder itself.

    `results`: output files written during the walk, finished or not (`PART`), which are no samples.
    `stdin`: the file for the path `-`; None: a file of that name. `remote`: the reader of URLs
    among the paths; None: they are paths like any other. `in_part`: whether larger files than
    `max_size` are found, see `Reading`. `follow`: whether links may lead out of the named folder.
    """

    depth: int | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_size: int = MAX_FILE_BYTES
    results: tuple[str, ...] = ()
    stdin: Stdin | None = None
    remote: Remote | None = None
    in_part: bool = False
    follow: bool = False


@dataclass(frozen=True)
class Found:
    """A file and its `stat` fields; None where only its size is known.

    For a file at a URL `inode` is a number made of its ETag, and `size` is 0 if unknown.
    """

    path: str
    size: int
    modified_ns: int | None = None
    changed_ns: int = 0
    """Time of the last change of its bytes or its entry; on Windows of its creation. Since the
    epoch, as is `modified_ns`."""
    inode: int = 0


@dataclass(frozen=True)
class Rejected:
    """A path that is not read, with a stable code; an error if `failed`, else a skip."""

    path: str
    code: str
    reason: str
    failed: bool

    @classmethod
    def of(cls, path: str, error: SampleError) -> Rejected:
        """A path that gave no sample."""
        return cls(path, error.code, error.reason, error.failed)


def read_list(data: bytes, name: str, *, null: bool = False) -> list[str]:
    """Paths of a list, one a line; bytes that are not UTF-8 survive, but on Windows.

    Args:
        name: of the list, for errors.
        null: each path ends with a NUL in place of the line, as `find -print0` writes it.

    Raises:
        MaltriageError: a path has a NUL, which no file's name can have, or is not UTF-8 on Windows,
            where names are Unicode.
    """
    if null:
        paths = data.split(b"\0")
        return [_listed(path, f"{name}: path {at}") for at, path in enumerate(paths, 1) if path]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:  # Windows PowerShell 5 writes it where output is redirected
            data = data.decode("utf-16", "surrogatepass").encode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise MaltriageError(f"{name}: not the UTF-16 that it begins as") from error
    data = data.removeprefix(codecs.BOM_UTF8)  # with which Windows PowerShell begins a file
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if b"\0" in line:
            raise MaltriageError(
                f"{name}: line {number} has a NUL byte; --null (-0) reads what find -print0 writes"
            )
    return [
        _listed(line.rstrip(b"\r"), f"{name}: line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _listed(path: bytes, where: str) -> str:
    try:
        return os.fsdecode(path)
    except UnicodeDecodeError as error:
        raise MaltriageError(f"{where} is not UTF-8") from error


def walk(
    paths: Iterable[str],
    options: WalkOptions,
    *,
    members: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Found | Rejected]:
    """The files below `paths`, lazily, each folder in the order of its names.

    With `members` a path may name a file in an archive: `archive.zip!x.exe`. `stop` is called
    while a server does not answer; once it returns true, the walk ends.

    A symbolic link, or a junction, is followed where the user names it, and below that only if it
    stays inside the named folder, unless `options.follow`, and leads to no folder already seen.
    FIFOs, sockets and devices are never opened.

    Below a URL files come in the order of the store, for S3 that of the keys.
    """

    def outer_of(path: str) -> str:
        return split_path(path, options.remote)[0] if members else path

    for path, status in remote.asked(paths, options.remote, outer_of, stop):
        if status is not None:
            yield from _at_url(path, status.what, options, stop)
            continue
        outer = outer_of(path)
        if outer == STDIN and options.stdin is not None:
            size = options.stdin.size
            if size > options.max_size:
                reason = f"above the limit of {options.max_size} bytes (--max-size lifts it)"
                yield Rejected(path, "too-large", reason, False)
            else:
                yield Found(path, size)
            continue
        try:
            found = os.stat(outer)
        except OSError as error:
            yield _failure(path, error)
            continue
        if stat.S_ISDIR(found.st_mode):
            seen = {(found.st_dev, found.st_ino)}
            yield from _walk_folder(path, os.path.realpath(path), seen, options)
        else:
            yield _file(path, found, options)


def _at_url(
    path: str,
    status: Entry | SampleError | None,
    options: WalkOptions,
    stop: Callable[[], bool],
) -> Iterator[Found | Rejected]:
    """The file at a URL, or the files below it."""
    if isinstance(status, SampleError):
        yield Rejected.of(path, status)
        return
    if status is not None:
        yield _entry(path, status, options)
        return

    def skip(url: str) -> bool:
        name = url.rpartition("/")[2]
        return any(fnmatch(name, glob) or fnmatch(url, glob) for glob in options.exclude)

    assert options.remote is not None
    for entry in remote.entries(path, options.remote, options.depth, skip, stop):
        if isinstance(entry, SampleError):
            yield Rejected.of(path, entry)
            continue
        name = entry.url.rpartition("/")[2]
        included = is_included(name, entry.url, options.include)
        if included and not skip(entry.url):
            yield _entry(entry.url, entry, options)


def is_included(name: str, path: str, globs: Sequence[str]) -> bool:
    """Whether a file is one that `--include` names: by its path where a pattern has a slash."""
    return not globs or any(fnmatch(path if "/" in glob else name, glob) for glob in globs)


def _entry(path: str, entry: Entry, options: WalkOptions) -> Found | Rejected:
    size = entry.size or 0
    if size > options.max_size:
        return Rejected(path, "too-large", too_large(size, options.max_size), False)
    known = None if entry.size is None else entry.modified_ns
    return Found(path, size, known, inode=entry.tag)


def _entries(folder: str) -> list[os.DirEntry[str]] | Rejected:
    """The entries of a folder, the last one by name first."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        return _failure(folder, error)


def _walk_folder(
    folder: str, root: str, seen: set[tuple[int, int]], options: WalkOptions
) -> Iterator[Found | Rejected]:
    levels = [_entries(folder)]  # no recursion: folders may lie in each other a thousand deep
    while levels:
        entries = levels[-1]
        if isinstance(entries, Rejected):
            yield entries
        if isinstance(entries, Rejected) or not entries:
            levels.pop()
            continue
        entry = entries.pop()  # and let it go: it keeps its `stat`, and a folder may have millions
        if any(fnmatch(entry.name, glob) or fnmatch(entry.path, glob) for glob in options.exclude):
            continue
        try:
            wrong = None
            if entry.is_symlink() or (sys.platform == "win32" and _is_junction(entry)):
                wrong = wrong_link(entry.path, None if options.follow else root)
            if wrong:
                yield Rejected(entry.path, "symlink", wrong, False)
                continue
            status = entry.stat()
            if stat.S_ISDIR(status.st_mode) and not status.st_ino:
                status = os.stat(entry.path)  # on Windows `entry.stat` has no inode
        except OSError as error:
            yield _failure(entry.path, error)
            continue
        if stat.S_ISDIR(status.st_mode):
            key = (status.st_dev, status.st_ino)
            if key in seen:
                yield Rejected(entry.path, "symlink", "a link to a folder already seen", False)
            elif options.depth is None or len(levels) <= options.depth:
                seen.add(key)
                levels.append(_entries(entry.path))
        elif options.results and is_result(entry.path, options.results):
            continue
        elif is_included(entry.name, entry.path, options.include):
            yield _file(entry.path, status, options)


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link of Windows to a folder, which is no symbolic link to Python."""
    tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)
    return bool(tag == _JUNCTION)


def wrong_link(path: str, root: str | None) -> str | None:
    """The reason not to follow a link, or None.

    Args:
        root: the folder that it must not lead out of; None: there is none.
    """
    try:
        target = os.path.realpath(path, strict=True)
        inside = root is None or os.path.commonpath([target, root]) == root
    except ValueError:  # another drive
        inside = False
    except OSError:
        return "a link to nothing, or in a circle"
    return None if inside else "a link out of the folder"


def is_result(path: str, results: tuple[str, ...]) -> bool:
    """Whether a file of a folder is one of `results`, finished or not."""
    folder, name = os.path.split(path)
    for result in results:
        own_folder, own = os.path.split(result)
        unfinished = name.startswith(f"{own}.") and name.endswith(PART)
        if name == own or unfinished:
            with suppress(OSError):  # the folder of results is gone
                if os.path.samefile(folder or ".", own_folder or "."):
                    return True
    return False


def _file(path: str, status: os.stat_result, options: WalkOptions) -> Found | Rejected:
    if not stat.S_ISREG(status.st_mode):
        return Rejected(path, "special-file", "not a regular file", False)
    if status.st_size > max(options.max_size, MAX_IN_PART if options.in_part else 0):
        return Rejected(path, "too-large", too_large(status.st_size, options.max_size), False)
    return Found(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _failure(path: str, error: OSError) -> Rejected:
    return Rejected.of(path, failure(error))
