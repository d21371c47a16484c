"""Files that appear below folders, or change, while they are watched."""

from __future__ import annotations

import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from maltriage.errors import MaltriageError, need
from maltriage.source.changed import SETTLED, Look
from maltriage.source.files import WalkOptions, is_included, is_result, wrong_link

if TYPE_CHECKING:
    from watchfiles import Change

STEP_MS = 250
"""Milliseconds between two looks at files that are not settled, and at `stop`."""
REMEMBERED = 100_000
"""Most files whose state is kept, so that an event without a change gives no second record."""

_State = tuple[int, int, int, bool]
"""Number, size and time of change of a file, and whether it may be read."""


def need_watch() -> None:
    """Raise MaltriageError if the extra `watch` is not installed."""
    need("watch", "--watch needs watchfiles", "watchfiles")


@dataclass(frozen=True)
class _Stop:
    """`stop` as the event that watchfiles asks."""

    stop: Callable[[], bool]

    def is_set(self) -> bool:
        return self.stop()


def appearing(
    folders: Sequence[str],
    options: WalkOptions,
    stop: Callable[[], bool],
    unsettled: list[str] | None = None,
) -> Iterator[list[str]]:
    """Paths of new and changed files, in lists, as they settle; it ends once `stop` returns true.

    The first list is empty: the watch has begun. What is in the folders by then is not given. The
    rules of a walk hold: depth, patterns, links, results. A file that was replaced or written to is
    given again, and so is one that may be read only now. A folder that may not be read is given
    itself, and its files as soon as it may. Each path begins with the folder as it was named.

    Args:
        unsettled: gets the files that have appeared and are not given when it ends.

    Raises:
        MaltriageError: a folder cannot be watched, or is gone or another one by now; or watchfiles
            is not installed.
    """
    need_watch()
    from watchfiles import Change

    for folder in folders:
        if not os.path.isdir(folder):
            raise MaltriageError(f"{folder}: no folder; --watch takes folders")
        if _is_closed(folder):
            raise MaltriageError(f"{folder}: Permission denied")
        try:
            os.path.realpath(folder).encode()
        except UnicodeEncodeError:
            raise MaltriageError(f"{folder}: its name is not UTF-8: not watched") from None
    # Events have resolved paths on some systems.
    roots = {os.path.realpath(folder): folder for folder in folders}
    places = {folder: _place(folder) for folder in folders}
    waiting: dict[str, tuple[_State, float]] = {}
    given: OrderedDict[str, _State] = OrderedDict()
    try:
        begun = False
        for changes in _events(list(roots), options, stop):
            if not begun:
                begun = True
                yield []
            for folder, place in places.items():
                if _place(folder) != place:
                    raise MaltriageError(f"{folder}: no longer the folder that was watched")
            if any(change is Change.added and os.path.isdir(path) for change, path in changes):
                _need_room(next(iter(roots)))
            now = time.monotonic()
            for change, path in changes:
                if change is Change.deleted:
                    continue
                # What is in a folder that has changed has events of its own.
                told = change is Change.modified and os.path.isdir(path) and not _is_closed(path)
                for name in _files_at(path) if not told else ():
                    waiting.setdefault(name, ((-1, -1, -1, False), now))
            ready = _settled(waiting, given, now)
            found = [named for path in ready if (named := _wanted(path, roots, options))]
            if found:
                yield found
    except OSError as error:
        reason = str(error).partition(" about ")[0].rstrip(".")  # and not the library's own terms
        raise MaltriageError(f"cannot watch {', '.join(roots.values())}: {reason}") from error
    if unsettled is not None:
        unsettled += [named for path in sorted(waiting) if (named := _wanted(path, roots, options))]


