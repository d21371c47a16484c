"""Reads files at URLs: chooses the store of a URL and queries it. The only use of the network.

Nothing here touches the network, or imports fsspec, without a `Remote`: a user named a URL.
Workers get it when they start (`hold`); before that a URL is a path that does not exist.
Connections and event loops do not survive a fork, so each process makes its own when needed.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import BinaryIO

from maltriage.errors import MaltriageError
from maltriage.sample.errors import SampleError
from maltriage.source.archive.names import SEPARATOR
from maltriage.source.network_threads import Askers, StoppedError, answer
from maltriage.source.stores import SCHEMES, kind_of
from maltriage.source.stores.base import Entry, Store
from maltriage.source.urls import (
    Remote,
    has_wrong_user,
    is_chained,
    is_url,
    scheme_of,
    shown,
    split_web,
)
from maltriage.version import install_extra

ASKED_AT_ONCE, ASKED_AHEAD = 16, 64
"""Files of a list of URLs: requests at once, and files requested ahead."""

_one = Lock()
_held: Remote | None = None
"""In a worker: the reader of URLs that it got when it started."""


def hold(remote: Remote | None) -> None:
    """In a worker: set the reader of URLs."""
    global _held  # noqa: PLW0603 - given once, when a worker starts
    _held = remote


def held() -> Remote | None:
    """The reader of URLs of this process."""
    return _held


def check(urls: Iterable[str]) -> None:
    """Raise MaltriageError for a URL that cannot be read here by its form."""
    known: set[str] = set()
    for url in urls:
        name = shown(url)
        if is_chained(url):
            raise MaltriageError(
                f"{name}: a chain of URLs; archives are opened anyway: s3://bucket/a.zip"
            )
        scheme = scheme_of(url)
        if scheme not in SCHEMES:
            what = "a file of this machine has no scheme" if scheme in ("file", "local") else ""
            what = what or f"{scheme}:// is no store of files that is read: {', '.join(SCHEMES)}"
            raise MaltriageError(f"{name}: {what}")
        if has_wrong_user(url):
            raise MaltriageError(f"{name}: {scheme}:// takes no user from a URL")
        if not _host(url).rpartition("/")[2]:
            raise MaltriageError(f"{name}: it names no bucket and no server")
        if scheme not in known:
            known.add(scheme)
            _check_installed(scheme)


def split(path: str, remote: Remote) -> tuple[str, str | None]:
    """Split a path into the file at a URL and the file in it; see `archive.find.split_path`.

    A web URL has `!` as `%21` in itself. Keys may have it: the store is asked for each candidate.
    """
    if SEPARATOR not in path:
        return path, None
    if kind_of(scheme_of(path)).single:
        return split_web(path)
    store = _store(path, remote)
    at = len(path)
    ends = [at, *(i for i, character in enumerate(path) if character == SEPARATOR)]
    for at in ends:
        if store.is_file(remote.whole(path[:at])):
            return path[:at], path[at + 1 :] if at < len(path) else None
    return path, None


@contextmanager
def opened(url: str, remote: Remote, limit: int) -> Iterator[tuple[BinaryIO, int]]:
    """A file at a URL to read, and its size in bytes; see `Store.open`.

    Raises:
        SampleError: it cannot be read.
    """
    file, size = _store(url, remote).open(remote.whole(url), limit)
    with file:
        yield file, size


def entries(
    url: str,
    remote: Remote,
    depth: int | None,
    skip: Callable[[str], bool],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Entry | SampleError]:
    """The files below a folder at a URL, lazily but for a page; see `Store.pages`.

    Args:
        stop: called while no answer comes; once it returns true, the listing ends.
    """

    begun: list[Iterator[list[Entry | SampleError]]] = []

    def turn() -> list[Entry | SampleError] | None:
        with _turn(store := _store(url, remote)):
            if not begun:
                begun.append(store.pages(url, depth, skip))
            return next(begun[0], None)

    with Askers(1) as asker, suppress(StoppedError):
        future = asker.submit(turn)
        while (page := answer(future, stop)) is not None:
            future = asker.submit(turn)
            yield from page


@dataclass(frozen=True)
class Status:
    """The status of a URL: a file; the error of reading it; None: it is a folder."""

    what: Entry | SampleError | None


def asked(
    paths: Iterable[str],
    remote: Remote | None,
    outer: Callable[[str], str],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, Status | None]]:
    """Each path, with the status of a URL, some of which are requested ahead.

    Args:
        outer: gives the path of the file on disk or at a URL that holds a path.
        stop: called while no answer comes; once it returns true, no more paths are given.
    """
    if remote is None:
        yield from ((path, None) for path in paths)
        return
    ahead: deque[tuple[str, Future[Status] | None]] = deque()
    with Askers(ASKED_AT_ONCE) as askers, suppress(StoppedError):
        for path in paths:
            future = askers.submit(_ask, path, remote, outer) if is_url(path) else None
            ahead.append((path, future))
            if len(ahead) > ASKED_AHEAD:
                path, future = ahead.popleft()
                yield path, None if future is None else answer(future, stop)
        while ahead:
            path, future = ahead.popleft()
            yield path, None if future is None else answer(future, stop)


def _ask(path: str, remote: Remote, outer: Callable[[str], str]) -> Status:
    try:
        with _turn(store := _store(path, remote)):
            url = outer(path)
            return Status(store.status(url, remote.whole(url)))
    except SampleError as error:
        return Status(error)


def _turn(store: Store) -> AbstractContextManager[object]:
    """The lock of a store that cannot take requests at once; nothing for others."""
    return nullcontext() if store.parallel else _one


def _store(url: str, remote: Remote) -> Store:
    kind = kind_of(scheme_of(url))
    return _made(kind.module, _host(remote.whole(url)) if kind.by_host else "")


def _host(url: str) -> str:
    """A URL up to its host or bucket."""
    start = url.index("://") + 3
    return url[:start] + url[start:].partition("/")[0]


@lru_cache(maxsize=64)
def _made(module: str, host: str) -> Store:
    store: Store = importlib.import_module(f"maltriage.source.stores.{module}").store(host)
    return store


def _check_installed(scheme: str) -> None:
    """Raise MaltriageError where a package is not installed that URLs of a scheme take."""
    kind = kind_of(scheme)
    try:
        for name in kind.imports:
            importlib.import_module(name)
    except ImportError as error:
        reason = f"{scheme}:// needs the extra `remote`: {install_extra('remote')}"
        raise MaltriageError(reason) from error
    if kind.module == "other":
        from maltriage.source.stores.other import file_system

        try:
            file_system(scheme)
        except ImportError as error:
            raise MaltriageError(f"{scheme}:// needs another package: {error}") from error
