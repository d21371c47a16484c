"""What workers have in hand: a file, or a portion of an archive, and what follows on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from maltriage.probe.members import Portion, PortionOptions, is_archive, prepare_members
from maltriage.probe.prepare import (
    Finish,
    Prepared,
    PrepareOptions,
    Same,
    prepare_contents,
    prepare_file,
)
from maltriage.report.documents.record import Failed, Result, Skipped, path_fields
from maltriage.sample.errors import SampleError
from maltriage.source.archive.walk import Cursor
from maltriage.source.files import Found, Rejected
from maltriage.triage.options import ScanOptions
from maltriage.work.groups import Groups, Place
from maltriage.work.workers import LOST, Workers, reason_of

FIRST_SAMPLES, NEXT_SAMPLES = 16, 128
"""Samples of an archive in one portion. Of every file under way the first portion may be waiting,
but only of the one whose turn it is more are read."""
SHARE_OF_TIMEOUT = 0.25
"""Of the seconds allowed for a file: after that a portion ends, which may take them all."""
MAX_NAMED = 8
"""Programs in an archive that are named where one was expected."""
POLL = 0.1
"""Seconds to wait for what is not there yet."""

Known = Result | Skipped | Failed
Item = Prepared | Known


@dataclass
class Task:
    """A file that a worker has, or will have; of an archive, the portion from `cursor` on.

    A file goes with others of a group (`place`), a portion by itself (`future`).
    """

    path: str
    place: Place[Any] | None = None
    future: Future[Any] | None = None
    cursor: Cursor | None = None
    alone: int = 0
    """How many members are read one by one from here on, after a portion was lost."""
    lost: SampleError | None = None
    """Why what was tried last was lost with its worker."""
    held: Sequence[Item] = ()
    """Of portions before this one, where all have to be seen first."""
    began: float | None = None
    """When a portion was first seen in a worker's hands."""


@dataclass(frozen=True)
class Asking:
    """`finish` may say of a sample that it is the `Same` as one that is known; `recall` then gives
    its record, None where there is none any more."""

    finish: Finish
    recall: Callable[[Same], Known | None]


