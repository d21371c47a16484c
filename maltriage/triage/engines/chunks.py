"""Cuts a walk into chunks for several engines, and puts their records back into its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Failed, FileRecord, Skipped, decode, path_fields
from maltriage.results.policy import Seen
from maltriage.source.files import Found, Rejected
from maltriage.triage.engines.done import KEPT, Done

CHUNK_FILES = 64
CHUNK_BYTES = 64 << 20
"""Bytes of a full chunk: about a second for two cores, while giving one out and taking its records
takes milliseconds."""
FIRST_FILES, AS_MANY = 8, 8
"""Files of the first chunks; after as many chunks of a size the next have twice the files."""
MAX_CRASHES = 2
"""Deaths of a chunk's process after which its files go one by one; after as many again a file is
given up."""
MAX_LOSSES = 6
"""The same including deaths of nodes, which say little about the files."""
LOST = "lost"
"""Code of a file whose processes died."""


class Given(NamedTuple):
    """A record; whether it is new; if it is a new result, the SHA-256 of its file in hex, and what
    the store keeps of it, where that is known."""

    record: FileRecord
    new: bool = False
    file: str | None = None
    data: bytes | None = None


@dataclass
class Chunk:
    """Consecutive files of a walk.

    `files` is sent to an engine. A file whose record is known is sent as a placeholder (`KEPT`),
    and the record is in `kept`, in the same order.
    """

    files: list[Found | Rejected] = field(default_factory=list)
    kept: list[FileRecord] = field(default_factory=list)
    bytes: int = 0
    crashes: int = 0
    losses: int = 0
    suspect: bool = False
    """Whether its process died: it then gets an engine to itself, so that no other is blamed."""
    done: Done | None = None
    """Its records; None: not done yet."""
    parts: list[Chunk] = field(default_factory=list)
    """The chunks that it was divided into."""
    target: object | None = None
    """Where its records go instead of coming back, as its engine understands it."""
    written: Counts | None = None
    """Counts of what went there; None: not written yet."""

    @property
    def all_kept(self) -> bool:
        """Whether all of its records are known."""
        return len(self.kept) == len(self.files)

    @property
    def first(self) -> str:
        """The path of its first file."""
        return next((file.path for file in self.files if file is not _PLACE), "")

    @property
    def complete(self) -> bool:
        """Whether its records are available."""
        if self.parts:
            return all(part.complete for part in self.parts)
        return self.done is not None or self.written is not None or self.all_kept

    def lose(self, *, crash: bool) -> list[Chunk]:
        """Handle the loss of its engine.

        Args:
            crash: its process alone died, not the whole machine.

        Returns:
            The chunks to queue: itself, or its files one by one, or none for a file that is given
            up.
        """
        self.losses += 1
        self.crashes += crash
        self.suspect = True
        if self.crashes < MAX_CRASHES and self.losses < MAX_LOSSES:
            return [self]
        if len(self.files) == 1:
            file = self.files[0]
            reason = f"the processes that had it died, {self.losses} times"
            shown, raw = path_fields(file.path)
            self.kept, self.files = [Failed(shown, LOST, reason, raw)], [_PLACE]
            return []
        records = iter(self.kept)
        for file in self.files:
            kept = [next(records)] if file is _PLACE else []
            self.parts.append(Chunk([file], kept, suspect=True))
        return [part for part in self.parts if not part.all_kept]

    def records(self) -> Iterator[Given]:
        """Its records in the order of the walk."""
        if self.parts:
            for part in self.parts:
                yield from part.records()
            return
        kept = iter(self.kept)
        if self.done is None:
            yield from map(Given, kept)
            return
        done = self.done
        data = done.kept or [None] * len(done.files)
        for line, file, stored in zip(done.lines(), done.files, data, strict=True):
            record = decode(line)
            assert isinstance(record, FileRecord)
            if isinstance(record, Skipped) and record.code == KEPT:
                yield Given(next(kept))
            else:
                yield Given(record, True, file, stored)

    def several(self) -> Iterator[str]:
        """Paths of files with more than one record."""
        for chunk in self.parts or [self]:
            if chunk.done is not None:
                yield from chunk.done.several

    def seen(self) -> Iterator[Seen]:
        """Its files with a content that the store knew."""
        for chunk in self.parts or [self]:
            if chunk.done is not None:
                yield from chunk.done.seen


_PLACE = Rejected("", KEPT, "", False)


def cut(
    found: Iterable[Found | Rejected | FileRecord],
    *,
    files: int = 0,
    size: int = CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Chunks of a walk, cut on demand: at most `files` files (0: `CHUNK_FILES`, the first ones
    fewer), and none after `size` bytes. A file whose record is known is sent as a placeholder."""
    chunk, number = Chunk(), 0
    for file in found:
        if isinstance(file, FileRecord):
            chunk.kept.append(file)
            chunk.files.append(_PLACE)
        else:
            chunk.files.append(file)
            chunk.bytes += file.size if isinstance(file, Found) else 0
        if len(chunk.files) >= (files or _files_of(number)) or chunk.bytes >= size:
            yield chunk
            chunk, number = Chunk(), number + 1
    if chunk.files:
        yield chunk


def _files_of(number: int) -> int:
    """Files of a chunk by its place, so that the first records are not awaited for a whole one."""
    return min(CHUNK_FILES, FIRST_FILES << number // AS_MANY)


def complete_among(chunks: Iterable[Chunk]) -> list[Chunk]:
    """The chunks of a stopped scan that have records, divided ones included."""
    having: list[Chunk] = []
    for chunk in chunks:
        if chunk.parts:
            having += complete_among(chunk.parts)
        elif chunk.complete:
            having.append(chunk)
    return having
