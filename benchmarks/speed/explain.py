"""What does `explain` cost, in parts, and against a plain explain?

    python -m benchmarks.speed.explain FILE [--rounds 5] [--model MODEL]

Everything is run as a process, as a user runs it, on the same FILE: the program's start-up alone
(`maltriage --version`), `explain` with nothing besides, which includes the start-up, with what
it does by default, and with that but the index of clean programs and Detect It Easy. Rounds are
interleaved, so that what else the machine does falls on all alike, and the median is taken. The
target is that `explain` as it is by default takes at most 4 times a plain one with its start-up,
and 1.3 times one without index and Detect It Easy.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

from maltriage.work.cores import cores

TARGET, KNOWN_TARGET = 4.0, 1.3


WITHOUT_DIE = """
import importlib.util as u, sys
found = u.find_spec
u.find_spec = lambda name, *a: None if name == "die" else found(name, *a)
from maltriage.cli.entry import main
main()
"""


def seconds(arguments: list[str], *, die: bool = True) -> float:
    """Wall time of the program; 0 and 1 are its codes for an answer.

    Args:
        die: whether it may find Detect It Easy.
    """
    command = [sys.executable, *(("-m", "maltriage") if die else ("-c", WITHOUT_DIE)), *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}: {done.stderr.decode().strip()}")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model")
    options = parser.parse_args()
    explain = ["explain", options.file, *(["--model", options.model] if options.model else [])]
    runs = {
        "start-up": ["--version"],
        "plain": [*explain, *(f"--no-{part}" for part in PARTS)],
        **{
            f"with {part} alone": [*explain, *(f"--no-{other}" for other in PARTS if other != part)]
            for part in PARTS
        },
        "no index": [*explain, *NO_INDEX],
        NOTHING_KNOWN: [*explain, *NO_INDEX],
        "by default": explain,
    }
    took: dict[str, list[float]] = {name: [] for name in runs}
    for arguments in runs.values():  # what is read once is then in the page cache
        seconds(arguments)
    for _ in range(options.rounds):
        for name, arguments in runs.items():
            took[name].append(seconds(arguments, die=name != NOTHING_KNOWN))
    median = {name: statistics.median(values) for name, values in took.items()}
    unit = median["plain"]
    print(f"{platform.platform()}, {cores()} cores, Python {platform.python_version()}")
    print(f"{options.file}, {os.path.getsize(options.file):,} bytes, {options.rounds} rounds\n")
    print(f"{'median':24s} {'seconds':>8s} {'fastest':>8s} {'/ plain':>8s}")
    for name, value in median.items():
        print(f"{name:24s} {value:8.2f} {min(took[name]):8.2f} {value / unit:8.2f}")
    for part in PARTS:
        print(f"{part + ' adds':24s} {median[f'with {part} alone'] - median['plain']:8.2f}")
    known = median["by default"] / median[NOTHING_KNOWN]
    print(f"\nby default / {NOTHING_KNOWN} = {known:.2f}, target at most {KNOWN_TARGET:g}")
    print(f"by default / plain = {median['by default'] / unit:.2f}, target at most {TARGET:g}")


NO_INDEX = ("--prevalence", "none")
NOTHING_KNOWN = "no index nor DIE"
PARTS = ("verify", "inspect")
"""What `explain` does besides, each with an option `--no-...`."""


if __name__ == "__main__":
    main()
