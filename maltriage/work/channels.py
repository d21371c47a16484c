"""A pair of pipes for each worker process, and who has which task.

Pebble gives all processes one pair, with locks. A process that dies while it answers, as when the
system takes it because memory runs out, leaves its lock taken and half a message in the pipe: the
others wait for a minute, and then for good. Here nothing is shared, so a death costs its own line.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from queue import Empty, SimpleQueue
from typing import Any

from pebble.common.process import launch_process, stop_process
from pebble.common.types import Result, ResultStatus
from pebble.pool.process import (
    WORKERS_NAME,
    Acknowledgement,
    NoMessage,
    TaskProblem,
    TaskResult,
    WorkerManager,
    WorkerTask,
    worker_process,
)

from maltriage.work.messages import MAX_ANSWER, read

DEAF = 120.0
"""Seconds in which a process must begin a task that it was given, the time that it takes to start
included. One that does not is ended, and the task goes to another one."""
_POLLS = 20
"""Looks at a process that is dead and whose pipe is still open, before it counts as dead."""


class WorkerEnd:
    """A worker's end of its line, by the names that pebble's worker knows."""

    def __init__(self, tasks: Connection, answers: Connection) -> None:
        self._tasks, self._answers = tasks, answers

    def initialize(self) -> None:
        """Nothing of other lines comes with it that would have to be closed."""

    def poll(self, timeout: float | None = None) -> bool:
        return self._tasks.poll(timeout)

    def recv(self) -> Any:
        return self._tasks.recv()

    def send(self, message: Any) -> None:
        self._answers.send(message)

    @contextmanager
    def lock(self, **_: Any) -> Iterator[bool]:
        yield True


@dataclass(eq=False)
class _Line:
    """The main process's end. `task`: what was sent last and is not answered, by its number.

    Nobody closes its pipes: they are when the last thread that has it lets it go, so none reads or
    writes a pipe of another line that came to have the same number.
    """

    process: BaseProcess
    tasks: Connection
    answers: Connection
    task: int | None = None
    given: float = 0.0
    """When, by `time.monotonic`."""
    begun: bool = False
    """Whether the worker has said that it has the task."""
    ended: bool = False
    """Whether nothing more comes: the process died, or is about to."""
    lied: bool = False
    """Whether it sent what is no answer, for which it was killed."""
    polls: int = 0


def _answers(message: Any) -> bool:
    """Whether pebble can make something of it; an error must be one."""
    if isinstance(message, TaskProblem):
        return isinstance(message.error, BaseException)
    if not isinstance(message, TaskResult) or not isinstance(message.result, Result):
        return False
    status, value = message.result.status, message.result.value
    return isinstance(status, ResultStatus) and (
        status == ResultStatus.SUCCESS or isinstance(value, BaseException)
    )


class _NoAnswerError(Exception):
    """A process sent something else than a message of the task that it has."""


class Lines(WorkerManager):
    """The processes of a pool. A task goes to one that has none, and to another one if that dies
    before it has begun it; what a dead process has said counts before its death does."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lines = dict[int, _Line]()
        self._waiting = deque[tuple[int, bytes]]()
        self._sent = dict[int, bytes]()
        self._inbox = SimpleQueue[tuple[_Line, Any]]()
        self._lock = threading.Lock()

    def create_channels(self) -> None:
        """They come with the processes."""

    def close_channels(self) -> None:
        """They go with the processes."""

    def new_worker(self) -> None:
        try:
            task_end, tasks = self.mp_context.Pipe(duplex=False)
            answers, answer_end = self.mp_context.Pipe(duplex=False)
            process = launch_process(
                WORKERS_NAME,
                worker_process,
                False,
                self.mp_context,
                self.worker_parameters,
                WorkerEnd(task_end, answer_end),  # type: ignore[arg-type]
            )
        except (OSError, EOFError) as error:
            raise BrokenProcessPool from error
        task_end.close()
        answer_end.close()
        assert process.pid is not None
        line = _Line(process, tasks, answers)
        with self._lock:
            self.workers[process.pid] = process
            self._lines[process.pid] = line
        threading.Thread(target=self._listen, args=(line,), daemon=True).start()

    def dispatch(self, task: Any) -> None:
        """Queue a task. What cannot be pickled is an error of its own, whoever gets it."""
        data = bytes(ForkingPickler.dumps(WorkerTask(task.id, task.payload)))
        with self._lock:
            self._waiting.append((task.id, data))
        self._feed()

    def _feed(self) -> None:
        """Give tasks that wait to processes that do.

        Not for the thread that ends processes: one may have to be ended so that this returns.
        """
        while True:
            with self._lock:
                idle = (line for line in self._lines.values() if line.task is None)
                line = next((line for line in idle if not line.ended), None)
                if line is None or not self._waiting:
                    return
                line.task, data = self._waiting.popleft()
                line.given, line.begun = time.monotonic(), False
                self._sent[line.task] = data
            with suppress(OSError):  # it just died, and its task goes to another one
                line.tasks.send_bytes(data)

    def receive(self, timeout: float) -> Any:
        """The next message; of a process that ended, after all that it said."""
        self._feed()
        try:
            line, message = self._inbox.get(timeout=timeout)
        except Empty:
            return NoMessage()
        if message is None:
            line.ended = True
            return NoMessage()
        return message

    def _listen(self, line: _Line) -> None:
        """A thread for each line, so that one in which half an answer is stuck is its own."""
        try:
            while True:
                data = line.answers.recv_bytes(MAX_ANSWER)
                self._inbox.put((line, self._taken(line, data)))
                self._feed()
        except EOFError:
            pass
        except OSError:
            line.lied = line.answers.closed  # as it is after too long a message
        except Exception:  # whatever comes of looking at what it sent
            line.lied = True
        line.process.kill()  # if it did not die, it has nothing to say any more
        self._inbox.put((line, None))

    def _taken(self, line: _Line, data: bytes) -> Any:
        """What a process says of its task; raises _NoAnswerError where it says anything else."""
        try:
            message = read(data)
        except OSError as error:
            raise _NoAnswerError from error
        begins = isinstance(message, Acknowledgement)
        if not begins and not _answers(message):
            raise _NoAnswerError
        with self._lock:
            if line.task is None or message.task != line.task or begins == line.begun:
                raise _NoAnswerError
            line.begun = begins
            if begins:
                message.worker = line.process.pid  # whoever it says it is
                return message
            del self._sent[line.task]
            line.task = None
        return message

    def inspect_workers(self) -> tuple[tuple[int, int | None], ...]:
        """Those that died, with their exit code; None: they were killed for what they sent."""
        expired = []
        with self._lock:
            lines = tuple(self._lines.items())
        for worker, line in lines:
            if line.process.is_alive():
                if (
                    line.task is not None
                    and not line.begun
                    and time.monotonic() - line.given > DEAF
                ):
                    line.process.kill()
                continue
            line.polls += 1
            if line.ended or line.polls > _POLLS:
                expired.append((worker, None if line.lied else line.process.exitcode))
                self._drop(worker)
        return tuple(expired)

    def maybe_stop_worker(self, worker_id: int) -> bool:
        process = self.workers.get(worker_id)
        if process is not None:
            stop_process(process)
            self._drop(worker_id)
        return True

    def _drop(self, worker: int) -> None:
        """Forget a process that is dead. A task that it had not begun comes first again."""
        with self._lock:
            self.workers.pop(worker, None)
            line = self._lines.pop(worker, None)
            if line is None:
                return
            line.ended = True
            if line.task is not None:
                data = self._sent.pop(line.task)
                if not line.begun:
                    self._waiting.appendleft((line.task, data))
