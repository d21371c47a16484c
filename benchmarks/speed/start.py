"""Where the time until the first record of a scan goes, by process and by what is imported.

    python -m benchmarks.speed.start FILE [--rounds 5] [--shown 12]

The command is `maltriage scan FILE --no-cache`. A scan has two processes that start side by side:
the command itself, and the server that its workers are forked from, which imports LIEF. Printed
are the seconds to the first record and the CPU time of all processes, and for both processes what
their imports take, by package, the least of the rounds. Python measures imports while it measures,
so they take about a quarter longer here than without.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from statistics import median

from benchmarks.speed.measure import adopt_orphans, machine, timed
from maltriage.work.cores import cores
from maltriage.work.forkserver import PRELOAD

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def imports(command: list[str], rounds: int) -> Counter[str]:
    """Milliseconds by package: of each module the least of the rounds, without what it imports."""
    least: dict[str, int] = {}
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        for own, name in _LINE.findall(done.stderr):
            least[name] = min(least.get(name, int(own)), int(own))
    packages: Counter[str] = Counter()
    for name, own in least.items():
        packages[name.partition(".")[0]] += own
    return Counter({name: round(own / 1e3) for name, own in packages.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shown", type=int, default=12, help="packages that are named")
    chosen = parser.parse_args()
    adopt_orphans()
    print(machine(cores()))
    scan = ["-m", "maltriage", "scan", chosen.file, "-q", "-f", "ndjson", "--no-cache"]
    runs = [timed((sys.executable, *scan)) for _ in range(chosen.rounds)]
    first, wall, cpu = (median(getattr(r, key) for r in runs) for key in ("first", "wall", "cpu"))
    least = min(run.first for run in runs)
    print(f"first record after {first:.2f} s (least {least:.2f}), end after {wall:.2f} s, "
          f"{cpu:.2f} s of CPU time")  # fmt: skip
    # Without the first, which takes stderr away.
    server = ["-c", "import gc; gc.disable(); import " + ", ".join(PRELOAD[1:])]
    for name, command in (("the command", scan), ("the server of workers", server)):
        taken = imports(command, chosen.rounds)
        named = ", ".join(f"{key} {ms}" for key, ms in taken.most_common(chosen.shown))
        print(f"\n{name}: imports {sum(taken.values())} ms: {named}")


if __name__ == "__main__":
    main()
