"""What peers/peers.py asks tools by: a process that stays, one a file, or one command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from typing import Any, BinaryIO

import psutil

from benchmarks.speed.measure import Run, timed

STARTS = 3
"""Times that a command is run for a single file, of which the median is taken off."""
OPENING = 300.0
"""Seconds that a tool may take to open its rules."""


@dataclass(frozen=True)
class File:
    """What a file took, in seconds, and whether the tool gave no answer, or none in time."""

    wall: float
    cpu: float
    failed: bool = False
    late: bool = False


@dataclass(frozen=True)
class Figures:
    """A round of one tool."""

    start: float
    """Seconds to open the tool, or of its command for a single file."""
    alone: list[File]
    """One after another on a single core."""
    every: list[File]
    """On all cores."""
    every_wall: float
    """Seconds by the clock a file, all cores together."""
    every_cpu: float
    shared: bool = False
    """All files have the time of the whole command, divided by their number."""


@dataclass(frozen=True)
class Missing:
    """Why a tool is left out."""

    why: str


class Asked(ABC):
    """A tool, and how it is asked."""

    version: str
    said: str

    @abstractmethod
    def measure(self, paths: Sequence[str], timeout: float, workers: int) -> Figures: ...


@contextmanager
def one_core() -> Iterator[None]:
    """What is started meanwhile, by this thread, runs on a single core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class _Process:
    """A warm_peer.py, open."""

    def __init__(self, command: Sequence[str]) -> None:
        start = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        assert self._process.stdout is not None
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        self.opened: dict[str, Any] = json.loads(self._answers.get(timeout=OPENING) or b"{}")
        self.start = time.perf_counter() - start

    def _read(self, stream: BinaryIO) -> None:
        for line in stream:
            self._answers.put(line)
        self._answers.put(b"")

    def ask(self, path: str, timeout: float) -> File | None:
        """What a file took; None: the process died of it, or ran over the time."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(os.fsencode(path) + b"\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=timeout)
        except Empty:
            return None
        return File(*json.loads(line)) if line else None

    def spent(self) -> float:
        """Seconds of the processor so far."""
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(self._process.pid).cpu_times()
            return float(times.user + times.system + times.children_user + times.children_system)
        return 0.0

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


@dataclass
class Warm(Asked):
    """A tool that is opened once: tool and options of warm_peer.py."""

    python: str
    script: str
    tool: str
    given: dict[str, Any]
    version: str = ""
    said: str = ""
    _command: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._command = [self.python, self.script, self.tool, json.dumps(self.given)]

    def opened(self) -> Asked | Missing:
        """This, with its version; or why it cannot be had."""
        try:
            process = _Process(self._command)
        except (OSError, ValueError, Empty) as error:
            return Missing(f"{type(error).__name__}: {error}")
        process.close()
        if "version" not in process.opened:
            return Missing(process.opened.get("missing", "it ends when it is opened"))
        self.version, self.said = process.opened["version"], process.opened["said"]
        self.said += "; a process that stays open"
        return self

    def measure(self, paths: Sequence[str], timeout: float, workers: int) -> Figures:
        smallest = min(paths, key=os.path.getsize)
        with one_core():
            alone, _, start = self._through(paths, smallest, timeout, 1)
        every, wall, _ = self._through(paths, smallest, timeout, workers)
        count = len(paths)
        return Figures(start, alone, every, wall / count, sum(f.cpu for f in every) / count)

    def _through(
        self, paths: Sequence[str], smallest: str, timeout: float, workers: int
    ) -> tuple[list[File], float, float]:
        """All files by so many processes, the seconds by the clock, and those to open one."""
        ready = [self._warm(smallest, timeout) for _ in range(workers)]
        found: dict[int, File] = {}
        numbers = iter(range(len(paths)))
        lock = threading.Lock()
        start = time.perf_counter()

        def work(slot: int) -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                began, before = time.perf_counter(), ready[slot].spent()
                answer = ready[slot].ask(paths[number], timeout)
                if answer is None:
                    took, spent = time.perf_counter() - began, ready[slot].spent() - before
                    ready[slot].close()
                    ready[slot] = self._warm(smallest, timeout)
                    answer = File(took, max(spent, 0.0), took < timeout, took >= timeout)
                found[number] = answer

        if workers == 1:
            work(0)  # in this thread, whose core a process that is opened anew gets
        else:
            threads = [threading.Thread(target=work, args=(slot,)) for slot in range(workers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        wall = time.perf_counter() - start
        for process in ready:
            process.close()
        return [found[i] for i in range(len(paths))], wall, ready[0].start

    def _warm(self, smallest: str, timeout: float) -> _Process:
        """A process that has seen a file: what is made on first use is no part of a file."""
        process = _Process(self._command)
        process.ask(smallest, timeout)
        return process


@dataclass
class ProcessOfFile(Asked):
    """A process for each file, whose path is the last argument: as a user runs it."""

    version: str
    command: Sequence[str]
    said: str = ""
    codes: tuple[int, ...] = (0,)
    """Of its exit: it gave an answer."""

    def __post_init__(self) -> None:
        self.said = f"a process a file: {shown(self.command)} FILE"

    def measure(self, paths: Sequence[str], timeout: float, workers: int) -> Figures:
        with one_core():
            alone = [self._one(path, timeout) for path in paths]
        start = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            every = list(pool.map(lambda path: self._one(path, timeout), paths))
        wall, count = time.perf_counter() - start, len(paths)
        return Figures(0.0, alone, every, wall / count, sum(f.cpu for f in every) / count)

    def _one(self, path: str, timeout: float) -> File:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*self.command, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, end)
        timer.start()
        # Of this child alone, where getrusage would add up all that run at the same time.
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        took, ended = time.perf_counter() - start, late.is_set()
        failed = not ended and process.returncode not in self.codes
        return File(took, usage.ru_utime + usage.ru_stime, failed, ended)


@dataclass
class CommandOfAll(Asked):
    """One command for all files, less what it takes for the first of them alone."""

    version: str
    command: Sequence[str]
    by_stdin: bool
    """Whether it reads the paths from stdin, or has them as arguments."""
    said: str = ""

    def __post_init__(self) -> None:
        files = "< PATHS" if self.by_stdin else "FILE ..."
        self.said = f"one command for all files: {shown(self.command)} {files}"

    def measure(self, paths: Sequence[str], timeout: float, workers: int) -> Figures:
        with one_core():
            alone, start = self._less_start(paths)
        every, _ = self._less_start(paths)
        return Figures(start, alone, every, every[0].wall, every[0].cpu, shared=True)

    def _less_start(self, paths: Sequence[str]) -> tuple[list[File], float]:
        firsts, run = [self._run(paths[:1]) for _ in range(STARTS)], self._run(paths)
        first_wall, first_cpu = (median(getattr(f, key) for f in firsts) for key in ("wall", "cpu"))
        more = max(len(paths) - 1, 1)
        wall, cpu = run.wall - first_wall, run.cpu - first_cpu
        records = [line for line in run.output.splitlines() if line.startswith(b"{")]
        results = sum(b'"type":"result"' in line[:32] for line in records)
        each = File(wall / more, cpu / more)
        failed = File(each.wall, each.cpu, failed=True)
        missing = max(len(paths) - results, 0)
        return [each] * (len(paths) - missing) + [failed] * missing, first_wall

    def _run(self, paths: Sequence[str]) -> Run:
        if self.by_stdin:
            return timed(self.command, b"\n".join(map(os.fsencode, paths)))
        return timed([*self.command, *paths])


def shown(command: Sequence[str]) -> str:
    """A command without the folder of its program."""
    return " ".join([Path(command[0]).name, *command[1:]])


def installed(package: str, python: str) -> str | None:
    """Name and version of a package that this Python has, or None."""
    asking = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    done = subprocess.run([python, "-c", asking, package], capture_output=True, check=False)
    return f"{package} {done.stdout.decode().strip()}" if done.returncode == 0 else None
