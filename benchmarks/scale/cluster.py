"""What `scan --engine ray` costs on top of the local engine, and what goes over the network.

    python -m benchmarks.scale.cluster FOLDER [--files 1000] [--rounds 3]

Both engines are opened once, on the cores of this machine, Ray on a cluster of its own here, and
read the same files in turns, after a round that does not count: starting is not in it. `command` is
the CPU time of the process that walks, orders and writes NDJSON, which is one however many nodes
there are; that of the local engine runs the model as well. `shards` has nodes write the records.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pickle
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.speed.measure import machine
from maltriage import bundle as bundles
from maltriage.cluster import engine as ray_engine
from maltriage.cluster.actor import LEVEL
from maltriage.cluster.connection import LOCAL
from maltriage.cluster.shards import Manifest, Shards, inputs_of
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Record, Summary
from maltriage.report.formats import RenderOptions
from maltriage.report.scan.ndjson import NdjsonRenderer
from maltriage.results.policy import Policy
from maltriage.source.archive.limits import Archives
from maltriage.source.files import WalkOptions, walk
from maltriage.triage.engines.chunks import CHUNK_FILES
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.pipeline import Engine, summary
from maltriage.triage.request import ScanRequest
from maltriage.version import __version__
from maltriage.work.cores import cores


@dataclass(frozen=True)
class Taken:
    """Seconds: by the clock, CPU time of all processes, CPU time of this one."""

    wall: float
    cpu: float
    command: float


def cpu() -> dict[int, float]:
    """CPU seconds of this process and of all below it, by process."""
    me, found = psutil.Process(), dict[int, float]()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def timed(records: Callable[[], Iterable[Record]], output: io.BytesIO) -> Taken:
    """Have all records made and written."""
    output.seek(0)
    output.truncate()
    renderer = NdjsonRenderer(output, RenderOptions(), Console(quiet=True))
    before, start = cpu(), time.perf_counter()
    for record in records():
        assert not isinstance(record, Summary)
        renderer.write(record)
    wall, after = time.perf_counter() - start, cpu()
    used = {pid: seconds - before.get(pid, 0.0) for pid, seconds in after.items()}
    return Taken(wall, sum(used.values()), used[os.getpid()])


def handing_out(folder: Path) -> float:
    """CPU milliseconds to walk to a file, to put it into the digest of a part, and to send it."""
    start = time.process_time()
    found = list(walk([str(folder)], WalkOptions(), members=True))
    inputs_of(b"", Shards(""), found)
    pickle.dumps(found)
    return 1e3 * (time.process_time() - start) / len(found)


def middle(found: list[Taken]) -> Taken:
    return Taken(
        statistics.median(taken.wall for taken in found),
        statistics.median(taken.cpu for taken in found),
        statistics.median(taken.command for taken in found),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    files = sorted(str(path) for path in chosen.folder.rglob("*") if path.is_file())
    step = max(1.0, len(files) / chosen.files)
    files = [files[int(i * step)] for i in range(min(len(files), chosen.files))]
    megabytes = sum(Path(path).stat().st_size for path in files) / 1e6
    bundle = bundles.load(bundles.resolve(None))
    options = ScanOptions(archives=Archives(), members="each", index=None)
    request = ScanRequest(tuple(files), bundle, options)
    print(machine(cores()))
    output = io.BytesIO()
    found: dict[str, list[Taken]] = {"local": [], "ray": [], "shards": []}
    with (
        Engine(bundle, options) as engine,
        ray_engine.opened(request, LOCAL) as (pool, _),
    ):
        import ray

        print(f"maltriage {__version__}, ray {ray.__version__}")
        print(f"{len(files)} files, {megabytes:.0f} MB, median of {chosen.rounds} rounds\n")

        def here() -> Iterable[Record]:
            found = walk(files, options.walk, members=True)
            return engine.records(found, policy=Policy(), progress=Progress())

        def there() -> Iterable[Record]:
            return ray_engine.records(request, pool, Progress(), lambda: False)

        def parts() -> Iterable[Record]:
            with (
                tempfile.TemporaryDirectory() as folder,
                Manifest(Shards(folder)) as manifest,
            ):
                progress, made = Progress(), summary(Counts(), bundle, 0.0, interrupted=False)
                ray_engine.write_shards(
                    request, pool, manifest, b"", progress, lambda _: made, lambda: False
                )
                assert progress.records == len(lines)
            return ()

        lines: list[bytes] = []
        for number in range(chosen.rounds + 1):
            for name, records in (("local", here), ("ray", there), ("shards", parts)):
                taken = timed(records, output)
                lines = output.getvalue().splitlines(keepends=True) or lines
                if number:
                    found[name].append(taken)
    print(f"{'':8}{'files/s':>10}{'CPU ms/file':>14}{'command':>10}")
    for name, all_taken in found.items():
        taken, count = middle(all_taken), len(files)
        each, own = 1e3 * taken.cpu / count, 1e3 * taken.command / count
        print(f"{name:8}{count / taken.wall:10.0f}{each:14.2f}{own:10.2f}")
    both = list(zip(found["ray"], found["local"], strict=True))
    clock = statistics.median(one.wall / other.wall for one, other in both)
    work = statistics.median(one.cpu / other.cpu for one, other in both)
    print(f"\nray / local, median of rounds: {clock:.2f} by the clock, {work:.2f} by CPU time")
    chunks = [lines[i : i + CHUNK_FILES] for i in range(0, len(lines), CHUNK_FILES)]
    packed = sum(len(zlib.compress(b"".join(chunk), LEVEL)) for chunk in chunks)
    print(
        f"a file: {1e3 * megabytes / len(files):.0f} kB read;"
        f" its record: {sum(map(len, lines)) / len(lines) / 1e3:.1f} kB,"
        f" {packed / len(lines) / 1e3:.1f} kB on its way from a node"
    )
    each = handing_out(chosen.folder)
    print(f"walking to a file, and handing it out: {each:.3f} ms of the command's CPU time")


if __name__ == "__main__":
    main()
