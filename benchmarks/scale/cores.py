"""At how many files a second the processes of a scan are full, and what that makes of many cores.

    python -m benchmarks.scale.cores FOLDER [FOLDER ...] [--files 800] [--many 40000]
        [--cores 1 2 4 ...]

Three things are measured, and one is simulated:

* an engine's own process, with workers that answer at once what they answered before: its CPU time
  a file, by stage. The model runs beside Python, all else does not;
* the command that engines answer to, by the CPU time of its process: each thing that it does alone
  (walk, store, groups, each output), and all of them, with engines that answer at once;
* whole scans, by the CPU time of all processes;
* the command in front of the engines of 1 to 128 cores: real processes and pipes, but each engine
  answers recorded records, after the time that one of so many cores takes for them by the figures
  above. So a small machine shows where a large one's command is full.

Of `--many` files in the simulation each is a record of the folders under another name and another
SHA-256. Another load on the machine makes the command slower, and the simulation with it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Self

from rich.console import Console

from benchmarks.scale import recorded
from benchmarks.scale.engine_cost import OPTIONS, ROUNDS, EngineCost, alone, engine_cost
from benchmarks.scale.recorded import Recorded, in_parts
from benchmarks.speed.measure import adopt_orphans, machine, timed
from benchmarks.speed.scan import found, manifest, readable, scan_command
from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.report.documents.record import Record, Result, Summary, decode, encode
from maltriage.report.formats import SCAN, Renderer, RenderOptions, open_renderer
from maltriage.results.policy import Policy, packed, settings_of
from maltriage.results.store import Store
from maltriage.similar.groups import grouped
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.source.walked import Walked
from maltriage.triage.engines import processes, serving
from maltriage.triage.engines.chunks import CHUNK_FILES, cut
from maltriage.triage.engines.done import Done
from maltriage.triage.engines.machine import _by_several, engines_for
from maltriage.triage.engines.pool import PIECES_EACH
from maltriage.triage.options import MODEL_SHARE, Progress
from maltriage.triage.pipeline import summary
from maltriage.triage.request import ScanRequest
from maltriage.work import forkserver
from maltriage.work.cores import cores

LIBRARIES = ("maltriage", "numpy", "onnxruntime-gpu", "onnxruntime", "msgspec", "pyarrow")


def command_costs(bundle: Bundle, paths: list[str], records: list[Result]) -> dict[str, float]:
    """CPU seconds of the command for each file, by what it does."""
    count = len(records)
    files = [file for file in walk(paths, WalkOptions()) if isinstance(file, Found)]
    lines = [encode(record) for record in records]
    took = {"walk": alone(lambda: list(walk(paths, WalkOptions()))) / len(paths)}
    took["ask"] = alone(lambda: [pickle.dumps(c.files) for c in cut(files)]) / len(files)
    kept = [packed(record) for record in records]
    made = pickle.dumps(Done(b"\n".join(lines), [r.sha256 for r in records], [], [], [*kept]))
    took["answer"] = alone(lambda: list(pickle.loads(made).lines())) / count
    took["decode"] = alone(lambda: [decode(line) for line in lines]) / count
    with tempfile.TemporaryDirectory() as folder:
        with opened_store(Path(folder), bundle) as policy:
            took["recall, new"] = alone(lambda: [policy.recall(f, 1 << 30) for f in files]) / count
        rounds = iter(range(ROUNDS))

        def keep() -> None:
            with opened_store(Path(folder, str(next(rounds))), bundle) as policy:
                for file in files:
                    policy.recall(file, 1 << 30, look=False)
                for number, record in enumerate(records):
                    policy.keep(record, record.sha256, kept[number])
                    if number % CHUNK_FILES == CHUNK_FILES - 1:
                        policy.commit()
                policy.commit()

        took["store"] = alone(keep) / count
        with opened_store(Path(folder, "0"), bundle) as policy:
            known = alone(lambda: [policy.recall(file, 1 << 30) for file in files])
            took["recall, known"] = known / count
    took["groups"] = alone(lambda: list(grouped(records))) / count
    together = list(grouped([*records, summary_of(bundle)]))
    for name in SCAN:
        took[name] = alone(lambda name=name: write(name, together)) / count  # type: ignore[misc]
    return took


@contextlib.contextmanager
def opened_store(folder: Path, bundle: Bundle) -> Iterator[Policy]:
    store = Store.open(folder, print)
    assert store is not None
    with store:
        yield Policy(store, settings_of(bundle, OPTIONS, None))


def summary_of(bundle: Bundle) -> Summary:
    return summary(Progress(), bundle, 1.0, interrupted=False)


def renderer_of(name: str) -> Renderer:
    console = Console(file=io.StringIO(), width=120)
    null = open(os.devnull, "wb")  # noqa: SIM115 - for as long as the process runs
    return open_renderer(SCAN[name], null, RenderOptions(), console)


def write(name: str, records: list[Record]) -> None:
    renderer = renderer_of(name)
    for record in records:
        if isinstance(record, Summary):
            renderer.finish(record)
        else:
            renderer.write(record)


@dataclass(frozen=True)
class Simulated:
    """Files a second, and the share of a core that the command was busy for."""

    rate: float
    busy: float


AT_ONCE = 4000
"""Files a second that are expected of engines that answer at once."""
KINDS = (("table", False), ("table", True), ("ndjson", False), ("csv", False), ("html", False))
"""Outputs of the command, each with a store or without."""


class Simulation:
    """Scans by engines that answer recorded records. For one process: it replaces what starts
    engines. Use it as a context manager."""

    def __init__(self, bundle: Bundle, records: list[Result], many: int) -> None:
        self._bundle, self._many = bundle, many
        self._setup = Recorded([in_parts(record) for record in records], 0.0)
        self._temporary = tempfile.TemporaryDirectory()
        self._turn = 0
        processes.serve = recorded.answer  # type: ignore[assignment, attr-defined]
        serving.Setup = lambda *_: self._setup  # type: ignore[assignment, misc]
        # From a server that has imported all of it, so that many start as one.
        forkserver.PRELOAD.append("benchmarks.scale.recorded")
        processes.CONTEXT = forkserver.worker_context()
        vars(sys.modules["__main__"])["__spec__"] = None  # processes need none of this module
        vars(sys.modules["__main__"]).pop("__file__")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def run(
        self, engines: int, each: float, seconds: float, output: str, *, stored: bool
    ) -> Simulated:
        """A scan of about so many seconds.

        The first fifth of its files is left out, as engines start meanwhile, and so is its end,
        where some wait for others.

        Args:
            each: seconds that an engine takes for a file.
        """
        rate = engines / each if each else AT_ONCE
        files = min(self._many, max(round(rate * seconds), 20 * CHUNK_FILES * engines))
        begin, end = files // 5, files - 4 * CHUNK_FILES * engines
        self._setup = replace(self._setup, each=each)
        options = replace(OPTIONS, jobs=engines, engines=engines)
        renderer, self._turn = renderer_of(output), self._turn + 1
        with contextlib.ExitStack() as opened:
            policy = Policy()
            if stored:
                at = Path(self._temporary.name, f"store-{self._turn}")
                policy = opened.enter_context(opened_store(at, self._bundle))
            folder = some_files(Path(self._temporary.name), files)
            request = ScanRequest((str(folder),), self._bundle, options, policy)
            walked = Walked(request.paths, options.walk)
            found = _by_several(request, walked, engines, Progress(), lambda: False)
            wall = busy = 0.0
            for number, record in enumerate(grouped(found)):
                if number == begin:
                    wall, busy = -time.perf_counter(), -time.process_time()
                assert isinstance(record, Result)
                renderer.write(record)
                if number == end:
                    wall, busy = wall + time.perf_counter(), busy + time.process_time()
        return Simulated((end - begin) / wall, busy / wall)


def title(output: str, stored: bool) -> str:
    return output + (", store" if stored else "")


def full(simulation: Simulation, seconds: float) -> None:
    """Print at how many records a second the command is full: by its own CPU time."""
    print("\nthe command as a whole        CPU us a record   records/s")
    for output, stored in KINDS:
        made = simulation.run(4, 0.0, seconds, output, stored=stored)
        each = made.busy / made.rate
        print(f"  {title(output, stored):28s} {each * 1e6:14.1f} {1 / each:11.0f}", flush=True)


def simulated(
    simulation: Simulation, numbers: list[int], seconds: float, cost: EngineCost, each: float
) -> None:
    """Print the files a second of so many cores, and the share of what they would be linearly.

    Args:
        each: CPU seconds of a whole scan for a file.
    """
    kinds = KINDS[:3]
    print(f"\n{'cores':>5s} {'linear':>9s} {'one engine':>16s} {'engines':>8s}"
          + "".join(f" {title(*kind):>20s}" for kind in kinds))  # fmt: skip
    print(" " * 15 + "  files/s  of it         " + "   files/s  of it busy" * len(kinds))
    for count in numbers:
        linear, number = count / each, engines_for(count)
        single = min(linear, cost.alone(max(1, round(MODEL_SHARE * count))))
        print(f"{count:5d} {linear:9.0f} {single:9.0f} {single / linear:6.2f} {number:8d}",
              end="", flush=True)  # fmt: skip
        if number > 1:
            limit = cost.at_once(max(1, round(MODEL_SHARE * count / number)))
            for output, stored in kinds:
                taken = number / min(number * limit, linear)
                made = simulation.run(number, taken, seconds, output, stored=stored)
                print(f" {made.rate:9.0f} {made.rate / linear:5.2f} {made.busy:4.2f}", end="")
                sys.stdout.flush()
        print()


def some_files(folder: Path, count: int) -> Path:
    """A folder of so many files, of a byte each."""
    into = folder / f"{count}"
    if not into.exists():
        for number in range(count):
            below = into / f"{number // 1000:03d}"
            below.mkdir(parents=True, exist_ok=True)
            (below / f"{number % 1000:03d}.exe").write_bytes(b"M")
    return into


def whole(paths: list[str], engines: int) -> float:
    """CPU seconds of all processes for a file of a scan, without the start."""
    command = scan_command("--no-cache", "--engines", str(engines), "--device", "cpu")
    lines = b"\n".join(map(os.fsencode, paths))
    few = b"\n".join(map(os.fsencode, paths[::4]))
    runs = [(timed(command, lines).cpu, timed(command, few).cpu) for _ in range(ROUNDS)]
    all_of_them, some = (min(costs) for costs in zip(*runs, strict=True))
    return float(all_of_them - some) / (len(paths) - len(paths[::4]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--files", type=int, default=800)
    parser.add_argument("--many", type=int, default=40_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each simulation, about")
    parser.add_argument("--cores", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64, 128])
    chosen = parser.parse_args()
    adopt_orphans()
    paths = readable(chosen.folders, chosen.files)
    bundle = bundles.load(bundles.resolve(None))
    print(machine(cores()))
    versions = [f"{name} {metadata.version(name)}" for name in LIBRARIES if found(name)]
    print(", ".join(versions))
    print(manifest(paths))
    one = whole(paths, 1)
    print(f"\na scan, CPU ms a file of all processes: {one * 1e3:.2f}")
    if len(paths) > 4 * PIECES_EACH * CHUNK_FILES:  # so that a quarter starts both
        print(f"the same by two engines: {whole(paths, 2) * 1e3:.2f}")
    cost, records = engine_cost(bundle, paths)
    print("\nan engine's process, CPU ms a file")
    for name, seconds in [("the model", cost.model), *cost.stages.items()]:
        print(f"  {name:16s} {seconds * 1e3:7.3f}")
    print(f"  {'all but the model':16s} {cost.python * 1e3:6.3f}")
    print(f"  in turns with the model, one thread: full at {cost.alone(1):.0f} files/s, "
          f"{cost.alone(1) * one:.1f} cores")  # fmt: skip
    print(f"  {PIECES_EACH} chunks at once: full at {cost.at_once(1):.0f} files/s, "
          f"{cost.at_once(1) * one:.1f} cores")  # fmt: skip
    print("\nthe command, each alone       CPU us a record   records/s")
    for name, seconds in command_costs(bundle, paths, records).items():
        print(f"  {name:28s} {seconds * 1e6:14.1f} {1 / seconds:11.0f}")
    with Simulation(bundle, records, chosen.many) as simulation:
        full(simulation, chosen.seconds)
        simulated(simulation, chosen.cores, chosen.seconds, cost, one)


if __name__ == "__main__":
    main()
