"""From paths to prepared samples: what workers have in hand, and batches of what comes of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from maltriage.bundle import Bundle
from maltriage.report.document import (
    Failed,
    Result,
    Skipped,
    path_fields,
)
from maltriage.sample.prepare import Prepared, prepare
from maltriage.sample.source import Found, Rejected, SampleError, walk
from maltriage.sample.workers import Workers, reason_of
from maltriage.triage.options import Progress, ScanOptions, work_of

MAX_IN_FLIGHT = 64
_POLL = 0.1

Known = Result | Skipped | Failed
Item = Prepared | Result | Skipped | Failed


def prepared_items(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    workers: Workers,
    progress: Progress,
    stop: Callable[[], bool],
    recall: Callable[[Found], Known | None] = lambda found: None,
    begin: Callable[[], object] = lambda: None,
) -> Iterator[Item | None]:
    """Prepared samples in the order of the walk; None while the next one takes its time.

    Args:
        recall: what is known of a file already; it then takes no worker.
        begin: called each time before a worker is asked for something.
    """
    work = work_of(bundle, options)
    queue: deque[_Task | Known] = deque()
    walker = walk(paths, options.walk)
    more = True
    while more or queue:
        while more and len(queue) < MAX_IN_FLIGHT and not stop():
            found = next(walker, None)
            if found is None:
                more = False
            elif isinstance(found, Found):
                known: _Task | Known | None = recall(found)
                if known is None:
                    begin()
                    known = _Task(found.path, workers.submit(prepare, found.path, work))
                queue.append(known)
            else:
                queue.append(_rejected(found))
        if stop():
            more = False
            for task in queue:
                # What a worker has in hand is finished: cancelling it would kill the worker.
                if isinstance(task, _Task) and not task.future.running():
                    task.future.cancel()
        if not queue:
            break
        progress.in_flight = _in_flight(queue)
        head = queue[0]
        item = head.result(options.timeout) if isinstance(head, _Task) else head
        if item is not None or (isinstance(head, _Task) and head.future.cancelled()):
            queue.popleft()
        yield item


@dataclass
class _Task:
    """A file that a worker has, or will have."""

    path: str
    future: Future[Prepared]
    began: float | None = None
    """When it was first seen in a worker's hands."""

    def result(self, timeout: float) -> Item | None:
        """What came of it; None if nothing has yet, or nothing will (cancelled)."""
        try:
            # Not `result`: the TimeoutError of a worker could not be told from that of waiting.
            error = self.future.exception(timeout=_POLL)
        except (CancelledError, FutureTimeout):
            return None
        if error is None:
            return self.future.result()
        return failed(self.path, reason_of(error, timeout))


def _in_flight(queue: Iterable[_Task | Known]) -> list[tuple[str, float]]:
    now = time.monotonic()
    running = []
    for task in queue:
        if isinstance(task, _Task) and task.future.running():
            task.began = task.began or now
            running.append((task.path, now - task.began))
    return running


def failed(path: str, error: SampleError) -> Skipped | Failed:
    return _rejected(Rejected(path, error.code, error.reason, error.failed))


def _rejected(rejected: Rejected) -> Skipped | Failed:
    """The record of a path that gave no sample."""
    shown, raw = path_fields(rejected.path)
    kind = Failed if rejected.failed else Skipped
    return kind(shown, rejected.code, rejected.reason, raw)


def in_batches(items: Iterator[Item | None], size: int) -> Iterator[list[Item]]:
    """Group what comes so that the model gets `size` samples at once.

    Skips and failures wait with the samples before them, which keeps the order. Whatever
    is there goes when nothing more is ready, so an empty group says only that.
    """
    batch: list[Item] = []
    samples = 0
    for item in items:
        if item is not None:
            batch.append(item)
            samples += isinstance(item, Prepared)
        if item is None or samples == size or len(batch) == MAX_IN_FLIGHT:
            yield batch
            batch, samples = [], 0
    yield batch
