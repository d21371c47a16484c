"""Worker processes that touch samples, so that a hostile one cannot take the scan along."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from maltriage.errors import MaltriageError
from maltriage.sample.errors import SampleError
from maltriage.source import remote
from maltriage.source.stdin import Stdin, hold
from maltriage.source.urls import Remote
from maltriage.work.forkserver import worker_context
from maltriage.work.isolation import ISOLATED, Isolation, confine
from maltriage.work.messages import carried
from maltriage.work.pool import LastingPool

LOST = frozenset(("timeout", "crash", "memory", "internal"))
"""Codes of errors that say something of the worker and nothing of the file: see `reason_of`."""


MAX_AT = 1 << 20
_SLOTS = 1024
"""Groups of files that can be under way at once."""
_CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores this process may use, which is fewer than the machine has in many containers.

    By its affinity, and by the quota of its control group, rounded up.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(_CGROUPS, Path("/proc/self/cgroup"))
    return max(1, math.ceil(min(count or 1, quota)))


def _quota(root: Path, own: Path) -> float:
    """Cores that the control groups of a process allow it, infinite where they do not say.

    Args:
        root: where control groups are mounted.
        own: the file that names those of the process.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return math.inf
    least = math.inf
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        # Inside a container its own group is the root of what is mounted, whatever its name.
        group = top / name.lstrip("/")
        for folder in (group, *group.parents):
            least = min(least, _limit(folder))
            if folder == top:
                break
    return least


def _limit(folder: Path) -> float:
    """Cores that one control group allows, by version 2 or version 1."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (OSError, ValueError):  # no such group, or no limit: "max"
        return math.inf


_board: Any = None
"""In a worker: two numbers for each slot, see `Workers.at`."""


def _start_worker(
    board: Any, stdin: Stdin | None, urls: Remote | None, isolation: Isolation | None
) -> None:
    global _board  # noqa: PLW0603 - given once, when a worker starts
    _board = board
    hold(stdin)
    remote.hold(urls)
    sys.dont_write_bytecode = True  # of modules that are imported late: it could not
    # Ctrl-C reaches the whole process group; the main process decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if isolation is not None:
        confine(isolation)


def each(
    function: Callable[..., Any], items: Sequence[str], arguments: Sequence[Any], slot: int
) -> list[Any]:
    """In a worker: `function(item, *arguments)` for each item, in their order, or its SampleError.

    Which item it is at is published in `slot`.
    """
    results: list[Any] = []
    for index, item in enumerate(items):
        _board[2 * slot : 2 * slot + 2] = [index, time.monotonic()]
        try:
            results.append(function(item, *arguments))
        except Exception as error:
            results.append(reason_of(error, 0.0))
    return results


class Workers:
    """A pool of processes with a time limit for each file. Use as a context manager.

    A worker that dies or hangs is replaced, and only the file it had fails.

    Args:
        jobs: processes at once.
        timeout: seconds for each file.
        stdin: what the path `-` stands for.
        urls: how URLs are read, for which workers keep the network; None: they are not.
        isolation: what is left to a worker; None: all that this process may do.
    """

    def __init__(
        self,
        jobs: int,
        timeout: float,
        stdin: Stdin | None = None,
        urls: Remote | None = None,
        isolation: Isolation | None = ISOLATED,
    ) -> None:
        context = worker_context()
        if urls is not None and isolation is not None:
            isolation = replace(isolation, network=True)
        self.jobs, self.timeout = jobs, timeout
        self._board = context.RawArray("d", 2 * _SLOTS)
        self._free = list(range(_SLOTS))
        self._pool: ProcessPool = LastingPool(
            max_workers=jobs,
            initializer=_start_worker,
            initargs=(self._board, stdin, urls, isolation),
            context=context,
        )

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run `function(*args)` in a worker; its result or error comes from the future.

        Raises:
            MaltriageError: workers die as soon as they start.
        """
        try:
            return self._pool.schedule(carried, args=(function, args), timeout=self.timeout)
        except RuntimeError as error:
            raise MaltriageError("the processes that read files die as they start") from error

    def claim(self) -> int:
        """A slot in which `each` can publish where it is, until it is released."""
        slot = self._free.pop()
        self._board[2 * slot : 2 * slot + 2] = [0.0, 0.0]
        return slot

    def release(self, slot: int) -> None:
        self._free.append(slot)

    def at(self, slot: int) -> tuple[int, float]:
        """Which item the worker is at, and since when (`time.monotonic`; 0: it has not begun).

        A worker that was taken over may write anything there: it is a number all the same.
        """
        index, since = self._board[2 * slot : 2 * slot + 2]
        if not 0 <= index <= MAX_AT:
            index = 0
        return int(index), since if math.isfinite(since) else 0.0

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
        how = "sent what is no answer" if error.exitcode is None else _cause(error.exitcode)
        code, reason = "crash", f"the process that read it {how}"
    elif isinstance(error, MemoryError):
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
    return f"died (exit code {code})"
