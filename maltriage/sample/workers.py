"""Worker processes that touch samples, so that a hostile one cannot take the scan along."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from maltriage.sample.source import SampleError

PRELOAD = ["maltriage.sample.prepare", "lief", "pefile", "PIL.PngImagePlugin"]
"""Imported once in the server that workers are forked from."""


LOST = frozenset(("timeout", "crash", "memory", "internal"))
"""Codes of errors that say something of the worker and nothing of the file: see `reason_of`."""


def cores() -> int:
    """Cores this process may use, which is fewer than the machine has in many containers."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the main process decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Workers:
    """A pool of processes with a time limit for each file. Use as a context manager.

    A worker that dies or hangs is replaced, and only the file it had fails.
    """

    def __init__(self, jobs: int, timeout: float) -> None:
        method = "spawn" if sys.platform == "win32" else "forkserver"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(PRELOAD)
        self.timeout = timeout
        self._pool = ProcessPool(max_workers=jobs, initializer=_start_worker, context=context)

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run `function(*args)` in a worker; its result or error comes from the future."""
        return self._pool.schedule(function, args=args, timeout=self.timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What is still queued is of no use to anybody: a finished scan has nothing queued.
        self._pool.stop()
        self._pool.join()


def reason_of(error: BaseException, timeout: float) -> SampleError:
    """Why a worker gave no sample, whatever its future raised, in words for a user."""
    if isinstance(error, SampleError):
        return error
    if isinstance(error, TimeoutError):
        code, reason = "timeout", f"not read within {timeout:g} s, the time allowed for a file"
    elif isinstance(error, ProcessExpired):
        code, reason = "crash", f"the process that read it died ({_cause(error.exitcode)})"
    elif isinstance(error, MemoryError):
        code, reason = "memory", "not enough memory to read it"
    else:
        code, reason = "internal", f"{type(error).__name__}: {error}"
    return SampleError(code, reason, failed=True)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            pass
    return f"exit code {code}"
