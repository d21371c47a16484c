"""Files that appear below folders, or change, while they are watched."""

from __future__ import annotations

import importlib.util
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from maltriage.errors import MaltriageError
from maltriage.source.files import WalkOptions, is_result, wrong_link

SETTLED = 1.0
"""Seconds for which a file must not change before it is read: it may be written still."""
STEP_MS = 250
"""Milliseconds between two looks at files that are not settled, and at `stop`."""
REMEMBERED = 100_000
"""Most files whose state is kept, so that an event without a change gives no second record."""

_State = tuple[int, int, int]


def need_watch() -> None:
    """Raise MaltriageError if the extra `watch` is not installed."""
    if importlib.util.find_spec("watchfiles") is None:
        raise MaltriageError("--watch needs watchfiles: pip install 'maltriage[watch]'")


@dataclass(frozen=True)
class _Stop:
    """`stop` as the event that watchfiles asks."""

    stop: Callable[[], bool]

    def is_set(self) -> bool:
        return self.stop()


def appearing(
    folders: Sequence[str], options: WalkOptions, stop: Callable[[], bool]
) -> Iterator[list[str]]:
    """Paths of new and changed files, in lists, as they settle; it ends once `stop` returns true.

    The first list is empty: the watch has begun. What is in the folders by then is not given. The
    rules of a walk hold: depth, patterns, links, results. A file that was replaced or written to is
    given again. Each path begins with the folder as it was named.

    Raises:
        MaltriageError: a folder cannot be watched, or watchfiles is not installed.
    """
    need_watch()
    import watchfiles

    for folder in folders:
        if not os.path.isdir(folder):
            raise MaltriageError(f"{folder}: no folder; --watch takes folders")
    # Events have resolved paths on some systems.
    roots = {os.path.realpath(folder): folder for folder in folders}
    waiting: dict[str, tuple[_State, float]] = {}
    given: OrderedDict[str, _State] = OrderedDict()
    try:
        events = watchfiles.watch(
            *roots,
            watch_filter=None,
            debounce=STEP_MS,
            rust_timeout=STEP_MS,
            yield_on_timeout=True,
            stop_event=_Stop(stop),
            raise_interrupt=False,
            recursive=options.depth != 0,
            ignore_permission_denied=True,
        )
        begun = False
        for changes in events:
            if not begun:
                begun = True
                yield []
            now = time.monotonic()
            for change, path in changes:
                if change is not watchfiles.Change.deleted:
                    for name in _files_at(path):
                        waiting.setdefault(name, ((-1, -1, -1), now))
            ready = _settled(waiting, given, now)
            found = [named for path in ready if (named := _wanted(path, roots, options))]
            if found:
                yield found
    except OSError as error:
        raise MaltriageError(f"cannot watch {', '.join(folders)}: {error}") from error


def _files_at(path: str) -> Iterator[str]:
    """The file at a path, or the files of a folder that appeared with what is in it."""
    if not os.path.isdir(path) or os.path.islink(path):
        yield path
        return
    for folder, _, names in os.walk(path):
        for name in names:
            yield os.path.join(folder, name)


def _settled(
    waiting: dict[str, tuple[_State, float]], given: OrderedDict[str, _State], now: float
) -> list[str]:
    """The files that have not changed for `SETTLED` seconds, which wait no longer; in the order of
    their names."""
    ready = []
    for path, (before, since) in list(waiting.items()):
        try:
            status = os.stat(path)
        except OSError:  # gone again
            del waiting[path]
            continue
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        if state != before:
            waiting[path] = (state, now)
        elif now - since >= SETTLED:
            del waiting[path]
            if given.get(path) != state:
                ready.append(path)
                given[path] = state
                given.move_to_end(path)
    while len(given) > REMEMBERED:
        given.popitem(last=False)
    return sorted(ready)


def _wanted(path: str, roots: dict[str, str], options: WalkOptions) -> str | None:
    """A path below the folder that the user named; None if a walk of it would not give the file."""
    root = next((root for root in roots if path.startswith(root.rstrip(os.sep) + os.sep)), None)
    if root is None:
        return None
    inner = os.path.relpath(path, root)
    folders, name = inner.split(os.sep)[:-1], os.path.basename(path)
    if options.depth is not None and len(folders) > options.depth:
        return None
    named = at = roots[root]
    for part in (*folders, name):
        at = os.path.join(at, part)
        if any(fnmatch(part, glob) or fnmatch(at, glob) for glob in options.exclude):
            return None
    if options.include and not any(fnmatch(name, glob) for glob in options.include):
        return None
    named = os.path.join(named, inner)
    if options.results and is_result(named, options.results):
        return None
    try:
        if os.path.realpath(path) != path and wrong_link(path, None if options.follow else root):
            return None
        return named if stat.S_ISREG(os.stat(path).st_mode) else None
    except OSError:
        return None
