"""Gives files to workers and takes their results: one dispatcher for files and for archives.

Small files go to a worker in groups, so that they do not wait on messages. An archive comes back in
chunks: the next one is requested, from a cursor, once its predecessors are taken. A worker
publishes which file of a group it reads, and since when; so one that dies, or exceeds the time
limit, costs that file, and the rest of the group is given out again.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from typing import Any, Literal

from maltriage.files.raw_names import name_bytes
from maltriage.logs import logger
from maltriage.probe.members import (
    Chunk,
    ChunkOptions,
    Item,
    is_archive,
    prepare_members,
)
from maltriage.probe.prepare import (
    Again,
    Finish,
    Prepared,
    PrepareOptions,
    Same,
    prepare_contents,
    prepare_file,
)
from maltriage.sample.errors import SampleError
from maltriage.source.archive.walk import Cursor
from maltriage.source.files import Rejected
from maltriage.source.stdin import STDIN
from maltriage.work.answers import is_answer
from maltriage.work.job import Job, WorkerDiedError
from maltriage.work.process import publish
from maltriage.work.workers import LOST, Workers, reason_of

Members = Literal["only", "first", "each"]
_log = logger(__name__)

MAX_GROUP_FILES = 8
MAX_GROUP_BYTES = 4 << 20
"""Bytes of a full group: they take milliseconds to read, a message takes 0.1."""
FIRST_SAMPLES, NEXT_SAMPLES = 16, 128
"""Samples of an archive in one chunk. The first chunk of every archive may wait; further ones are
read only of the archive whose results are taken."""
SHARE_OF_TIMEOUT = 0.25
"""Share of a file's time limit after which a chunk ends; the chunk itself may take all of it."""
TOO_LONG = "archive-time"
MAX_NAMED = 8
"""Most programs named of an archive where one was expected."""
_BETRAYED = reason_of(WorkerDiedError(None), 0.0)
"""The error of a file that a worker gave no answer to."""
_AHEAD = 2
"""Groups waiting per worker, from which on the next one waits until it is full."""


@dataclass(eq=False)
class Task:
    """A file that a worker has, or will have; for an archive, the chunk from `cursor` on.

    `function` is called with `arguments`, in a group with other files or alone.
    """

    path: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    cursor: Cursor | None = None
    alone: int = 0
    """Number of members to read one by one from here on, after a chunk was lost."""
    again: bool = False
    """Whether it is read for the second time."""
    bare: SampleError | None = None
    """The loss after which the headers alone are read."""
    seconds: float = 0.0
    """Time that workers spent on the archive so far."""
    lost: SampleError | None = None
    """The error of the last attempt, which was lost with its worker."""
    held: Sequence[Item] = ()
    """Items of earlier chunks, where all are needed at once."""
    group: _Group | None = None
    outcome: Any = None
    """The function's result, or a SampleError; None: not yet known."""
    cancelled: bool = False

    @property
    def waits(self) -> bool:
        """Whether it waits for other files to fill its group."""
        return self.group is None and self.outcome is None and not self.cancelled


@dataclass(eq=False)
class _Group:
    """Files that one worker reads one after another."""

    tasks: list[Task]
    job: Job[list[Any]]


@dataclass(frozen=True)
class Taken:
    """The results of a task, in order.

    `following` is the task of the archive's next chunk. `several`: the file has, or may have, more
    than one item.
    """

    items: Sequence[Item]
    following: Task | None = None
    several: bool = False


