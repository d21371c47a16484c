"""The records of a chunk of files, from the engine that made them to who asked for them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from maltriage.report.documents.record import encode
from maltriage.results.policy import Collected
from maltriage.source.files import Found, Rejected
from maltriage.triage.options import Progress
from maltriage.triage.pipeline import Engine

KEPT = "kept"
"""Code of the placeholder for a file whose record the sender has already."""


@dataclass(frozen=True)
class Done:
    """The records of files, in order.

    `records` is their JSON, one a line, under zlib where it is `packed`; `files` the SHA-256 in hex
    of each record's file where it is a new result; `several` the paths of files with more than one
    record.
    """

    records: bytes
    files: list[str | None]
    several: list[str]
    packed: bool = False

    def lines(self) -> Iterator[bytes]:
        records = zlib.decompress(self.records) if self.packed else self.records
        return iter(records.splitlines())


def done(engine: Engine, files: Sequence[Found | Rejected], stop: Callable[[], bool]) -> Done:
    """The records of files; of the first ones only, if stopped meanwhile."""
    collected, lines, digests = Collected(), list[bytes](), list[str | None]()
    found = engine.records(files, policy=collected, progress=Progress(), stop=stop)
    for record in found:
        lines.append(encode(record) + b"\n")
        digests.append(collected.taken())
    return Done(b"".join(lines), digests, collected.several)
