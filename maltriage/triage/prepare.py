"""The stage that prepares: turns files into samples, in the order of the files."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from maltriage.bundle import Bundle
from maltriage.logs import logger
from maltriage.probe.prepare import Again, Prepared, Same
from maltriage.report.documents.record import FileRecord
from maltriage.results.policy import Policy
from maltriage.source.files import Found, Rejected, walk
from maltriage.triage.options import Progress, ScanOptions, work_of
from maltriage.triage.records import Item, rejected
from maltriage.work.dispatcher import Dispatcher, Task
from maltriage.work.workers import Workers

_log = logger(__name__)

MAX_IN_FLIGHT = 64
"""Files under way; four a worker, where that is more."""
SLOW_MILLISECONDS = 2000.0
POLL = 0.1
"""Seconds to wait for a sample that is not ready."""


def prepare_files(
    files: Iterable[Found | FileRecord],
    workers: Workers,
    bundle: Bundle,
    options: ScanOptions,
    policy: Policy,
    progress: Progress,
    stop: Callable[[], bool],
) -> Iterator[Item | None]:
    """Samples and records in the order of the files; None while the next one is not ready.

    The first None comes as soon as workers have something to do: the caller can load the model
    meanwhile.

    Args:
        files: files to prepare, or records known already; taken one by one, as there is room for
            them.
        policy: has the records of files that workers only hash, and takes note of archives.
    """
    finish = policy.lookup() if options.checks != 0 else None
    how = () if finish is None else (finish,)
    dispatcher = Dispatcher(workers, work_of(bundle, options), options.members, *how)
    queue: deque[Task | FileRecord] = deque()
    walker = iter(files)
    most = max(MAX_IN_FLIGHT, 4 * workers.count)
    more, begun, looked = True, False, 0.0
    while more or queue:
        while more and len(queue) < most and not stop():
            file = next(walker, None)
            if file is None:
                more = False
            elif isinstance(file, Found):
                queue.append(dispatcher.add(file.path, file.size))
                dispatcher.give_if_idle()
            else:
                queue.append(file)
        if stop():
            more = False
            for task in queue:
                if isinstance(task, Task):
                    dispatcher.cancel(task)
        if not queue:
            break
        head = queue[0]
        if not more or (isinstance(head, Task) and head.waits):
            dispatcher.give()  # a group that no more files will join, or that is due
        now = time.monotonic()
        if now - looked >= POLL:
            progress.in_flight, looked = _in_flight(queue, dispatcher), now
        if not isinstance(head, Task):
            queue.popleft()
            progress.done += 1
            yield head
            continue
        if not begun:
            begun = True
            yield None
        taken = dispatcher.take(head, POLL)
        if taken is None:
            if head.cancelled:
                queue.popleft()
            yield None
            continue
        queue.popleft()
        if taken.several:
            policy.forget(head.path)
        if taken.following is not None:
            queue.appendleft(taken.following)
        else:
            progress.done += 1
        for item in taken.items:
            _note(item)
            if isinstance(item, Prepared | Again):
                yield item
            else:
                yield policy.known(item) if isinstance(item, Same) else rejected(item)


def _note(item: Prepared | Same | Again | Rejected) -> None:
    """Log the result of a file; a slow one is logged at a higher level."""
    if isinstance(item, Prepared):
        slow = item.milliseconds >= SLOW_MILLISECONDS
        level = logging.INFO if slow else logging.DEBUG
        _log.log(level, "%s: prepared in %.1f ms", item.path, item.milliseconds)
    elif isinstance(item, Same):
        _log.debug("%s: known by its content", item.path)
    elif isinstance(item, Again):
        _log.debug("%s: of equal content with %s", item.path, item.of)
    else:
        _log.debug("%s: %s (%s)", item.path, item.code, item.reason)


def prepare_paths(
    paths: Iterable[str],
    workers: Workers,
    bundle: Bundle,
    options: ScanOptions,
    progress: Progress,
) -> Iterator[Item | None]:
    """`prepare_files` for the files below `paths`, without known records."""
    found = walk(paths, options.walk, members=options.archives is not None)
    files = (rejected(file) if isinstance(file, Rejected) else file for file in found)
    return prepare_files(files, workers, bundle, options, Policy(), progress, lambda: False)


def in_batches(items: Iterator[Item | None], size: int) -> Iterator[list[Item]]:
    """Group items so that the model gets `size` samples at once.

    Skips and failures wait with the samples before them, which keeps the order. If nothing more is
    ready, the incomplete batch goes, even an empty one.
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
    if batch:
        yield batch


def _in_flight(
    queue: Iterable[Task | FileRecord], dispatcher: Dispatcher
) -> list[tuple[str, float]]:
    tasks = [task for task in queue if isinstance(task, Task)]
    running = [(task.path, dispatcher.running(task)) for task in tasks]
    return [(path, seconds) for path, seconds in running if seconds is not None]