def each(calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
    """In a worker: the result of each call, in order, or its SampleError.

    The number of the current call is published.

    Raises:
        MemoryError: of the current call.
    """
    results: list[Any] = []
    for step, (function, arguments) in enumerate(calls):
        publish(step)
        try:
            results.append(function(*arguments))
        except MemoryError:
            raise  # a process that answers so is replaced: parsers do not give back what they took
        except Exception as error:
            results.append(reason_of(error, 0.0))
    return results


class Dispatcher:
    """Has workers prepare files, and archives chunk by chunk.

    Args:
        workers: the processes; each job has their time limit.
        options: how each sample is prepared.
        members: whether `each` program in an archive is a sample of its own, or the archive stands
            for the `only` file in it, or for the one program among its files (`first`).
        finish: called with each sample in the worker.
    """

    def __init__(
        self,
        workers: Workers,
        options: PrepareOptions,
        members: Members = "only",
        finish: Finish = prepare_contents,
    ) -> None:
        self._workers, self._options = workers, options
        self._members, self._finish = members, finish
        self._open: list[Task] = []
        self._bytes = 0
        self._given: deque[_Group] = deque(maxlen=_AHEAD * workers.count)

    def add(self, path: str, size: int) -> Task:
        """Queue a file of `size` bytes, to be read now or with others."""
        task = self._task(path, None)
        if self._open and self._bytes + size > MAX_GROUP_BYTES:
            self.give()
        self._open.append(task)
        self._bytes += size
        if len(self._open) == MAX_GROUP_FILES or self._bytes >= MAX_GROUP_BYTES:
            self.give()
        return task

    def give(self) -> None:
        """Send the waiting files to workers."""
        tasks = [task for task in self._open if not task.cancelled]
        if tasks:
            self._given.append(self._submit(tasks))
        self._open, self._bytes = [], 0

    def give_if_idle(self) -> None:
        """Send them if the workers have little else to do."""
        waiting = sum(not group.job.done() for group in self._given)
        if waiting < _AHEAD * self._workers.count:
            self.give()

    def cancel(self, task: Task) -> None:
        """Cancel a task, unless a worker has begun it."""
        if task.group is None:
            task.cancelled = task.outcome is None
        else:
            task.group.job.cancel()  # no effect on a running job

    def running(self, task: Task) -> float | None:
        """Seconds since a worker began a task; None: none did."""
        group = task.group
        if task.outcome is not None or group is None or not group.job.running():
            return None
        step, since = self._workers.at(group.job)
        if group.tasks[min(step, len(group.tasks) - 1)] is not task:
            return None
        return max(0.0, time.monotonic() - since) if since else 0.0

    def take(self, task: Task, wait: float) -> Taken | None:
        """The results of a task; None: nothing after `wait` seconds, or never
        (`task.cancelled`)."""
        found = self._outcome(task, wait)
        if found is None:
            return None
        if isinstance(found, Prepared | Same):
            return Taken([found])
        if isinstance(found, Chunk):
            return self._taken(task, found)
        if isinstance(found, SampleError):
            return self._missed(task, found)
        assert task.lost is not None  # `found` is now whether it is an archive
        if not found:
            return Taken([], self._once_more(task, task.lost))
        return Taken([], self._next(task, None, alone=FIRST_SAMPLES), several=True)

    def _outcome(self, task: Task, wait: float) -> Any:
        group = task.group
        if task.outcome is None and group is not None and not task.cancelled:
            try:
                # Not `result`: a worker's TimeoutError could not be told from that of waiting.
                error = group.job.exception(timeout=wait)
            except FutureTimeout:
                return None
            except CancelledError:
                for other in group.tasks:
                    other.cancelled = True
                return None
            self._settle(group, error)
        return task.outcome

    def _settle(self, group: _Group, error: BaseException | None) -> None:
        """Hand the outcome of a group to its tasks; tasks without one go to other groups."""
        # Measured here: what a worker says of its time is not believed.
        share = group.job.seconds / len(group.tasks)
        for task in group.tasks:
            task.seconds += share
        if error is None:
            found = group.job.result()
            given = isinstance(found, list) and len(found) == len(group.tasks)
            views = {spec.name for spec in self._options.views}
            for number, task in enumerate(group.tasks):
                task.outcome, task.group = _BETRAYED, None
                if given and _answers(task, found[number], views):
                    task.outcome = found[number]
            return
        if isinstance(error, WorkerDiedError | TimeoutError | MemoryError) or len(group.tasks) == 1:
            step, _ = self._workers.at(group.job)
            culprit = group.tasks.pop(min(step, len(group.tasks) - 1))
            culprit.outcome, culprit.group = reason_of(error, self._workers.timeout), None
            _log.info("%s: %s", culprit.path, culprit.outcome.reason)
            if group.tasks:
                self._submit(group.tasks)
        else:
            for task in group.tasks:
                self._submit([task])

    def _submit(self, tasks: list[Task]) -> _Group:
        calls = [(task.function, task.arguments) for task in tasks]
        job = self._workers.submit(each, calls, steps=len(calls))
        group = _Group(tasks, job)
        for task in tasks:
            task.group = group
        return group

    def _task(
        self,
        path: str,
        cursor: Cursor | None,
        alone: int = 0,
        left: float = math.inf,
        bare: SampleError | None = None,
    ) -> Task:
        if self._members == "only":
            return Task(path, prepare_file, (path, self._options, self._finish))
        samples = FIRST_SAMPLES if cursor is None else NEXT_SAMPLES
        seconds = min(left, self._workers.timeout * SHARE_OF_TIMEOUT)
        how = ChunkOptions(samples, seconds, step=alone > 0)
        options = self._options if bare is None else replace(self._options, bare=bare.code)
        arguments = (path, options, how, cursor, self._finish)
        return Task(path, prepare_members, arguments, cursor, alone, bare=bare)

    def _once_more(self, last: Task, error: SampleError) -> Task:
        """Queue a file that was lost with its worker once more: its headers alone may be read.

        A worker may have been killed for no fault of its file: after the first crash all of it is
        read again.
        """
        whole = error.code == "crash" and not last.again
        task = self._task(last.path, None, bare=None if whole else error)
        task.again, task.seconds = whole, last.seconds
        self._submit([task])
        return task

    def _next(
        self,
        last: Task,
        cursor: Cursor | None,
        *,
        alone: int = 0,
        held: Sequence[Item] = (),
        lost: SampleError | None = None,
        bare: SampleError | None = None,
    ) -> Task:
        """Queue the next chunk of an archive, alone; one whose time is over has an outcome."""
        path, limits = last.path, self._options.archives
        limit = math.inf if limits is None else limits.seconds
        task = self._task(path, cursor, alone, limit - last.seconds, bare)
        task.held, task.lost, task.seconds = held, lost, last.seconds
        if task.seconds >= limit:
            task.outcome = _too_long(task)
            return task
        _log.debug("%s: next chunk of the archive, from %s", path, cursor)
        self._submit([task])
        return task

    def _taken(self, task: Task, chunk: Chunk) -> Taken:
        items, more = chunk.items, None
        several = task.cursor is not None or chunk.cursor is not None or not _nothing(task, chunk)
        held = [*task.held, *items] if self._members == "first" else []
        if chunk.cursor is not None and len(_programs(held)) <= 1:
            alone = max(0, task.alone - 1)
            more = self._next(task, chunk.cursor, alone=alone, held=held)
        if self._members == "first":
            items = [] if more is not None or not held else [_only(task.path, held)]
        return Taken(items, more, several)

    def _missed(self, task: Task, error: SampleError) -> Taken:
        """The result of a file that gave no sample.

        One that was lost with its worker is read once more, bare. The members of a chunk that was
        lost are read one by one before, to find the culprit; two lost in a row end the archive.
        """
        if error.code not in LOST or self._members == "only":
            item: Item = Rejected.of(task.path, error)
            if error.code == TOO_LONG and task.held:
                item = _only(task.path, [*task.held, item])
            return Taken([item])
        if task.cursor is None and not task.alone:
            if task.bare is not None:  # the loss before says more
                return Taken([Rejected.of(task.path, task.bare)])
            if task.again:
                return Taken([], self._once_more(task, error))
            if task.lost is not None:  # its first bytes cannot be read either
                return Taken([Rejected.of(task.path, task.lost)])
            asked = Task(task.path, is_archive, (task.path,), seconds=task.seconds, lost=error)
            self._submit([asked])
            return Taken([], asked)
        if not task.alone:
            more = self._next(task, task.cursor, alone=NEXT_SAMPLES, held=task.held)
            return Taken([], more)
        if task.bare is None:
            more = self._next(
                task, task.cursor, alone=task.alone, held=task.held, lost=task.lost, bare=error
            )
            return Taken([], more)
        error, cursor = task.bare, task.cursor or Cursor()
        reason = f"{error.reason}, at file {cursor.members + 1} of an archive"
        item = Rejected.of(task.path, SampleError(error.code, reason, failed=True))
        if task.lost is not None:
            return Taken([item])
        more = self._next(task, cursor.passing(), alone=task.alone, held=task.held, lost=error)
        return Taken([item], more)


def _answers(task: Task, found: Any, views: set[str]) -> bool:
    """Whether a value is an answer to a task; of one that asks whether a file is an archive, yes or
    no."""
    if task.lost is not None and task.function is is_archive:
        return isinstance(found, bool | SampleError)
    return is_answer(found, task.path, views)


def _too_long(task: Task) -> SampleError:
    """The error of an archive that took all of its time."""
    cursor = task.cursor or Cursor()
    return SampleError(
        TOO_LONG,
        f"reading it took {task.seconds:.0f} s: files after the first {cursor.members} in it are"
        " left out (--max-time lifts the limit)",
    )


def _nothing(task: Task, chunk: Chunk) -> bool:
    """Whether the only item of an archive reports that there is no program in it."""
    return len(chunk.items) == 1 and (
        isinstance(chunk.items[0], Rejected)
        and chunk.items[0].path == task.path
        and chunk.items[0].code == "not-pe"
    )


def _programs(items: Sequence[Item]) -> list[Prepared | Same | Again]:
    return [item for item in items if isinstance(item, Prepared | Same | Again)]


def _only(path: str, items: Sequence[Item]) -> Item:
    """The one program among the files of an archive, or the error where there is not one."""
    programs = _programs(items)
    if len(programs) == 1:
        return programs[0]
    if not programs:
        return items[0]
    named = ", ".join(_shown(item.path) for item in programs[:MAX_NAMED])
    more = " and more" if len(programs) > MAX_NAMED else ""
    more += " (on a command line behind --)" if path == STDIN else ""
    reason = f"an archive of several: name one of {named}{more}"
    return Rejected.of(path, SampleError("archive", reason))


def _shown(path: str) -> str:
    return name_bytes(path).decode("utf-8", "backslashreplace")
