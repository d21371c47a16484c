"""From paths to prepared samples: what workers have in hand, and batches of what comes of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from maltriage.bundle import Bundle
from maltriage.report.document import (
    Failed,
    Result,
    Skipped,
    path_fields,
)
from maltriage.sample.groups import Groups, Place
from maltriage.sample.prepare import Prepared, Same, prepare
from maltriage.sample.source import Found, Rejected, SampleError, walk
from maltriage.sample.workers import Workers
from maltriage.triage.options import Progress, ScanOptions, work_of

MAX_IN_FLIGHT = 64
"""Files under way; four a worker, where that is more."""
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
    asking: Asking | None = None,
) -> Iterator[Item | None]:
    """Prepared samples in the order of the walk; None while the next one takes its time.

    Args:
        recall: what is known of a file already; it then takes no worker.
        begin: called each time before a worker is asked for something.
        asking: how workers look up what a file's content is known for.
    """
    work = work_of(bundle, options)
    files = plain = Groups[Prepared | Same](workers, prepare, work)
    if asking is not None:
        files = Groups[Prepared | Same](workers, asking.prepare, work, *asking.arguments)
    queue: deque[_Task | Known] = deque()
    walker = walk(paths, options.walk)
    most = max(MAX_IN_FLIGHT, 4 * workers.jobs)
    more, looked = True, 0.0
    while more or queue:
        while more and len(queue) < most and not stop():
            found = next(walker, None)
            if found is None:
                more = False
            elif isinstance(found, Found):
                known = recall(found)
                if known is not None:
                    queue.append(known)
                    continue
                begin()
                queue.append(_Task(found.path, files, files.add(found.path, found.size)))
                files.give_if_idle()
            else:
                queue.append(_rejected(found))
        if stop():
            more = False
            for task in queue:
                if isinstance(task, _Task):
                    task.files.cancel(task.place)
        if not queue:
            break
        head = queue[0]
        if not more or (isinstance(head, _Task) and head.place.is_open):
            files.give()  # a group that no more files will join, or that is waited for
        now = time.monotonic()
        if now - looked >= _POLL:
            progress.in_flight, looked = _in_flight(queue), now
        item = head.result() if isinstance(head, _Task) else head
        if isinstance(item, Same):
            known = asking.recall(item) if asking is not None else None
            if known is None:  # the store has lost it meanwhile
                queue[0] = _Task(item.path, plain, plain.add(item.path, 0))
                plain.give()
                continue
            item = known
        if item is not None or (isinstance(head, _Task) and head.place.cancelled):
            queue.popleft()
        yield item


@dataclass(frozen=True)
class Asking:
    """`prepare`, with `arguments`, may say of a file that it is the `Same` as one that is known;
    `recall` then gives its record, None where there is none any more."""

    prepare: Callable[..., Prepared | Same]
    arguments: tuple[Any, ...]
    recall: Callable[[Same], Known | None]


@dataclass(frozen=True)
class _Task:
    """A file that a worker has, or will have."""

    path: str
    files: Groups[Prepared | Same]
    place: Place[Prepared | Same]

    def result(self) -> Item | Same | None:
        """What came of it; None if nothing has yet, or nothing will (cancelled)."""
        found = self.files.result(self.place, _POLL)
        return failed(self.path, found) if isinstance(found, SampleError) else found


def _in_flight(queue: Iterable[_Task | Known]) -> list[tuple[str, float]]:
    tasks = [task for task in queue if isinstance(task, _Task)]
    running = [(task.path, task.files.running(task.place)) for task in tasks]
    return [(path, seconds) for path, seconds in running if seconds is not None]


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
