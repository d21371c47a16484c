"""Files and folders named on the command line of which nothing is triaged."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator

from maltriage.report.documents.record import (
    Failed,
    FileRecord,
    Record,
    Skipped,
    Summary,
    path_of,
)
from maltriage.report.scan.strip import reasons
from maltriage.sample.types import KNOWN_GOOD
from maltriage.source.archive.names import SEPARATOR
from maltriage.source.urls import is_url

_EMPTY = "there is no file in it"


class Asked:
    """What was named, and whether any record answers it: a verdict, a known good file or an error.

    A skip is no answer: who names a file that is no program, or an empty folder, is told.

    Args:
        named: files and folders on the command line, each of which wants an answer.
        listed: those of a list, of which one answer is enough: `find` lists what is no program too.
        source: the name of the list.
        filtered: whether files are left out by their names.
    """

    def __init__(
        self,
        named: Iterable[str],
        listed: Iterable[str] = (),
        source: str = "",
        *,
        filtered: bool = False,
    ) -> None:
        self._empty = "no file in it passes --include and --exclude" if filtered else _EMPTY
        by_hand, of_list = [(path, path) for path in named], [(path, source) for path in listed]
        self._only = source if of_list and not by_hand else None
        """The list that every record is of: nothing is kept of its paths, which may be millions."""
        whose = [] if self._only else of_list + by_hand
        self._whose = {_plain(path): name for path, name in whose}
        self._as_named = {_bare(path): _plain(path) for path, _ in whose}
        self._by_hand = {_plain(path): path for path, _ in by_hand}
        self.failed: list[tuple[str, str]] = []
        """What was named on the command line and could not be read itself, each with why."""
        names = [self._only] if self._only else self._whose.values()
        self._skipped: dict[str, Counter[str]] = {name: Counter() for name in names}

    def see(self, record: Record) -> None:
        if isinstance(record, Failed) and (name := self._by_hand.get(_plain(path_of(record)))):
            self.failed.append((name, record.reason))
        if not self._skipped or isinstance(record, Summary):
            return
        code = record.code if isinstance(record, Skipped) else None
        for name in [self._only] if self._only else self._names(record):
            if name not in self._skipped:
                continue
            if code is None or code == KNOWN_GOOD:
                del self._skipped[name]
            else:
                self._skipped[name][code] += 1

    def _names(self, record: FileRecord) -> Iterator[str | None]:
        for path in {self._as_named.get(above, above) for above in _above(path_of(record))}:
            yield self._whose.get(path)

    def unanswered(self) -> Iterator[tuple[str, str]]:
        """What was named and has no answer, each with why."""
        for name, codes in self._skipped.items():
            yield name, f"skipped: {reasons(codes)}" if codes else self._empty


def _plain(path: str) -> str:
    return path.rstrip("/") if is_url(path) else _bare(os.path.realpath(path))


def _bare(path: str) -> str:
    """A folder as `_above` has it: without a separator at its end, unless it is a root."""
    ends = path.endswith((os.path.sep, os.path.altsep or os.path.sep))
    return os.path.dirname(path if ends else path + os.path.sep)


def _above(path: str) -> Iterator[str]:
    """A path, what it is a member of, and the folders that it lies in.

    By their real names, and by those of the walk: a link that was followed leads elsewhere.
    """
    yield _plain(path)
    while SEPARATOR in path:
        path = path.rpartition(SEPARATOR)[0]
        yield _plain(path)
    for folder in (_plain(path), path):
        while (above := os.path.dirname(folder)) and above != folder:
            yield above
            folder = above
