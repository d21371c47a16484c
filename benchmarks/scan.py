"""How fast is a scan, against the floor that its own stages set.

    python benchmarks/scan.py FOLDER [FOLDER ...] [--files 500] [--memory 500 5000]

Everything is measured in one run on the same files, after one warm-up read: each stage
alone on one core (read + sha256, layout parse, views, forward pass), then `scan` itself as a
process with all cores. Peak memory is the sum of RssAnon over the scan's processes, sampled,
for each size of `--memory`; a folder with too few files is filled up with changed copies,
which are made in a temporary folder and differ in their appended bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from maltriage import bundle as bundles
from maltriage.sample.byteplot import View, make_views
from maltriage.sample.identity import identify
from maltriage.sample.layout import make_layout
from maltriage.sample.pe import Headers, read_headers
from maltriage.sample.prepare import PrepareOptions, prepare
from maltriage.sample.source import Found, SampleError, WalkOptions, read_sample, walk
from maltriage.sample.types import Layout, Notice
from maltriage.sample.workers import cores
from maltriage.triage.session import Session
from maltriage.triage.similar import open_index

BATCH = 16


def readable(folders: list[str], limit: int) -> list[str]:
    """The first `limit` samples below the folders; their bytes are then in the page cache."""
    paths: list[str] = []
    for found in walk(folders, WalkOptions()):
        if len(paths) == limit:
            break
        if isinstance(found, Found):
            try:
                read_sample(found.path)
            except SampleError:
                continue
            paths.append(found.path)
    return paths


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def stages(paths: list[str], model: str | None) -> dict[str, float]:
    """Seconds of each stage alone, one after another, on one core."""
    bundle = bundles.load(bundles.resolve(model))
    session = Session(bundle, "cpu", threads=1)
    views, options = bundle.card.views, PrepareOptions(bundle.card.views)
    datas: list[bytes] = []

    def read_and_hash() -> None:
        for data in map(_bytes, paths):
            datas.append(data)
            hashlib.sha256(data).digest()

    took = {"read + sha256": seconds(read_and_hash)}
    for data in datas[:1]:  # what is imported or made on first use is no part of a stage
        first = read_headers(data)
        layout, _ = make_layout(data, first)
        identify(data, first)
        make_views(data, layout.anchors, views)
    headers: list[Headers | None] = []
    took["headers (LIEF)"] = seconds(lambda: headers.extend(map(read_headers, datas)))
    pairs = list(zip(datas, headers, strict=True))
    layouts: list[tuple[Layout, list[Notice]]] = []
    took["regions, entropy"] = seconds(lambda: layouts.extend(make_layout(d, h) for d, h in pairs))
    took["names, imphash"] = seconds(lambda: [identify(d, h) for d, h in pairs]) - seconds(
        lambda: [hashlib.sha256(d).digest() for d in datas]
    )
    made: list[dict[str, View]] = []
    anchors = [layout.anchors for layout, _ in layouts]
    took["views"] = seconds(
        lambda: made.extend(make_views(d, a, views) for d, a in zip(datas, anchors, strict=True))
    )
    batches = [made[i : i + BATCH] for i in range(0, len(made), BATCH)]
    session.run(batches[0])
    took["forward pass"] = seconds(lambda: [session.run(batch) for batch in batches])
    searcher = open_index(bundle, None)
    if searcher is not None:
        embeddings = [session.run(batch).embedding for batch in batches]
        names = [[""] * len(batch) for batch in batches]
        took["similar files"] = seconds(
            lambda: [searcher.search(e, n) for e, n in zip(embeddings, names, strict=True)]
        )
    took["prepare, as scan does it"] = seconds(lambda: [prepare(path, options) for path in paths])
    return took


def _bytes(path: str) -> bytes:
    return read_sample(path).data


def run_scan(arguments: list[str], paths: list[str]) -> tuple[float, float, float]:
    """Scan as a process: wall seconds, seconds to the first record, peak RssAnon in MB."""
    command = [sys.executable, "-m", "maltriage", "scan", "--files-from", "-", "-q"]
    command += ["--no-cache", *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    peak = _PeakMemory(process.pid)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n".join(map(os.fsencode, paths)))
    process.stdin.close()
    process.stdout.readline()
    first = time.perf_counter() - start
    process.stdout.read()
    process.wait()
    return time.perf_counter() - start, first, peak.stop() / 1e6


class _PeakMemory:
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


def filled(paths: list[str], count: int, folder: Path) -> list[str]:
    """`count` different files: the given ones, then hard-to-compress variants of samples/.

    Nothing is made from foreign samples: only the project's own programs are copied.
    """
    own = readable([str(Path(__file__).parents[1] / "samples")], 100)
    extra = []
    for i in range(count - len(paths)):
        path = folder / f"{i}.exe"
        path.write_bytes(_bytes(own[i % len(own)]) + f"\n{i}".encode() * (i % 5000))
        extra.append(str(path))
    return (paths + extra)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--model")
    parser.add_argument("--memory", type=int, nargs="*", default=[500, 5000])
    options = parser.parse_args()
    paths = readable(options.folders, options.files)
    if not paths:
        sys.exit("no samples there")
    megabytes = sum(len(_bytes(path)) for path in paths) / 1e6
    print(f"{platform.platform()}, {cores()} cores, Python {platform.python_version()}")
    print(f"{len(paths)} files, {megabytes:.0f} MB\n")
    took = stages(paths, options.model)
    model = ["--model", options.model] if options.model else []
    wall, first, _ = run_scan([*model, "--format", "ndjson"], paths)
    print(f"{'alone, one core':28s} {'ms/file':>8s} {'files/s':>8s} {'MB/s':>8s}")
    for name, value in took.items():
        _line(name, value, len(paths), megabytes)
    floor = sum(v for k, v in took.items() if not k.startswith("prepare"))
    _line("sum of the stages: the floor", floor, len(paths), megabytes)
    print()
    _line(f"scan, {cores()} cores", wall, len(paths), megabytes)
    print(f"start to first record {first:.2f} s; scan / (floor x cores) = "
          f"{floor / cores() / wall:.2f} with start-up, "
          f"{floor / cores() / (wall - first):.2f} without")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for count in options.memory:
            files = filled(readable(options.folders, count), count, Path(folder))
            took_scan, _, peak = run_scan([*model, "--format", "ndjson"], files)
            print(f"{count} files: peak RssAnon {peak:.0f} MB, {count / took_scan:.0f} files/s")


def _line(name: str, took: float, files: int, megabytes: float) -> None:
    print(f"{name:28s} {took / files * 1e3:8.2f} {files / took:8.0f} {megabytes / took:8.0f}")


if __name__ == "__main__":
    main()
