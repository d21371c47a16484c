"""What does it cost to look into the hot ranges of a file, beside explaining it plainly.

    python -m benchmarks.speed.hot_bytes FILE [--repeat 10] [--model NAME]

FILE is a program, about 1 MB for the figure that is stated. Its hot ranges are those of `explain`.
Measured is processor time in one process, the median of `--repeat` runs, which other programs on
the machine disturb less than the clock: preparing the file, the forward pass with its account, and
the call that a worker makes to look into the ranges, with the share of each part. What only that
call imports is paid once a worker, so it is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from maltriage import bundle as bundles
from maltriage.probe.inspect.worker import InspectOptions, inspect
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.triage.evidence import Heat, account, parts_of
from maltriage.triage.hot_ranges import merged
from maltriage.triage.methods import HIRESCAM, maps_of
from maltriage.triage.session import Session
from maltriage.triage.verdict import decide

WORKER = "maltriage.probe.inspect.worker"
PARTS = {
    "read the file": (WORKER, "read_sample"),
    "sha256": (WORKER, "hashlib.sha256"),
    "headers (LIEF)": ("maltriage.probe.inspect.image", "read_headers"),
    "header fields (pefile)": (WORKER, "header.fields"),
    "imports": (WORKER, "tables.imports"),
    "exports": (WORKER, "tables.exports"),
    "resources": (WORKER, "resources.leaves"),
    ".NET metadata": (WORKER, "dotnet.read"),
    "function starts": (WORKER, "functions.find"),
    "instructions": (WORKER, "code.Disassembler.listing"),
    "strings": (WORKER, "strings.find"),
    "strings at edges": (WORKER, "strings.spans"),
}
IMPORTS = """
import time
import maltriage.probe.prepare, lief, pefile
start = time.process_time()
import maltriage.probe.inspect.worker, {}
print(time.process_time() - start)
"""
NATIVE, MANAGED = "capstone", "dnfile, dncil.cil.body.reader"


def median(work: Callable[[], object], repeat: int) -> float:
    """Processor seconds of the median run."""
    took = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return statistics.median(took)


def parts(work: Callable[[], object], repeat: int) -> dict[str, float]:
    """Processor seconds in each of `PARTS` in one run, on average."""
    took: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                took[name] += time.process_time() - start

        return run

    with ExitStack() as stack:
        for name, (module, path) in PARTS.items():
            owner: Any = importlib.import_module(module)
            *way, last = path.split(".")
            for step in way:
                owner = getattr(owner, step)
            stack.enter_context(patch.object(owner, last, timed(name, getattr(owner, last))))
        for _ in range(repeat):
            work()
    return {name: took[name] / repeat for name in PARTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("file")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--model")
    options = parser.parse_args()
    bundle = bundles.load(bundles.resolve(options.model))
    card, session = bundle.card, Session(bundle, "cpu", threads=1)
    work = PrepareOptions(card.views, hashes=True, formats=card.input)
    sample = prepare(options.file, work)

    def explained() -> tuple[Any, Any]:
        outputs = session.run([sample.views], kinds=[sample.layout.kind])
        _, question = decide(outputs.logits[0], card, sample.layout.kind)
        maps = maps_of(outputs, 0, HIRESCAM)
        score = float(question.score(outputs.logits[0]))
        baseline = float(outputs.baseline[0])
        heat = Heat(maps, baseline, score, additive=card.additive, method=HIRESCAM)
        return account(sample, heat, question, card, plane=True), parts_of(sample, maps)

    evidence, heat = explained()
    ranges = merged(sample.layout, heat, evidence.hot)
    how = InspectOptions(sample.identity.sha256, formats=card.input)

    def looked() -> object:
        return inspect(options.file, ranges, how)

    looked()  # what is imported or made on first use is measured below
    size = sum(item.end - item.start for item in ranges)
    print(f"{sample.identity.size / 1e6:.2f} MB, {len(ranges)} hot ranges of {size:,} bytes\n")
    before = median(lambda: prepare(options.file, work), options.repeat)
    plain = before + median(explained, options.repeat)
    whole = median(looked, options.repeat)
    took = parts(looked, options.repeat)
    print(f"{'processor time':36s} {'ms':>8s} {'share':>7s}")
    print(f"{'prepare':36s} {before * 1e3:8.1f}")
    print(f"{'prepare, forward pass, account':36s} {plain * 1e3:8.1f}")
    print(f"{'look into the hot ranges':36s} {whole * 1e3:8.1f} {1:7.0%}")
    for name, seconds in [*took.items(), ("the rest", whole - sum(took.values()))]:
        print(f"  {name:34s} {seconds * 1e3:8.1f} {seconds / whole:7.0%}")
    modules = MANAGED if sample.layout.dotnet else NATIVE
    command = [sys.executable, "-c", IMPORTS.format(modules)]
    imported = float(subprocess.run(command, check=True, capture_output=True).stdout)
    name = "import " + modules.split(".")[0]
    print(f"{name:36s} {imported * 1e3:8.1f}")
    first = (whole + imported) / plain
    print(f"\nlooking / plain: {whole / plain:.2f}; with the imports {first:.2f}")


if __name__ == "__main__":
    main()
