"""What the store of results saves, and what it costs.

    python benchmarks/store.py FOLDER [FOLDER ...] [--files 4000] [--rounds 2]

In one run, on the same files, whose bytes are in the page cache by then: scans without a store,
with an empty one (cold) and with the full one (warm), taking turns, and a warm scan of a tenth of
the files, which tells start-up from work. Seconds are wall-clock, and those of all cores that the
scan's processes had: on a machine that does other things besides, the latter say more. Of several
rounds the least counts.
The files must have lain there for more than two seconds, or they are read again.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from maltriage.sample.contents import SampleError
from maltriage.sample.source import Found, WalkOptions, read_sample, walk
from maltriage.sample.workers import cores

SAMPLED_EVERY = 0.02
"""Seconds between two looks at the time that processes had."""


@dataclass(frozen=True)
class Took:
    wall: float
    cpu: float


def readable(folders: Sequence[str], limit: int) -> list[str]:
    """The first `limit` samples below the folders, read once."""
    paths: list[str] = []
    for found in walk(folders, WalkOptions()):
        if len(paths) == limit:
            break
        if isinstance(found, Found):
            try:
                read_sample(found.path)
            except SampleError:
                continue
            paths.append(os.path.abspath(found.path))
    return paths


class _Times:
    """The processor time of a process and of all below it, sampled: workers end before it."""

    def __init__(self, pid: int) -> None:
        self._process, self._had, self._over = psutil.Process(pid), dict[int, float](), False
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over:
            try:
                for process in (self._process, *self._process.children(recursive=True)):
                    times = process.cpu_times()
                    self._had[process.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                pass
            time.sleep(SAMPLED_EVERY)

    def stop(self) -> float:
        self._over = True
        self._thread.join()
        return sum(self._had.values())


def scan(paths: Sequence[str], *arguments: str) -> Took:
    """Scan files as a process, into a file of NDJSON."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "list")
        listed.write_bytes(b"\n".join(map(os.fsencode, paths)))
        command = [sys.executable, "-m", "maltriage", "scan", "--files-from", str(listed), "-q"]
        command += ["--exit-zero", "-o", str(Path(folder, "out.ndjson")), *arguments]
        start = time.perf_counter()
        process = subprocess.Popen(command)
        times = _Times(process.pid)
        code = process.wait()
        wall, cpu = time.perf_counter() - start, times.stop()
    if code:
        sys.exit(f"scan ended with {code}")
    return Took(wall, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    paths = readable(options.folders, options.files)
    few = paths[: len(paths) // 10]
    if not few:
        sys.exit("not enough samples there")
    print(f"{platform.platform()}, {cores()} cores, Python {platform.python_version()}")
    took: dict[str, list[Took]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "results")
        for _ in range(options.rounds):
            shutil.rmtree(store, ignore_errors=True)
            kept = ("--cache", str(store))
            for name, files, how in (
                ("without a store", paths, ("--no-cache",)),
                ("cold", paths, kept),
                ("warm", paths, kept),
                ("warm, a tenth", few, kept),
            ):
                took.setdefault(name, []).append(scan(files, *how))
        size = sum(path.stat().st_size for path in store.iterdir())
    least = {
        name: Took(min(t.wall for t in each), min(t.cpu for t in each))
        for name, each in took.items()
    }
    print(f"{len(paths)} files, load {os.getloadavg()[0]:.1f}, least of {options.rounds} rounds\n")
    print(f"{'':18s}{'wall s':>9s}{'cpu s':>9s}{'cpu ms/file':>13s}")
    for name, t in least.items():
        count = len(few if name.endswith("tenth") else paths)
        print(f"{name:18s}{t.wall:9.2f}{t.cpu:9.2f}{t.cpu / count * 1e3:13.3f}")
    bare, cold, warm, tenth = least.values()
    more = len(paths) - len(few)
    each = (warm.cpu - tenth.cpu) / more
    start = warm.cpu - each * len(paths)
    print(f"\ncold / warm: {cold.wall / warm.wall:.1f} wall, {cold.cpu / warm.cpu:.1f} cpu")
    print(f"warm: {start:.2f} s of cpu to start, then {each * 1e3:.3f} ms a file; without the "
          f"start {(cold.cpu - start) / (each * len(paths)):.1f} times less cpu")  # fmt: skip
    print(f"the store costs a cold scan {cold.cpu / bare.cpu - 1:+.1%} cpu, "
          f"{cold.wall / bare.wall - 1:+.1%} wall")  # fmt: skip
    print(f"on disk: {size / len(paths):.0f} bytes a file")


if __name__ == "__main__":
    main()
