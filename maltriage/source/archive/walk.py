"""Walks the files in an archive and the archives in it, in order, from any place on."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal

from maltriage.sample.errors import SampleError
from maltriage.source.archive.entries import Entry, Opening, damaged
from maltriage.source.archive.kinds import entries, kind_of_bytes
from maltriage.source.archive.limits import Archives, Budget, LimitError
from maltriage.source.archive.names import SEPARATOR


@dataclass(frozen=True)
class Member:
    """A file in an archive that may be a sample."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Trouble:
    """A file in an archive, or an archive, that cannot be read or is skipped."""

    path: str
    error: SampleError


OF_ALL = frozenset(("password", "archive-overlap", "archive-unlisted"))
"""Codes of errors of the archive, not of the file at which they are found."""
Ends = tuple[bytes, bytes, int]
"""First and last bytes of a file, and its size."""
MAX_SEEN = 256
"""Programs that a cursor remembers."""


@dataclass(frozen=True)
class Cursor:
    """The place up to which an archive was read.

    `at` are the places of the next file in the nested archives, the outermost first; `members`
    and `unpacked` the spent budget. `samples`, `troubles` and `others` count the items of each
    kind so far, `unread` the troubles of one file in it. `told`: archives already reported to open
    with no password. `seen`: programs so far, the latest last: SHA-256 in hex, ends and path.
    `met`: what the file is that alone matters, once it was seen.
    """

    at: tuple[int, ...] = ()
    members: int = 0
    unpacked: int = 0
    samples: int = 0
    troubles: int = 0
    others: int = 0
    unread: int = 0
    told: frozenset[str] = frozenset()
    seen: tuple[tuple[str, tuple[Ends, str]], ...] = ()
    met: Literal["", "file", "archive"] = ""

    def passing(self) -> Cursor:
        """A cursor behind the next file, which is skipped."""
        at = (*self.at[:-1], self.at[-1] + 1) if self.at else (1,)
        troubles, unread = self.troubles + 1, self.unread + 1
        return replace(self, at=at, members=self.members + 1, troubles=troubles, unread=unread)


@dataclass
class Walk:
    """A walk through the archive `file`, called `path`.

    `wanted` takes a name and first bytes and returns whether a file may be a sample. `only`: the
    path of the one file that matters, or its archive; nothing else is unpacked without need.
    `cursor()` is where to resume after each item.
    """

    file: BinaryIO
    path: str
    size: int
    limits: Archives
    max_size: int
    wanted: Callable[[str, bytes], bool]
    only: str | None = None
    cursor_from: Cursor = field(default_factory=Cursor)

    def __post_init__(self) -> None:
        start = self.cursor_from
        self._budget = Budget(self.limits, self.size, start.members, start.unpacked)
        self._at = list(start.at)
        self.samples, self.troubles, self.others = start.samples, start.troubles, start.others
        self.unread = start.unread
        self._told = set(start.told)
        self.seen = dict(start.seen)
        """See `Cursor.seen`."""
        self.ended = False
        """Whether the walk is over, because a cap was hit or the archive itself is damaged."""
        self.met = start.met
        """What `only` names, once it was seen."""

    def cursor(self) -> Cursor:
        """The place to resume after the last item."""
        at = (*self._at[:-1], self._at[-1] + 1) if self._at else ()
        budget = self._budget
        counts = (self.samples, self.troubles, self.others, self.unread)
        told, seen = frozenset(self._told), tuple(self.seen.items())
        return Cursor(at, budget.members, budget.unpacked, *counts, told, seen, self.met)

    def items(self, kind: str) -> Iterator[Member | Trouble | None]:
        """The files from `cursor_from` on; None for one that is no sample, which is counted.

        A cap ends the walk with a `Trouble` that names it.
        """
        self._at = []
        for item in self._all(kind):
            self.samples += isinstance(item, Member)
            if isinstance(item, Trouble):
                self.troubles += 1
                self.unread += item.path != self.path and item.error.code not in OF_ALL
            self.others += item is None
            yield item

    def _all(self, kind: str) -> Iterator[Member | Trouble | None]:
        try:
            yield from self._archive(self.file, kind, self.path, 1, self.cursor_from.at)
        except LimitError as error:
            self.ended = True
            yield Trouble(self.path, error)

    def _archive(
        self, file: BinaryIO, kind: str, path: str, level: int, resume: tuple[int, ...]
    ) -> Iterator[Member | Trouble | None]:
        start, inner = (resume[0], resume[1:]) if resume else (0, ())
        opening = Opening(
            file=file,
            kind=kind,
            name=path.rsplit(SEPARATOR, 1)[-1].replace("\\", "/").rsplit("/", 1)[-1],
            max_size=self.max_size,
            budget=self._budget,
            wanted=self._interesting,
            select=lambda name: self._on_the_way(f"{path}{SEPARATOR}{name}"),
            start=start,
            paid=start + bool(inner),
        )
        found = entries(opening)
        try:
            for entry in found:
                self._at[level - 1 :] = [entry.number]
                yield from self._entry(entry, f"{path}{SEPARATOR}{entry.name}", path, level, inner)
                inner = ()
        except (LimitError, MemoryError):
            raise
        except Exception as error:
            del self._at[level - 1 :]  # the walk goes on behind it, not in it
            self.ended = level == 1
            yield Trouble(path, error if isinstance(error, SampleError) else damaged(error))
        finally:
            found.close()  # type: ignore[attr-defined]

    def _entry(
        self, entry: Entry, path: str, archive: str, level: int, inner: tuple[int, ...]
    ) -> Iterator[Member | Trouble | None]:
        if entry.error is not None:
            if entry.error.code not in OF_ALL:
                yield Trouble(path, entry.error)
            elif archive not in self._told:  # once, not for each file in it
                self._told.add(archive)
                yield Trouble(archive, entry.error)
            return
        data = entry.data
        kind = None if data is None else kind_of_bytes(data)
        if path == self.only:
            self.met = "file" if kind is None else "archive"
        if data is None:
            if self._is_asked(path):
                yield None
        elif kind is None:
            if self._is_asked(path):
                yield Member(path, data)
        elif level >= self.limits.nesting:
            others = "another" if level == 1 else f"{level} others"
            reason = f"an archive inside {others} (--max-nesting lifts the limit)"
            yield Trouble(path, SampleError("archive-depth", reason))
        else:
            yield from self._archive(io.BytesIO(data), kind, path, level + 1, inner)

    def no_sample(self) -> None:
        """Count the last member as no sample."""
        self.samples -= 1
        self.others += 1

    @property
    def unpacked(self) -> int:
        """Bytes unpacked so far."""
        return self._budget.unpacked

    def _interesting(self, name: str, head: bytes) -> bool:
        return kind_of_bytes(head) is not None or self.wanted(name, head)

    def _is_asked(self, path: str) -> bool:
        """Whether a file is the one that matters, or in it."""
        only = self.only
        return only is None or path == only or path.startswith(f"{only}{SEPARATOR}")

    def _on_the_way(self, path: str) -> bool:
        """Whether a file is that, or an archive that it may be in."""
        return self._is_asked(path) or f"{self.only}".startswith(f"{path}{SEPARATOR}")
