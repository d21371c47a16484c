"""The records of several engines in the one order of the walk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from maltriage.report.documents.record import FileRecord
from maltriage.results.policy import Policy
from maltriage.source.walked import Walked
from maltriage.triage.engines.chunks import Chunk, complete_among, cut
from maltriage.triage.engines.pool import POLL, Pool
from maltriage.triage.options import Progress
from maltriage.triage.pipeline import recalled
from maltriage.triage.request import ScanRequest

STOP_SECONDS = 10.0
"""Time for engines to hand in their records when a scan is stopped, beyond the time of a file."""


def ordered(
    request: ScanRequest,
    found: Walked,
    pool: Pool[Any],
    progress: Progress,
    stop: Callable[[], bool],
) -> Iterator[FileRecord]:
    """The records of files, in the order of the walk, from the engines of a pool.

    They are kept in the store, and not counted in `progress` yet.
    """
    options, policy = request.options, request.policy
    look = options.checks != 0
    chunks = cut(recalled(found, policy, options))
    window: deque[Chunk] = deque()
    more = True
    while more or window:
        while more and len(window) < pool.room() and not stop():
            chunk = next(chunks, None)
            if chunk is None:
                more = False
            else:
                window.append(chunk)
                pool.add(chunk)
        if stop():
            pool.stop(options.timeout + STOP_SECONDS)
            more, window = False, deque(complete_among(window))
        while window and window[0].complete:
            yield from _given(window.popleft(), policy, progress, keep=look)
        if window:
            pool.step(POLL)
            progress.in_flight = pool.in_flight()
    if stop():
        progress.found = found.total()


def counted(records: Iterator[FileRecord], progress: Progress) -> Iterator[FileRecord]:
    """The records, each counted in `progress`."""
    for record in records:
        progress.add(record)
        yield record


def _given(chunk: Chunk, policy: Policy, progress: Progress, *, keep: bool) -> Iterator[FileRecord]:
    """The records of a chunk, each kept in the store."""
    for path in chunk.several():
        policy.forget(path)
    for seen in chunk.seen():
        policy.note(seen)
    number = 0
    for record, new, file, data in chunk.records():
        if new and keep:
            policy.keep(record, file, data)
        number += 1
        yield record
    progress.done += min(len(chunk.files), number)  # fewer of a scan that is stopped
    policy.commit()
