"""What other benchmarks share: a process and all that it starts, timed, and its memory."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

_LAST = 1024 * 1024
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h


@dataclass(frozen=True)
class Run:
    """A process and all that it started: seconds, seconds to its first line, CPU seconds of all
    of them, and the highest sum of their anonymous memory in MB (0 where it was not watched)."""

    wall: float
    first: float
    cpu: float
    megabytes: float
    output: bytes


def adopt_orphans() -> None:
    """Have this process inherit what its children leave running, so that `timed` counts it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def timed(
    command: Sequence[str], lines: bytes = b"", *, memory: bool = False, keep: bool = True
) -> Run:
    """Run a command with `lines` on its stdin. Nothing else may run below this process.

    Without `keep` the output is read, but only its first line and its last MB are returned.
    """
    before, start = _cpu_of_children(), time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    peak = PeakMemory(process.pid) if memory else None
    assert process.stdin is not None
    assert process.stdout is not None
    # Aside: a child that writes before it has read all waits until somebody reads.
    feeder = ThreadPoolExecutor(1)
    fed = feeder.submit(_feed, process.stdin, lines)
    output = process.stdout.readline()
    first = time.perf_counter() - start
    if keep:
        output += process.stdout.read()
    else:
        last = b""
        while more := process.stdout.read(_LAST):
            last = (last + more)[-_LAST:]
        output += last
    process.wait()
    wall = time.perf_counter() - start
    feeder.shutdown()
    fed.result()  # raises if the command ended without reading all
    while True:  # a server of worker processes ends after its parent, and counts then
        try:
            os.wait()
        except ChildProcessError:
            break
    cpu = _cpu_of_children() - before
    return Run(wall, first, cpu, peak.stop() / 1e6 if peak else 0.0, output)


def _feed(stream: IO[bytes], lines: bytes) -> None:
    with stream:
        stream.write(lines)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class PeakMemory:
    """Highest sum of anonymous memory over a process and its children, sampled."""

    def __init__(self, pid: int) -> None:
        self._process, self._peak, self._over = psutil.Process(pid), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self._peak = max(self._peak, sum(self._anonymous()))

    def _anonymous(self) -> Iterator[int]:
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in family:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("RssAnon:"):
                    yield int(line.split()[1]) * 1024

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._peak


def machine(cores: int) -> str:
    """The machine and how busy it is with other things, in a line."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    memory = psutil.virtual_memory().total / 1e9
    return (
        f"{platform.platform()}, {name}, {cores} cores, {memory:.0f} GB, "
        f"load before the run {os.getloadavg()[0]:.1f}"
    )
