"""What `cores.py` has in place of an engine's process: it answers recorded records, when a real
one would have them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing.connection import Connection
from threading import Lock, Thread

import msgspec

from maltriage.report.documents.record import Result, encode
from maltriage.results.policy import packed
from maltriage.source.files import Found
from maltriage.triage.engines.done import Done
from maltriage.triage.engines.pool import PIECES_EACH
from maltriage.triage.engines.serving import Answered, Opened

Parts = tuple[bytes, bytes, bytes, bytes]
"""A record as JSON, in three parts without path and SHA-256; and what the store keeps of it."""


@dataclass(frozen=True)
class Recorded:
    """In place of `serving.Setup`: the records, and the seconds that an engine takes for a file."""

    parts: list[Parts]
    each: float


def in_parts(record: Result) -> Parts:
    named = msgspec.structs.replace(record, path="<path>", path_b64=None, sha256="<sha>")
    before, rest = encode(named).split(b"<path>")
    middle, after = rest.split(b"<sha>")
    return before, middle, after + b"\n", packed(record)


def answer(end: Connection, setup: Recorded) -> None:
    """In place of `serving.serve`. Chunks that are under way at once share the engine's time."""
    sending = Lock()
    end.send(Opened())

    def later(number: int, files: list[Found]) -> None:
        until = time.monotonic() + PIECES_EACH * setup.each * len(files)
        made = Answered(number, done(setup, files))
        time.sleep(max(0.0, until - time.monotonic()))
        with sending, suppress(OSError):
            end.send(made)

    with suppress(EOFError, OSError):
        while True:
            asked = end.recv()
            if asked is not None:
                Thread(target=later, args=(asked.number, asked.files), daemon=True).start()
    os._exit(0)


def done(setup: Recorded, files: list[Found]) -> Done:
    made = Done(b"", [], [])
    lines = []
    for file in files:
        digest = sha256(os.fsencode(file.path)).hexdigest()
        before, middle, after, data = setup.parts[int(digest[:8], 16) % len(setup.parts)]
        lines += [before, os.fsencode(file.path), middle, digest.encode(), after]
        made.files.append(digest)
        made.kept.append(data)
    return Done(b"".join(lines), made.files, [], [], made.kept)
