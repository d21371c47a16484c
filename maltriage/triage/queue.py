"""From paths to prepared samples: what workers have in hand, and batches of what comes of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from maltriage.bundle import Bundle
from maltriage.probe.prepare import Prepared
from maltriage.source.files import Found, Rejected, walk
from maltriage.triage.options import Progress, ScanOptions, work_of
from maltriage.triage.portions import POLL, Asking, Item, Known, Reader, Task, rejected
from maltriage.work.workers import Workers

MAX_IN_FLIGHT = 64
"""Files under way; four a worker, where that is more."""


def prepared_items(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    workers: Workers,
    progress: Progress,
    stop: Callable[[], bool],
) -> Iterator[Item | None]:
    """`prepare_found` of what is below `paths`, of which nothing is known already."""
    found = walk(paths, options.walk, members=options.archives is not None, stop=stop)
    return prepare_found(found, bundle, options, workers, progress, stop)


def prepare_found(
    found: Iterable[Found | Rejected],
    bundle: Bundle,
    options: ScanOptions,
    workers: Workers,
    progress: Progress,
    stop: Callable[[], bool],
    recall: Callable[[Found], Known | None] = lambda found: None,
    begin: Callable[[], object] = lambda: None,
    asking: Asking | None = None,
    several: Callable[[str], object] = lambda path: None,
) -> Iterator[Item | None]:
    """Prepared samples in the order that files are found in; None while the next takes its time.

    Args:
        found: files, as `walk` gives them; taken one by one, as there is room for them.
        recall: what is known of a file already; it then takes no worker.
        begin: called each time before a worker is asked for something.
        asking: how workers look up what a file's content is known for.
        several: called with the path of a file of which there may be more records than one.
    """
    reader = Reader(workers, work_of(bundle, options), options, asking, several)
    queue: deque[Task | Known] = deque()
    walker = iter(found)
    most = max(MAX_IN_FLIGHT, 4 * workers.jobs)
    more, looked = True, 0.0
    while more or queue:
        while more and len(queue) < most and not stop():
            file = next(walker, None)
            if file is None:
                more = False
            elif isinstance(file, Found):
                known = recall(file)
                if known is not None:
                    queue.append(known)
                    continue
                begin()
                queue.append(reader.begin(file))
            else:
                queue.append(rejected(file))
        if stop():
            more = False
            for task in queue:
                if isinstance(task, Task):
                    reader.cancel(task)
        if not queue:
            break
        head = queue[0]
        if not more or (isinstance(head, Task) and reader.waits(head)):
            reader.give()  # a group that no more files will join, or that is waited for
        now = time.monotonic()
        if now - looked >= POLL:
            progress.in_flight, looked = _in_flight(queue, reader), now
        if not isinstance(head, Task):
            queue.popleft()
            yield head
            continue
        taken = reader.take(head)
        if taken is None:
            if reader.cancelled(head):
                queue.popleft()
            yield None
            continue
        queue.popleft()
        items, following = taken
        if following is not None:
            queue.appendleft(following)
        yield from items


def _in_flight(queue: Iterable[Task | Known], reader: Reader) -> list[tuple[str, float]]:
    tasks = [task for task in queue if isinstance(task, Task)]
    running = [(task.path, reader.running(task)) for task in tasks]
    return [(path, seconds) for path, seconds in running if seconds is not None]


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
