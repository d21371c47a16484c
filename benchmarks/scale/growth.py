"""Whether time and memory grow with the number of files, and with nothing else.

    python -m benchmarks.scale.growth [--files 100 1000 10000 100000] [--rounds 3]
        [--entries 1000 10000 100000 900000] [--records 1000 10000 100000]
        [--hashes 100000 1000000 10000000] [--parts scan index groups known]

`scan` scans more and more different files of the same mix: the programs of samples/ with random
bytes behind them, over and over the same fifty pairs of program and number of bytes, so that only
their number grows. It is a default scan, with index and groups, but without kept results. Printed
is the slope of time over files when both are logarithms: 1 is time that grows as files do. Start-up
is not in it: time is that from the first record on, and beside it CPU time, less that of a scan of
one file. With the fewest files the first batches and the last, during which a core waits, weigh
more, so the slope is also given without them. Memory is the highest sum of RssAnon over the
processes. Numbers above 10,000 are scanned once. The files are few kinds of programs, so groups
stay few; what many of them cost is `groups`.

`index` is what a search costs a file by how many files an index has, and which share of a scan's
CPU time that is (made up as in scale/similar.py, in memory). `groups` is CPU time of grouping
records of which a tenth, or all, are unlike any other (scale/groups.py). `known` is reading a
list of hashes, and looking one up (scale/known.py).

All is written to a temporary folder, which takes 20 KB for each of the most files, and which TMPDIR
moves elsewhere.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.scale import known as lists
from benchmarks.scale import similar
from benchmarks.scale.groups import seconds_of
from benchmarks.speed.measure import Run, adopt_orphans, machine, timed
from maltriage import bundle as bundles
from maltriage.report.documents.record import Result
from maltriage.report.saved.report import look_through
from maltriage.similar.index import Index
from maltriage.similar.index_file import MAX_INDEX_BYTES
from maltriage.similar.search import Searcher, open_index
from maltriage.source import known
from maltriage.version import __version__
from maltriage.work.cores import cores

SAMPLES = Path(__file__).parents[2] / "samples"
PROGRAMS = (
    *("console-x64.exe", "console-x86.exe", "debug-x86.exe", "dotnet.exe", "driver-x64.sys"),
    *("gui-x86.exe", "library-x64.dll", "overlay-x86.exe", "packed-x86.exe", "signed-x64.exe"),
)
TAILS = (64, 256, 1024, 2048, 4096)
"""Bytes behind a program; with the programs the fifty pairs that come again and again."""
ONCE = 10_000
"""More files than that are scanned once."""
SLOPE, MEMORY, SEARCH = (0.97, 1.03), 1.1, 0.05
"""What is asked for: of the slope, of the memory of the most files to that of the fewest, and the
most that searching the index may take of a scan."""
LOOK_UPS = 10_000


def slope(numbers: Sequence[float], times: Sequence[float]) -> float:
    """Of the line through the points when both are logarithms."""
    return float(np.polyfit(np.log(numbers), np.log(times), 1)[0])


def slopes(name: str, numbers: Sequence[float], times: Sequence[float]) -> None:
    """The slope of all points, without the first, and from each to the next."""
    if len(numbers) < 2:
        return
    if min(times) <= 0:
        print(f"{name}: too short to be timed")
        return
    told = f"{name}: slope {slope(numbers, times):.3f}"
    if len(numbers) > 2:
        told += f", without the fewest {slope(numbers[1:], times[1:]):.3f}"
    points = pairwise(zip(numbers, times, strict=True))
    steps = [slope((a, b), (s, t)) for (a, s), (b, t) in points]
    print(f"{told}; from each to the next {', '.join(f'{step:.2f}' for step in steps)}")


def write_files(folder: Path, count: int) -> list[str]:
    """As many different files, of the same pairs of program and tail each fifty."""
    programs = [(SAMPLES / name).read_bytes() for name in PROGRAMS]
    paths = []
    for i in range(count):
        program = programs[i % len(programs)]
        tail = TAILS[i // len(programs) % len(TAILS)]
        path = folder / f"{i // 1000:03d}" / f"{i:06d}.exe"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(program + random.Random(i).randbytes(tail))
        paths.append(str(path))
    return paths


def scan(options: argparse.Namespace, folder: Path) -> float:
    """Scans of more and more files, as a table. Returns the CPU ms that a file takes."""
    numbers = sorted(options.files)
    paths = write_files(folder, numbers[-1])
    listed = folder / "list"
    command = [sys.executable, "-m", "maltriage", "scan", "--files-from", str(listed), "-q"]
    command += [
        "-f",
        "ndjson",
        "--no-cache",
        *(["--model", options.model] if options.model else []),
    ]

    def run(count: int) -> Run:
        listed.write_text("\n".join(paths[:count]) + "\n")
        done = timed(command, memory=count > 1, keep=False)
        summary = done.output.splitlines()[-1]
        if b'"type":"summary"' not in summary or f'"files":{count},'.encode() not in summary:
            sys.exit(f"{' '.join(command)}: no summary of {count} files: {summary[:200]!r}")
        return done

    run(min(50, numbers[0]))  # what is read once is then in the page cache
    begin = median(run(1).cpu for _ in range(3))
    columns = ("files", "rounds", "s", "after first", "files/s", "CPU ms a file", "peak MB")
    print(f"\nscan: CPU time of a scan of one file {begin:.2f} s")
    print("".join(f"{column:>14s}" for column in columns))
    walls, spent, peaks = [], [], []
    for count in numbers:
        rounds = options.rounds if count <= ONCE else 1
        runs = [run(count) for _ in range(rounds)]
        wall = median(r.wall for r in runs)
        walls.append(median(r.wall - r.first for r in runs))
        spent.append(median(r.cpu for r in runs) - begin)
        peaks.append(median(r.megabytes for r in runs))
        each = spent[-1] / max(count - 1, 1) * 1e3
        print(f"{count:14,}{rounds:14d}{wall:14.2f}{walls[-1]:14.2f}{count / wall:14.1f}"
              f"{each:14.2f}{peaks[-1]:14.0f}", flush=True)  # fmt: skip
    slopes("time from the first record on", numbers, walls)
    slopes("CPU time, less that of one file", numbers, spent)
    print(f"asked for: {SLOPE[0]} to {SLOPE[1]}", flush=True)
    told = ", ".join(f"{peak / peaks[0]:.2f}" for peak in peaks)
    print(f"memory, as times that of the fewest: {told}; asked for: at most {MEMORY}")
    return float(spent[-1] / max(numbers[-1] - 1, 1) * 1e3)


def index(options: argparse.Namespace, scan_ms: float | None) -> None:
    """What a search costs, by the number of files in the index."""
    bundle = bundles.load(bundles.resolve(options.model))
    shipped = open_index(bundle, None)
    if shipped is None:
        print("\nindex: the model has none")
        return
    bytes_each = 2 * shipped.index.header.dimensions + 32 + 4
    print(f"\nindex: a file of one holds {MAX_INDEX_BYTES // bytes_each:,} files at most")
    print(f"{'entries':>14s}{'open s':>14s}{'ms a file':>14s}{'of a scan':>14s}")
    took: dict[int, float] = {}

    def measure(count: int, made: Index) -> None:
        start = time.process_time()
        searcher = Searcher(made)
        opened = time.process_time() - start
        took[count] = similar.search_ms(searcher, shipped.index, options.batches)
        share = f"{took[count] / (took[count] + scan_ms):14.1%}" if scan_ms else f"{'-':>14s}"
        print(f"{count:14,}{opened:14.2f}{took[count]:14.3f}{share}", flush=True)

    measure(len(shipped.index), shipped.index)
    for count in sorted(options.entries):
        measure(count, similar.made_up(bundle, shipped.index, count))
    numbers = sorted(took)
    slopes("search", numbers, [took[n] for n in numbers])
    if scan_ms:
        limit = scan_ms * SEARCH / (1 - SEARCH)
        above = next((n for n in numbers if took[n] > limit), None)
        which = f"from {above:,} entries on, of those tried" if above else "with none of these"
        print(f"above {SEARCH:.0%} of a scan {which}; a scan without it: {scan_ms:.2f} ms a file")


def groups(options: argparse.Namespace, folder: Path) -> None:
    """What grouping costs, by the number of records."""
    report = folder / "report.ndjson"
    paths = [str(SAMPLES / name) for name in PROGRAMS]
    command = [sys.executable, "-m", "maltriage", "scan", *paths, "-q", "--no-cache"]
    timed([*command, "-o", str(report)])
    records = look_through(str(report)).records()
    results = [record for record in records if isinstance(record, Result)]
    for different in (0.1, 1.0):
        print(f"\ngroups: {different:.0%} of the records unlike any other")
        cost = partial(_grouping, results, different)
        table("records", "us a record", options.records, 1e6, cost)


def _grouping(results: Sequence[Result], different: float, records: int) -> float:
    return seconds_of(results, records, different)


def known_lists(options: argparse.Namespace, folder: Path) -> None:
    """What a list of hashes costs, by its length."""
    cache = folder / "cache"
    cache.mkdir()

    def read(count: int) -> float:
        path = folder / f"{count}.txt"
        lists.write_list(path, count, "sha256")
        start = time.process_time()
        known.read_known(str(path), cache)
        return time.process_time() - start

    def look_up(count: int) -> float:
        listed = known.read_known(str(folder / f"{count}.txt"), cache)
        start = time.process_time()
        for number in range(LOOK_UPS):
            known.find_known(lists.payload(number), [listed])
        return time.process_time() - start

    print("\nknown: reading a list of sha256")
    table("hashes", "us a hash", options.hashes, 1e6, read)
    print(f"known: {LOOK_UPS:,} look-ups, which should take as long in any list")
    took = [look_up(count) for count in sorted(options.hashes)]
    for count, seconds in zip(sorted(options.hashes), took, strict=True):
        print(f"{count:14,}{seconds:14.2f}{1e6 * seconds / LOOK_UPS:14.2f}")
    slopes("look-ups", sorted(options.hashes), took)


def table(
    what: str, unit: str, numbers: Sequence[int], factor: float, measure: Callable[[int], float]
) -> None:
    """Seconds by number, and of each."""
    print(f"{what:>14s}{'CPU s':>14s}{unit:>14s}")
    took = []
    for count in sorted(numbers):
        took.append(measure(count))
        print(f"{count:14,}{took[-1]:14.2f}{factor * took[-1] / count:14.2f}", flush=True)
    slopes(what, sorted(numbers), took)


PARTS = ("scan", "index", "groups", "known")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entries", type=int, nargs="+", default=[1000, 10_000, 100_000, 900_000])
    parser.add_argument("--batches", type=int, default=20, help="of 16 files, that are looked for")
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--hashes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--scan-ms", type=float, help="CPU ms a file of a scan; else as measured")
    parser.add_argument("--model")
    options = parser.parse_args()
    adopt_orphans()
    print(machine(cores()))
    print(f"maltriage {__version__}, numpy {np.__version__}")
    scan_ms = options.scan_ms
    with tempfile.TemporaryDirectory() as name:
        os.environ["MALTRIAGE_CACHE"] = str(Path(name, "kept"))
        if "scan" in options.parts:
            found = scan(options, Path(name))
            scan_ms = scan_ms or found
        if "index" in options.parts:
            index(options, scan_ms)
        if "groups" in options.parts:
            groups(options, Path(name))
        if "known" in options.parts:
            known_lists(options, Path(name))


if __name__ == "__main__":
    main()
