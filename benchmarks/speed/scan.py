"""How fast is a scan, against the floor that its own stages set.

    python -m benchmarks.speed.scan FOLDER [FOLDER ...] [--files 770] [--rounds 3]
        [--memory 100 500 5000]

Everything is measured in one run on the same files, which are in the page cache by then: each
stage alone on one core, then `scan` as a process, in rounds in which its variants take turns. Time
is given twice: as it passed, and as the CPU time of all processes, which another load on the
machine moves less. The floor is the sum of reading and hashing, layout, views and forward pass.

Peak memory is the sum of RssAnon over the scan's processes, sampled, for each number of files of
`--memory`. The least of the numbers are files of the folders with sizes spread as theirs; more are
the programs of samples/ with random bytes behind them, of the same sizes again, in a temporary
folder: memory depends on how large files are, which must not change with their number.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from benchmarks.speed.measure import Run, adopt_orphans, machine, timed
from maltriage import bundle as bundles
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.byteplot import View, make_views
from maltriage.sample.errors import SampleError
from maltriage.sample.identity import identify
from maltriage.sample.layout import make_layout
from maltriage.sample.pe import Headers, read_headers
from maltriage.sample.types import Layout, Notice
from maltriage.similar.search import open_index
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.source.samples import read_sample
from maltriage.triage.session import Session
from maltriage.work.allocator import keep_memory
from maltriage.work.cores import cores

BATCH = 16
FLOAT = bundles.DEFAULT_MODEL.removesuffix("-int8")
FLOOR = ("read + sha256", "headers (LIEF)", "regions, entropy", "views", "forward pass")
LIBRARIES = ("maltriage", "numpy", "lief", "onnxruntime-gpu", "onnxruntime", "Pillow")
_MAX_LINKS = 50_000  # of one file: ext4 allows 65,000
_SAMPLES = Path(__file__).parents[2] / "samples"


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


@dataclass(frozen=True)
class Seconds:
    """What something took on one core: as it passed, and of the processor."""

    wall: float
    cpu: float

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


def seconds(work: Callable[[], object]) -> Seconds:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - start, time.process_time() - cpu)


def stages(paths: list[str], model: str | None) -> dict[str, Seconds]:
    """What each stage takes alone, one after another, on one core, with the memory of a worker."""
    keep_memory()
    bundle = bundles.load(bundles.resolve(model))
    session = Session(bundle, "cpu", threads=1)
    views, options = bundle.card.views, PrepareOptions(bundle.card.views)

    def read_and_hash() -> None:
        for data in map(_bytes, paths):  # none is kept: memory made anew costs more than the copy
            hashlib.sha256(data).digest()

    took = {"read + sha256": seconds(read_and_hash)}
    datas = list(map(_bytes, paths))
    took["of it sha256"] = seconds(lambda: [hashlib.sha256(data).digest() for data in datas])
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


def largest(paths: list[str]) -> str:
    sizes = [os.path.getsize(path) for path in paths]
    return f"{sum(sizes) / 1e6:.0f} MB, the largest {max(sizes) / 1e6:.0f} MB"


def _bytes(path: str) -> bytes:
    return read_sample(path).data


def same_mix(paths: list[str], count: int) -> list[str]:
    """`count` of the files whose sizes are spread as those of all are, in a mixed order."""
    ranked = sorted(paths, key=os.path.getsize, reverse=True)
    chosen = [ranked[i * len(ranked) // count] for i in range(min(count, len(ranked)))]
    random.Random(0).shuffle(chosen)
    return chosen


def filled(base: list[str], count: int, folder: Path) -> list[str]:
    """`count` different files whose sizes are those of `base`, over and over.

    The first are `base` itself. Nothing is made from foreign samples: the others are the project's
    own programs with random bytes behind them.
    """
    own = [_bytes(path) for path in readable([str(_SAMPLES)], 100)]
    files = base[:count]
    for i in range(len(files), count):
        size, program = os.path.getsize(base[i % len(base)]), own[i % len(own)]
        path = folder / f"{i}.exe"
        path.write_bytes(program + random.Random(i).randbytes(max(16, size - len(program))))
        files.append(str(path))
    return files


def scan_command(*arguments: str, script: tuple[str, ...] = ("-m", "maltriage")) -> list[str]:
    """A scan of the paths on its stdin, whose records go to a pipe."""
    command = [sys.executable, *script, "scan", "--files-from", "-", "-q", "-f", "ndjson"]
    return [*command, *arguments]


def variants(model: list[str], store: Path) -> dict[str, list[str]]:
    """The scans that take turns, by name."""
    bare = str(Path(__file__).with_name("bare_scan.py"))
    cold = [*model, "--no-cache"]
    wide = {} if model else {"float32": scan_command("--model", FLOAT, "--no-cache")}
    return {
        "scan": scan_command(*cold),
        **wide,
        "scan, no index": scan_command(*cold, "--index", "none"),
        "without evidence, no index": scan_command(*cold, "--index", "none", script=(bare,)),
        "one worker": scan_command(*cold, "--jobs", "1"),
        "filling a store": scan_command(*model, "--cache", str(store), "--refresh"),
        "from a store": scan_command(*model, "--cache", str(store)),
    }


def manifest(paths: list[str]) -> str:
    """The files in a line: how many, how large, and a digest of all of them."""
    sizes, digest = [], hashlib.sha256()
    for name in sorted(hashlib.sha256(_bytes(path)).hexdigest() for path in paths):
        digest.update(name.encode())
    sizes = sorted(os.path.getsize(path) for path in paths)
    return (
        f"{len(paths)} files, {sum(sizes) / 1e6:.0f} MB, "
        f"median {sizes[len(sizes) // 2] / 1e3:.0f} kB, "
        f"digest of their sorted SHA-256 {digest.hexdigest()[:16]}"
    )


def compare(options: argparse.Namespace, paths: list[str], floor: Seconds) -> None:
    """The rounds of scans, as a table."""
    model = ["--model", options.model] if options.model else []
    lines = b"\n".join(map(os.fsencode, paths))
    with tempfile.TemporaryDirectory() as store:
        commands = variants(model, Path(store))
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        starts: dict[str, list[Run]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                runs[name].append(timed(command, lines))
                starts[name].append(timed(command, os.fsencode(paths[0])))
    title = f"median of {options.rounds} rounds"
    columns = ("s", "files/s", "CPU s", "start s", "its CPU", "CPU ms/file", "floor/CPU")
    print(f"\n{title:28s}" + "".join(f" {column:>11s}" for column in columns))
    each: dict[str, float] = {}
    for name in commands:
        wall, cpu = (median(getattr(run, key) for run in runs[name]) for key in ("wall", "cpu"))
        first, begin = (median(getattr(r, key) for r in starts[name]) for key in ("first", "cpu"))
        each[name] = (cpu - begin) / (len(paths) - 1)
        figures = [wall, len(paths) / wall, cpu, first, begin, each[name] * 1e3]
        if name not in ("from a store", "float32"):  # its forward pass is another one
            figures.append(floor.cpu / len(paths) / each[name])
        print(f"{name:28s}" + "".join(f" {figure:11.2f}" for figure in figures))
    wall = median(run.wall - run.first for run in runs["scan"])
    cost = each["scan, no index"] / each["without evidence, no index"] - 1
    pairs = zip(runs["scan"], runs["from a store"], strict=True)
    warm = median(cold.wall / kept.wall for cold, kept in pairs)
    print(f"\nfloor / (scan x {cores()} cores), by the clock from the first record on: ", end="")
    print(f"{floor.wall / cores() / wall:.2f}")
    print(
        f"floor / scan, by CPU time, without start-up: {floor.cpu / len(paths) / each['scan']:.2f}"
    )
    print(f"evidence costs {cost:.1%} of the CPU time of a scan without it")
    print(f"a scan from a store is {warm:.0f} times as fast, start-up included")


def start_up(options: argparse.Namespace, paths: list[str]) -> None:
    """Seconds to the first record: of one file, and of a folder of very many."""
    model = ["--model", options.model] if options.model else []
    line = os.fsencode(paths[0])
    command = scan_command(*model, "--no-cache")
    first = [timed(command, line) for _ in range(5)]
    seconds_first, cpu = median(r.first for r in first), median(r.cpu for r in first)
    print(f"\nstart to first record, median of 5: {seconds_first:.2f} s, "
          f"least {min(r.first for r in first):.2f} s, CPU {cpu:.2f} s")  # fmt: skip
    if not options.many:
        return
    with tempfile.TemporaryDirectory() as folder:
        data = _bytes(readable([str(_SAMPLES)], 1)[0])
        original = Path(folder, "000000.exe")
        for i in range(options.many):
            name = Path(folder, f"{i:06d}.exe")
            if i % _MAX_LINKS:
                os.link(original, name)
            else:
                original = name
                original.write_bytes(data)
        took = []
        for _ in range(3):
            start = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "maltriage", "scan", folder, "-q", "-f", "ndjson", *model,
                 "--no-cache"],
                stdout=subprocess.PIPE,
            )  # fmt: skip
            assert process.stdout is not None
            process.stdout.readline()
            took.append(time.perf_counter() - start)
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            process.wait()
        print(f"the same in a folder of {options.many:,} files, median of 3: "
              f"{median(took):.2f} s, least {min(took):.2f} s")  # fmt: skip


def memory(options: argparse.Namespace) -> None:
    """Peak memory by the number of files."""
    model = ["--model", options.model] if options.model else []
    base = same_mix(readable(options.folders, 1 << 30), min(options.memory))
    print(f"files of the sizes of {len(base)} of them, {largest(base)}")
    for count in options.memory:
        with tempfile.TemporaryDirectory() as folder:
            files = filled(base, count, Path(folder))
            lines = b"\n".join(map(os.fsencode, files))
            run = timed(scan_command(*model, "--no-cache"), lines, memory=True)
            print(f"{count:6d} files: peak RssAnon {run.megabytes:.0f} MB, "
                  f"{count / run.wall:.0f} files/s", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--files", type=int, default=770)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[100, 500, 5000])
    parser.add_argument("--many", type=int, default=100_000, help="files of the large folder")
    options = parser.parse_args()
    adopt_orphans()
    paths = readable(options.folders, options.files)
    if not paths:
        sys.exit("no samples there")
    megabytes = sum(len(_bytes(path)) for path in paths) / 1e6
    print(machine(cores()))
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES if found(name)))
    print(manifest(paths))
    took = stages(paths, options.model)
    print(f"\n{'alone, one core':28s} {'ms/file':>8s} {'CPU ms':>8s} {'MB/s':>8s}")
    for name, value in took.items():
        _line(name, value, len(paths), megabytes)
    of_floor = [took[name] for name in FLOOR]
    floor = Seconds(sum(s.wall for s in of_floor), sum(s.cpu for s in of_floor))
    _line(f"the floor: {len(FLOOR)} of them", floor, len(paths), megabytes)
    if options.rounds:
        compare(options, paths, floor)
        start_up(options, paths)
    if options.memory:
        print()
        memory(options)


def found(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _line(name: str, took: Seconds, files: int, megabytes: float) -> None:
    print(f"{name:28s} {took.wall / files * 1e3:8.2f} {took.cpu / files * 1e3:8.2f} "
          f"{megabytes / took.wall:8.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
