"""Processes that may die at any moment: each has one job at a time, and pipes of its own.

A thread for each process gives it jobs and reads its answers, so that one that hangs in the middle
of an answer delays no other. One more thread watches the time limits. Since nothing is shared, a
death costs the job that the process had begun; a job not yet begun goes to another process.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from maltriage.logs import logger
from maltriage.work import forkserver
from maltriage.work.job import SERVER_ENDED, Job, WorkerDiedError
from maltriage.work.messages import MAX_ANSWER, Answer, Begun, read
from maltriage.work.process import WorkerEnd, request, without_ctrl_c, work

T = TypeVar("T")
_log = logger(__name__)

DEAF = 120.0
"""Seconds for a process to begin a job, its start included. A process that does not is ended, and
the job goes to another one."""
MAX_DEATHS = 16
"""Deaths before a job was begun, beyond one per process, in a row and without an answer in between,
after which processes cannot start at all."""
DYING = "die as they start"
"""Why there are no processes where there were so many deaths."""
_ATTEMPTS = 5
"""To start a process, where the server that it is forked from has ended."""
MAX_STEP = 1 << 20
"""Largest step that a process may report."""
_LOOK = 0.1
"""Seconds between two checks of the time limits."""


@dataclass(eq=False)
class _Line:
    """The main process's end. `begun` 0: the process has not confirmed the job.

    Its pipes are never closed explicitly, but when the last thread drops them: no thread can then
    read or write another process's pipe that was given the same number.
    """

    number: int
    process: BaseProcess
    jobs: Connection
    answers: Connection
    job: Job[Any] | None = None
    given: float = 0.0
    begun: float = 0.0
    late: bool = False
    """Whether it was ended because its job took too long."""


class _NoAnswerError(Exception):
    """A process sent anything but a message on its job."""


class Supervisor:
    """Processes that do jobs, in the order of their submission.

    Args:
        count: processes at once.
        timeout: seconds for each step of a job.
        context: starts the processes.
        initializer: called in each process with the arguments, before its first job.
    """

    def __init__(
        self,
        count: int,
        timeout: float,
        context: BaseContext,
        initializer: Callable[..., object],
        *arguments: object,
    ) -> None:
        self._count, self._timeout, self._context = count, timeout, context
        self._initializer, self._arguments = initializer, arguments
        self._steps: Any = context.RawArray("d", 2 * count)
        self._numbers = itertools.count()
        self._waiting = deque[Job[Any]]()
        self._pid = os.getpid()
        self._lines: list[_Line | None] = [None] * count
        self._threads: list[threading.Thread] = []
        self._deaths, self._serving = 0, count
        self._stopped = False
        self._broken = ""
        """Why processes cannot start at all."""
        self._lock = threading.RLock()
        self._more = threading.Condition(self._lock)
        self._starting = threading.Lock()
        """`Process.start` is not thread-safe."""
        self._ended = threading.Event()

    def submit(self, function: Callable[..., T], *arguments: object, steps: int = 1) -> Job[T]:
        """Call `function(*arguments)` in a process. A value that cannot be pickled is the job's
        error.

        Args:
            steps: number that the function publishes, each with the time limit of its own.

        Raises:
            BrokenProcessPool: processes cannot start at all.
        """
        number = next(self._numbers)
        try:
            data = request(number, function, arguments)
        except Exception as error:
            job = Job[T](number, b"", steps)
            job.set_exception(error)
            return job
        job = Job[T](number, data, steps)
        with self._more:
            if self._broken or self._stopped:
                raise BrokenProcessPool(f"processes {self._broken or 'were ended'}")
            self._waiting.append(job)
            self._more.notify()
            if not self._threads:
                self._begin()
        return job

    def at(self, job: Job[Any]) -> tuple[int, float]:
        """The current step of a job and its start (`time.monotonic`; 0: not begun).

        A subverted process may write any number there.
        """
        number = job.process
        return job.at if number is None else self._step(number)

    def stop(self) -> None:
        """End all processes at once. Jobs not yet begun are cancelled.

        Does nothing in a process forked from the one that has them.
        """
        if os.getpid() != self._pid:
            return
        with self._more:
            self._stopped = True
            for job in self._waiting:
                job.drop()
            self._waiting.clear()
            for line in self._lines:
                if line is not None:
                    line.process.kill()
            self._more.notify_all()
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _begin(self) -> None:
        threads = [threading.Thread(target=self._watch, daemon=True)]
        for number in range(self._count):
            threads.append(threading.Thread(target=self._serve, args=(number,), daemon=True))
        self._threads = threads
        _log.info("starting workers: %d, %g s for each file", self._count, self._timeout)
        for thread in threads:
            thread.start()

    def _serve(self, number: int) -> None:
        """Keep one process, and replace it when it dies."""
        while not self._stopped and not self._broken:
            try:
                line = self._start(number)
            except Exception as error:  # whatever the system or its server refuses
                _log.info("worker %d cannot be started: %s: %s", number, type(error), error)
                with self._lock:
                    self._serving -= 1
                    others = self._serving > 0  # which may be enough
                if not others:
                    self._give_up(f"cannot be started: {forkserver.refusal(error)}")
                return
            while (job := self._next()) is not None:
                if not self._do(line, job):
                    break
            line.process.kill()
            line.process.join()
            self._lines[number] = None

    def _start(self, number: int) -> _Line:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._started(number)
            except Exception as error:
                if not forkserver.recover(error):
                    raise
                _log.info("worker %d: started anew after %s: %s", number, type(error), error)
        return self._started(number)

    def _started(self, number: int) -> _Line:
        with self._starting:
            job_end, jobs = self._context.Pipe(duplex=False)
            answers, answer_end = self._context.Pipe(duplex=False)
            process = self._context.Process(  # type: ignore[attr-defined]
                target=work,
                args=(
                    WorkerEnd(job_end, answer_end),
                    (self._steps, number),
                    self._initializer,
                    self._arguments,
                ),
                daemon=True,
            )
            with without_ctrl_c():
                process.start()
        job_end.close()
        answer_end.close()
        line = _Line(number, process, jobs, answers)
        with self._lock:
            self._lines[number] = line
            if self._stopped:
                process.kill()
        return line

    def _next(self) -> Job[Any] | None:
        """The next job, once there is one; None: there will be none."""
        with self._more:
            self._more.wait_for(lambda: bool(self._waiting or self._stopped or self._broken))
            return self._waiting.popleft() if self._waiting else None

    def _do(self, line: _Line, job: Job[Any]) -> bool:
        """Run a job in a process.

        Returns:
            Whether the process is still alive, as far as is known, and of use.
        """
        with self._lock:
            if job.cancelled():
                return True
            line.job, line.given, line.begun, line.late = job, time.monotonic(), 0.0, False
            self._steps[2 * line.number : 2 * line.number + 2] = [0.0, 0.0]
        answer, lied = None, False
        try:
            answer = self._answer(line, job)
        except (EOFError, OSError):
            pass
        except Exception:  # a job that nobody settles would be waited for without end
            lied = True
        if answer is not None:
            self._settle(line, job)
            self._deaths = 0
            if not job.cancelled():
                if answer.error is None:
                    job.set_result(answer.value)
                else:
                    job.set_exception(answer.error)
            # What took its memory may hold it, at the cost of later jobs.
            return not isinstance(answer.error, MemoryError)
        line.process.kill()  # if still alive, its answers no longer count
        line.process.join()
        self._settle(line, job)
        _log.info(
            "worker %d ended (exit code %s)%s, with job %d %s after %.1f s at step %d",
            line.number,
            line.process.exitcode,
            " because it took too long" if line.late else " for what it sent" if lied else "",
            job.number,
            "in hand" if line.begun else "not begun",
            time.monotonic() - line.given,
            job.at[0],
        )
        if not line.begun:
            self._again(job, at_start=True)
        elif job.cancelled():
            pass
        elif line.late:
            job.set_exception(TimeoutError())
        elif not lied and line.process.exitcode == SERVER_ENDED and job.once_more:
            job.once_more = False
            self._again(job, at_start=False)
        else:
            job.set_exception(WorkerDiedError(None if lied else line.process.exitcode))
        return False

    def _answer(self, line: _Line, job: Job[Any]) -> Answer:
        """Give a job to a process, and read its answer.

        Raises:
            EOFError, OSError: it died.
            _NoAnswerError: it sent anything else.
        """
        line.jobs.send_bytes(job.data)
        while True:
            wait([line.answers, line.process.sentinel])
            if not line.answers.poll():
                raise EOFError  # it died, and a child of it keeps the pipe open
            try:
                data = line.answers.recv_bytes(MAX_ANSWER)
            except OSError as error:
                if line.answers.closed:  # as it is after too long a message
                    raise _NoAnswerError from error
                raise
            try:
                message = read(data)
                number = message.job
                answer = None if isinstance(message, Begun) else _checked(message)
            except Exception as error:  # any error of checking the message
                raise _NoAnswerError from error
            if number != job.number or (answer is None) == bool(line.begun):
                raise _NoAnswerError
            if answer is not None:
                return answer
            with self._lock:
                line.begun, job.process = time.monotonic(), line.number
                if not job.running():  # it may have begun in another process
                    job.set_running_or_notify_cancel()

    def _settle(self, line: _Line, job: Job[Any]) -> None:
        """Detach a job from its process."""
        with self._lock:
            job.at, job.process, line.job = self._step(line.number), None, None
            job.seconds = time.monotonic() - line.begun if line.begun else 0.0

    def _again(self, job: Job[Any], *, at_start: bool) -> None:
        """Give a job to another process.

        Args:
            at_start: its process died before the job was begun.
        """
        with self._more:
            if self._stopped:
                job.drop()
                return
            self._waiting.appendleft(job)
            self._more.notify()
            self._deaths += at_start
            if not self._broken and self._deaths <= MAX_DEATHS + self._count:
                return
        self._give_up(self._broken or DYING)

    def _give_up(self, reason: str) -> None:
        with self._more:
            self._broken = reason
            for job in self._waiting:
                if job.running() or job.set_running_or_notify_cancel():
                    job.set_exception(BrokenProcessPool(f"processes {reason}"))
            self._waiting.clear()
            self._more.notify_all()

    def _step(self, number: int) -> tuple[int, float]:
        step, since = self._steps[2 * number : 2 * number + 2]
        step = step if 0 <= step <= MAX_STEP else 0.0
        return int(step), since if math.isfinite(since) else 0.0

    def _watch(self) -> None:
        """End processes that take too long to begin or to do their job."""
        while not self._ended.wait(_LOOK):
            now = time.monotonic()
            with self._lock:
                for line in self._lines:
                    if line is None or line.job is None:
                        continue
                    line.late = bool(line.begun) and self._is_late(line, line.job, now)
                    if line.late or (not line.begun and now - line.given > DEAF):
                        line.process.kill()

    def _is_late(self, line: _Line, job: Job[Any], now: float) -> bool:
        """Whether a step, or all of them, take too long, whatever the process reports."""
        _, since = self._step(line.number)
        return (
            now - max(line.begun, since) > self._timeout
            or now - line.begun > self._timeout * job.steps
        )


def _checked(message: object) -> Answer:
    """A message as an answer; raises TypeError."""
    if not isinstance(message, Answer) or not isinstance(message.error, BaseException | None):
        raise TypeError
    _ = message.value  # missing in an incomplete message
    return message
