"""Worker processes, which read samples, so that a hostile one cannot end the scan."""

from __future__ import annotations

import errno
import gc
import signal
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any, Self, TypeVar

from maltriage.errors import MaltriageError
from maltriage.sample.errors import SampleError
from maltriage.source import remote
from maltriage.source.stdin import Stdin, hold
from maltriage.source.urls import Remote
from maltriage.work.allocator import keep_memory
from maltriage.work.forkserver import worker_context
from maltriage.work.isolation import ISOLATED, Isolation, confine
from maltriage.work.job import Job, WorkerDiedError
from maltriage.work.process import leave_signals
from maltriage.work.supervisor import Supervisor

T = TypeVar("T")

LOST = frozenset(("timeout", "crash", "memory", "internal"))
"""Codes of errors of the worker, not of the file: see `reason_of`."""


def _start_worker(stdin: Stdin | None, urls: Remote | None, isolation: Isolation | None) -> None:
    gc.freeze()  # what the server has imported; it did not collect
    gc.enable()
    keep_memory()
    hold(stdin)
    remote.hold(urls)
    sys.dont_write_bytecode = True  # a worker could not write them
    leave_signals()
    if isolation is not None:
        confine(isolation)


class Workers:
    """Processes that read samples, with a time limit for each job. Use as a context manager.

    A worker that dies or hangs is replaced, and only its job fails. Workers start with the
    first job.

    Args:
        count: processes at once.
        timeout: seconds for each job, or for each of its steps.
        stdin: the input for the path `-`.
        urls: the reader of URLs, which keeps the network open; None: none are read.
        isolation: limits of a worker; None: no limits.

    Raises:
        MaltriageError: the system has no room for them.
    """

    def __init__(
        self,
        count: int,
        timeout: float,
        stdin: Stdin | None = None,
        urls: Remote | None = None,
        isolation: Isolation | None = ISOLATED,
    ) -> None:
        if urls is not None and isolation is not None:
            isolation = replace(isolation, network=True)
        self.count, self.timeout = count, timeout
        try:
            self._supervisor = Supervisor(
                count, timeout, worker_context(), _start_worker, stdin, urls, isolation
            )
        except OSError as error:  # no descriptors, or no temporary folder
            reason = error.strerror or error
            raise MaltriageError(f"no file can be read: processes need more: {reason}") from error

    def submit(self, function: Callable[..., T], *arguments: Any, steps: int = 1) -> Job[T]:
        """Run `function(*arguments)` in a worker; its result or error comes from the job.

        Args:
            steps: see `Supervisor.submit`.

        Raises:
            MaltriageError: workers cannot start, or die as they do.
        """
        try:
            return self._supervisor.submit(function, *arguments, steps=steps)
        except BrokenProcessPool as error:
            raise MaltriageError(f"no file can be read: {error}") from error

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of a function that reads a file, once a worker has run it.

        Raises:
            SampleError: whatever it raised.
            MaltriageError: see `submit`.
        """
        job = self.submit(function, *arguments)
        try:
            return job.result()
        except Exception as error:
            raise reason_of(error, self.timeout) from error

    def at(self, job: Job[Any]) -> tuple[int, float]:
        """See `Supervisor.at`."""
        return self._supervisor.at(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Jobs still queued are useless: a finished scan has none.
        self._supervisor.stop()


def reason_of(error: BaseException, timeout: float) -> SampleError:
    """The error of a file, from whatever a worker's future raised, in words for a user."""
    if isinstance(error, SampleError):
        return error
    if isinstance(error, TimeoutError):
        code, reason = "timeout", f"not read within {timeout:g} s, the time allowed for a file"
    elif isinstance(error, WorkerDiedError):
        how = "sent an invalid answer" if error.exitcode is None else _cause(error.exitcode)
        code, reason = "crash", f"the process that read it {how}"
    elif isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        code, reason = "memory", "not enough memory to read it"
    else:
        code, reason = "internal", f"{type(error).__name__}: {error}"
    return SampleError(code, reason, failed=True)


def _cause(code: int) -> str:
    if code < 0:
        try:
            return f"died ({signal.Signals(-code).name})"
        except ValueError:
            pass
    # Windows has large ones for what is a signal elsewhere, known by their digits in hex.
    return f"died (exit code {code:#x})" if code >= 1 << 31 else f"died (exit code {code})"
