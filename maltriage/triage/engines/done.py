"""The records of a chunk of files, from the engine that made them to who asked for them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from maltriage.report.documents.record import encode
from maltriage.results.policy import Collected, Seen
from maltriage.source.files import Found, Rejected
from maltriage.triage.options import Progress
from maltriage.triage.pipeline import Engine

KEPT = "kept"
"""Code of the placeholder for a file whose record the sender has already."""


@dataclass(frozen=True)
class Done:
    """The records of files, in order.

    `records` is their JSON, one a line, under zlib where it is `small`; `files` the SHA-256 in hex
    of each record's file where it is a new result; `kept` what the store keeps of each, where that
    was asked for; `several` the paths of files with more than one record; `seen` those with a
    content that the store knew.
    """

    records: bytes
    files: list[str | None]
    several: list[str]
    seen: list[Seen] = field(default_factory=list)
    kept: list[bytes | None] = field(default_factory=list)
    small: bool = False

    def lines(self) -> Iterator[bytes]:
        records = zlib.decompress(self.records) if self.small else self.records
        return iter(records.splitlines())


def done(
    engine: Engine,
    files: Sequence[Found | Rejected],
    stop: Callable[[], bool],
    collected: Collected | None = None,
) -> Done:
    """The records of files; of the first ones only, if stopped meanwhile.

    Args:
        collected: a new one, with what it looks up and makes; None: nothing.
    """
    collected, made = collected or Collected(), Done(b"", [], [])
    lines = list[bytes]()
    for record in engine.records(files, policy=collected, progress=Progress(), stop=stop):
        lines.append(encode(record) + b"\n")
        file, data = collected.taken()
        made.files.append(file)
        made.kept.append(data)
    return replace(made, records=b"".join(lines), several=collected.several, seen=collected.seen)