class Reader:
    """Has workers read files, and archives portion by portion.

    Args:
        asking: how workers look up what a sample is known for.
        several: called with the path of an archive of which more than one record may come.
    """

    def __init__(
        self,
        workers: Workers,
        work: PrepareOptions,
        options: ScanOptions,
        asking: Asking | None = None,
        several: Callable[[str], object] = lambda path: None,
    ) -> None:
        self._workers, self._work, self._options = workers, work, options
        self._asking, self._several = asking, several
        self._finish = prepare_contents if asking is None else asking.finish
        if options.members == "only":
            self._files: Groups[Any] = Groups(workers, prepare_file, work, self._finish)
        else:
            how = self._how(FIRST_SAMPLES)
            self._files = Groups(workers, prepare_members, work, how, None, self._finish)

    def begin(self, found: Found) -> Task:
        """Have a file read, soon or when others go with it."""
        task = Task(found.path, self._files.add(found.path, found.size))
        self._files.give_if_idle()
        return task

    def give(self) -> None:
        """Have those read that wait for others."""
        self._files.give()

    def waits(self, task: Task) -> bool:
        """Whether a file waits for others to go with it."""
        return task.place is not None and task.place.is_open

    def cancel(self, task: Task) -> None:
        """Take a file back, unless a worker has it in hand already."""
        if task.place is not None:
            self._files.cancel(task.place)
        elif task.future is not None and not task.future.running():
            # What a worker has in hand is finished: cancelling it would kill the worker.
            task.future.cancel()

    def cancelled(self, task: Task) -> bool:
        if task.place is not None:
            return task.place.cancelled
        return task.future is not None and task.future.cancelled()

    def running(self, task: Task) -> float | None:
        """For how many seconds a worker has had it in hand, None where none has."""
        if task.place is not None:
            return self._files.running(task.place)
        if task.future is None or not task.future.running():
            return None
        now = time.monotonic()
        task.began = task.began or now
        return now - task.began

    def take(self, task: Task) -> tuple[list[Item], Task | None] | None:
        """What came of a task, in order, and what is to follow on it; None: nothing yet."""
        found = self._outcome(task)
        if found is None:
            return None
        if isinstance(found, Prepared):
            return [found], None
        if isinstance(found, Same | Portion):
            samples = [found] if isinstance(found, Same) else found.items
            items = self._recalled(samples)
            if items is None:  # a store has lost what it knew: all of it is prepared after all
                return [], self._portion(task.path, task.cursor, plain=True, held=task.held)
            if isinstance(found, Same):
                return items, None
            return self._taken(task, found, items)
        if isinstance(found, SampleError):
            return self._missed(task, found)
        assert task.lost is not None
        if found:
            self._several(task.path)
            return [], self._portion(task.path, None, alone=FIRST_SAMPLES)
        return [failed(task.path, task.lost)], None

    def _outcome(self, task: Task) -> Any:
        if task.place is not None:
            return self._files.result(task.place, POLL)
        assert task.future is not None
        try:
            # Not `result`: the TimeoutError of a worker could not be told from that of waiting.
            error = task.future.exception(timeout=POLL)
        except (CancelledError, FutureTimeout):
            return None
        return task.future.result() if error is None else reason_of(error, self._workers.timeout)

    def _how(self, samples: int, *, step: bool = False) -> PortionOptions:
        return PortionOptions(samples, self._options.timeout * SHARE_OF_TIMEOUT, step=step)

    def _portion(
        self,
        path: str,
        cursor: Cursor | None,
        *,
        plain: bool = False,
        alone: int = 0,
        held: Sequence[Item] = (),
        lost: SampleError | None = None,
    ) -> Task:
        """Have a portion read; `plain`: whoever asks is told nothing that is known."""
        finish = prepare_contents if plain else self._finish
        if self._options.members == "only":
            future = self._workers.submit(prepare_file, path, self._work, finish)
        else:
            how = self._how(FIRST_SAMPLES if cursor is None else NEXT_SAMPLES, step=alone > 0)
            future = self._workers.submit(prepare_members, path, self._work, how, cursor, finish)
        return Task(path, None, future, cursor, alone, lost, held)

    def _recalled(self, samples: Sequence[Prepared | Same | Rejected]) -> list[Item] | None:
        """The records of what is known in place of it; None where one is not known any more."""
        items: list[Item] = []
        for sample in samples:
            if isinstance(sample, Same):
                record = None if self._asking is None else self._asking.recall(sample)
                if record is None:
                    return None
                items.append(record)
            else:
                items.append(rejected(sample) if isinstance(sample, Rejected) else sample)
        return items

    def _taken(
        self, task: Task, portion: Portion, items: list[Item]
    ) -> tuple[list[Item], Task | None]:
        if task.cursor is not None or portion.cursor is not None or not _nothing(task, portion):
            self._several(task.path)
        held = [*task.held, *items] if self._options.members == "first" else []
        more = None
        if portion.cursor is not None and len(_programs(held)) <= 1:
            more = self._portion(task.path, portion.cursor, alone=max(0, task.alone - 1), held=held)
        if self._options.members == "each":
            return items, more
        return ([], more) if more or not held else ([_only(task.path, held)], None)

    def _missed(self, task: Task, error: SampleError) -> tuple[list[Item], Task | None]:
        """A file that gave no sample. Of a portion that was lost with its worker, the members are
        read one by one, so that only the culprit is; twice in a row is the end of the archive."""
        if error.code not in LOST or self._options.members == "only":
            return [failed(task.path, error)], None
        if task.cursor is None and not task.alone:
            if task.lost is not None:  # its first bytes cannot be read either
                return [failed(task.path, task.lost)], None
            asked = self._workers.submit(is_archive, task.path)
            return [], Task(task.path, future=asked, lost=error)
        if not task.alone:
            return [], self._portion(task.path, task.cursor, alone=NEXT_SAMPLES, held=task.held)
        cursor = task.cursor or Cursor()
        reason = f"{error.reason}, at file {cursor.members + 1} of an archive"
        record = failed(task.path, SampleError(error.code, reason, failed=True))
        if task.lost is not None:
            return [record], None
        more = self._portion(
            task.path, cursor.passing(), alone=task.alone, held=task.held, lost=error
        )
        return [record], more


def _nothing(task: Task, portion: Portion) -> bool:
    """Whether the only record of an archive is that there is no program in it."""
    return len(portion.items) == 1 and (
        isinstance(portion.items[0], Rejected)
        and portion.items[0].path == task.path
        and portion.items[0].code == "not-pe"
    )


def _programs(items: Sequence[Item]) -> list[Prepared]:
    return [item for item in items if isinstance(item, Prepared)]


def _only(path: str, items: Sequence[Item]) -> Item:
    """The one program among the files of an archive, or what to say where there is not one."""
    programs = _programs(items)
    if len(programs) == 1:
        return programs[0]
    if not programs:
        return items[0]
    named = ", ".join(path_fields(item.path)[0] for item in programs[:MAX_NAMED])
    more = " and more" if len(programs) > MAX_NAMED else ""
    return failed(path, SampleError("archive", f"an archive of several: name one of {named}{more}"))


def failed(path: str, error: SampleError) -> Skipped | Failed:
    return rejected(Rejected(path, error.code, error.reason, error.failed))


def rejected(item: Rejected) -> Skipped | Failed:
    """The record of a path that gave no sample."""
    shown, raw = path_fields(item.path)
    kind = Failed if item.failed else Skipped
    return kind(shown, item.code, item.reason, raw)