def _events(
    roots: list[str], options: WalkOptions, stop: Callable[[], bool]
) -> Iterator[set[tuple[Change, str]]]:
    """What watchfiles tells, and nothing where nothing changed.

    It passes by folders without permission only where it passes by those beyond the system's limit
    of watches as well, which is an error here. So it is asked to only where it has to. By a name
    that is not UTF-8 it ends with an error: then it begins anew, and where a folder that it passed
    by may be read. What it was not told of, or does not tell, is looked for.
    """
    import watchfiles
    from watchfiles import Change

    def watch(*, ignore: bool) -> Iterator[set[tuple[Change, str]]]:
        return watchfiles.watch(
            *roots,
            watch_filter=None,
            debounce=STEP_MS,
            rust_timeout=STEP_MS,
            yield_on_timeout=True,
            stop_event=_Stop(stop),
            raise_interrupt=False,
            recursive=options.depth != 0,
            ignore_permission_denied=ignore,
        )

    ignore, failed, look = False, 0, Look(roots, options.depth)
    closed, found = set[str](), set[tuple[Change, str]]()
    while failed < 2:
        try:
            for changes in watch(ignore=ignore):
                failed = 0
                if look.is_due(len(changes)):
                    changes |= {(Change.added, path) for path in look.again()}
                changes |= found
                yield changes
                touched = {path for _, path in changes}
                still = set(filter(_is_closed, touched))
                opened = set(filter(os.path.isdir, (closed & touched) - still))
                closed = closed - touched | still
                found = {(Change.added, path) for path in opened}
                if opened:
                    ignore, look.missed = False, True
                    break
            else:
                if look.missed:
                    yield {(Change.added, path) for path in look.again()}
                return
        except PermissionError:
            if ignore:
                raise
            ignore = True
            new = {folder for root in roots for folder in _files_at(root, closed=True)} - closed
            closed |= new
            found |= {(Change.added, folder) for folder in new}
        except RuntimeError as error:
            reason, look.missed, failed = error, True, failed + 1
    raise MaltriageError(f"cannot watch {', '.join(roots)}: {reason}")


def _need_room(root: str) -> None:
    """Raise OSError where the system has no room for one watch more: folders that have just
    appeared may have none then, about which watchfiles says nothing."""
    import watchfiles

    one = watchfiles.watch(root, recursive=False, rust_timeout=1, yield_on_timeout=True)
    try:
        next(one)
    except OSError as error:
        if "watch limit" in str(error):  # it may lack something else: that says nothing
            raise
    finally:
        one.close()


def _place(folder: str) -> tuple[int, int] | None:
    """What tells a folder from another one of its name; None: it is gone."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _files_at(path: str, *, closed: bool = False) -> Iterator[str]:
    """The file at a path, or the files of a folder that appeared with what is in it, and folders
    that may not be read.

    Args:
        closed: such folders alone.
    """
    denied: list[str] = []
    if not os.path.isdir(path) or os.path.islink(path):
        yield path
        return
    for folder, _, names in os.walk(path, onerror=lambda error: denied.append(error.filename)):
        for name in names if not closed else ():
            yield os.path.join(folder, name)
    yield from filter(_is_closed, denied)


def _is_closed(path: str) -> bool:
    """Whether this is a folder that may not be read."""
    try:
        os.scandir(path).close()
    except PermissionError:
        return os.path.isdir(path)
    except OSError:
        pass
    return False


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
        may_read = os.access(path, os.R_OK)
        state = (status.st_ino, status.st_size, status.st_mtime_ns, may_read)
        if state != before:
            waiting[path] = (state, now)
        elif now - since >= SETTLED:
            del waiting[path]
            *same, could = given.get(path) or (None, False)
            if same != [*state[:3]] or (may_read and not could):
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
    closed = _is_closed(path)
    if options.depth is not None and len(folders) + closed > options.depth:
        return None
    named = at = roots[root]
    for part in (*folders, name):
        at = os.path.join(at, part)
        if any(fnmatch(part, glob) or fnmatch(at, glob) for glob in options.exclude):
            return None
    if not (closed or is_included(name, at, options.include)):
        return None
    named = os.path.join(named, inner)
    if options.results and is_result(named, options.results):
        return None
    try:
        if os.path.realpath(path) != path and wrong_link(path, None if options.follow else root):
            return None
        return named if closed or stat.S_ISREG(os.stat(path).st_mode) else None
    except OSError:
        return None
