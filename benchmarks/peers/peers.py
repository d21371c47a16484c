"""How long other tools take over the same files, in one run with a scan.

    python -m benchmarks.peers.peers FOLDER [--files 200] [--slow-files 20] [--rounds 3]
        [--timeout 120]
        [--python PYTHON] [--rules FILE ...] [--capa-rules FOLDER] [--only NAME ...]

This measures the time of tools that people use beside maltriage. How often a classifier of other
features is right is a different question: studies/peer.py.

Nothing of the tools is part of this project. They are looked for where PYTHON has them (the one
that runs this, unless it is named), and what is not there is left out by name:

    pip install die-python yara-x flare-capa flare-floss peframe-ds     # and thrember, from GitHub

A tool with an interface for Python is opened once and asked for file after file, by
peers/warm_peer.py; opening it is not counted. FLOSS, and `explain` as a process a file, are
measured as a user runs them, start included. `scan` and `explain` of all files are one command
each, less what the command takes for a single file, so they have no median of a file.

The files are `--files` of those in FOLDER, evenly spread over its walk, and in the page cache.
Each is measured alone, one file after another on a single core, and then on all cores: as many
processes as cores, each of which takes the next file, or the command as it is. The slow ones get
`--slow-files` of the files, whose sizes are spread as those of all are. They, and `explain`, get
one round. The ratio to a scan is that of means, of a scan of all files. A file that takes longer
than `--timeout` counts with the time until its process was ended (maltriage has a limit of its own,
of 60 s). CPU time is that of all processes; NumPy has one thread in each. Of several rounds the
median counts, file by file.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median

from benchmarks.peers.peer_runs import (
    Asked,
    CommandOfAll,
    Figures,
    Missing,
    ProcessOfFile,
    Warm,
    installed,
)
from benchmarks.speed.measure import adopt_orphans, machine
from benchmarks.speed.scan import LIBRARIES, found, manifest, readable, scan_command
from maltriage.version import __version__
from maltriage.work.cores import cores

WARM = str(Path(__file__).with_name("warm_peer.py"))
SCAN = "maltriage scan"
DOES = {
    SCAN: "verdict, evidence by byte, similar files and groups; reads in confined processes",
    "maltriage explain": "a scan of each file, claims put to the test, content of hot ranges",
    "explain, a process a file": "the same, with the start of Python and of the model each time",
    "EMBER2024 features": "2,568 numbers for a classifier; no verdict, no explanation",
    "Detect It Easy": "which compiler, linker or packer made a file; no verdict on malware",
    "yara-x": "which rules match; no more than these know, and no score",
    "capa": "disassembles, and names what functions can do; no family, no score",
    "FLOSS": "emulates functions for strings that are hidden; names strings, no verdict",
}
"""What each tool says of a file, and what it does not."""
SLOW = ("explain, a process a file", "capa", "FLOSS")
"""Get few of the files."""
ONCE = ("maltriage explain", *SLOW)
"""Get one round."""


def tools(options: argparse.Namespace) -> dict[str, Asked | Missing]:
    """How each tool is asked, by name, in the order of the table; or why it is not."""
    given = {
        "rules": options.rules,
        "capa_rules": options.capa_rules,
        "signatures": options.signatures,
    }
    model = ["--model", options.model] if options.model else []
    explain = [sys.executable, "-m", "maltriage", "explain", "-q", "-f", "json", *model]
    scan = scan_command(*model, "--no-cache")
    own, python = f"maltriage {__version__}", options.python
    floss, command = installed("flare-floss", python), Path(python).with_name("floss")

    def warm(tool: str) -> Asked | Missing:
        return Warm(python, WARM, tool, given).opened()

    return {
        SCAN: CommandOfAll(own, scan, by_stdin=True),
        "maltriage explain": CommandOfAll(own, explain, by_stdin=False),
        "EMBER2024 features": warm("ember"),
        "Detect It Easy": warm("die"),
        "yara-x": warm("yara"),
        "explain, a process a file": ProcessOfFile(own, explain, codes=(0, 1)),
        "capa": warm("capa"),
        "FLOSS": ProcessOfFile(floss, [str(command), "-q", "-j"])
        if floss and command.exists()
        else Missing("the package flare-floss is not installed there"),
    }


def spread(paths: Sequence[str], count: int) -> list[str]:
    """`count` of the files, each from the middle of a part of them of like size."""
    ranked = sorted(paths, key=os.path.getsize)
    count = min(count, len(ranked))
    return [ranked[(2 * i + 1) * len(ranked) // (2 * count)] for i in range(count)]


HEAD = (
    f"{'':28s} {'':>5s} {'alone, on one core: ms a file':^39s}  {'on all cores':^19s}\n"
    f"{'':28s} {'':>5s} {'clock':^19s} {'CPU':^19s}  {'ms a file':^19s}\n"
    f"{'tool':28s} {'files':>5s}"
    + "".join(f" {name:>9s}" for name in ("median", "mean") * 2)
    + f"  {'clock':>9s} {'CPU':>9s} {'start s':>8s} {'rounds':>6s} {'failed':>6s} "
    f"{'over time':>9s} {'CPU/scan':>8s}"
)


def row(name: str, rounds: Sequence[Figures], compared: float | None) -> str:
    """The line of a tool; `compared`: the mean CPU time of a file in a scan."""
    alone = rounds[0].alone
    walls = [median(r.alone[i].wall for r in rounds) for i in range(len(alone))]
    spent = [median(r.alone[i].cpu for r in rounds) for i in range(len(alone))]
    middle = len(alone) > 1 and not rounds[0].shared
    figures = [median(walls) if middle else None, fmean(walls)]
    figures += [median(spent) if middle else None, fmean(spent)]
    figures += [median(r.every_wall for r in rounds), median(r.every_cpu for r in rounds)]
    shown = [f"{'-':>9s}" if f is None else f"{f * 1e3:9.2f}" for f in figures]
    passes = [files for r in rounds for files in (r.alone, r.every)]
    failed = sum(any(file.failed for file in same) for same in zip(*passes, strict=True))
    late = sum(any(file.late for file in same) for same in zip(*passes, strict=True))
    ratio = f"{fmean(spent) / compared:8.1f}" if compared else f"{'':8s}"
    return (
        f"{name:28s} {len(alone):5d} {' '.join(shown[:4])}  {' '.join(shown[4:])} "
        f"{rounds[0].start:8.2f} {len(rounds):6d} {failed:6d} {late:9d} {ratio}"
    )


def table(options: argparse.Namespace, paths: list[str]) -> None:
    """Measure all, tool by tool and round by round, and print them."""
    asked = {
        name: tool
        for name, tool in tools(options).items()
        if not options.only or any(part in name for part in options.only)
    }
    files = {name: spread(paths, options.slow_files) if name in SLOW else paths for name in asked}
    runs: dict[str, list[Figures]] = {name: [] for name in asked}
    for number in range(options.rounds):
        order = list(asked.items())
        for name, tool in order if number % 2 == 0 else reversed(order):
            if isinstance(tool, Missing) or (number and name in ONCE):
                continue
            runs[name].append(tool.measure(files[name], options.timeout, cores()))
            # The table comes when all is measured, which takes long.
            print(f"{number + 1}: {row(name, runs[name][-1:], None)}", file=sys.stderr, flush=True)
    print("\n" + HEAD)
    scans = [fmean(f.cpu for f in r.alone) for r in runs.get(SCAN, [])]
    for name, rounds in runs.items():
        if rounds:
            print(row(name, rounds, median(scans) if scans else None))
    print("\nwhat each does")
    for name, tool in asked.items():
        if isinstance(tool, Missing):
            print(f"{name:28s} LEFT OUT: {tool.why}")
        else:
            print(f"{name:28s} {tool.version}: {DOES[name]}\n{'':28s} {tool.said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", nargs="+")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--slow-files", type=int, default=20, help=f"of {', '.join(SLOW)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=120, help="seconds of a file")
    parser.add_argument("--python", default=sys.executable, help="that has the other tools")
    parser.add_argument("--model")
    parser.add_argument("--rules", nargs="*", default=[], help="files or folders for yara-x")
    parser.add_argument("--capa-rules", help="folder of capa's rules, which its package lacks")
    parser.add_argument("--signatures", help="folder of capa's signatures; else those of FLOSS")
    parser.add_argument("--only", nargs="*", default=[], help="tools whose name has such a part")
    options = parser.parse_args()
    adopt_orphans()
    every = readable(options.folder, sys.maxsize)
    count = min(options.files, len(every))
    if not count:
        sys.exit("no samples there")
    paths = [every[i * len(every) // count] for i in range(count)]
    print(machine(os.cpu_count() or 1))
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES if found(name)))
    print(manifest(paths), flush=True)
    print(f"of these for the slow ones: {manifest(spread(paths, options.slow_files))}", flush=True)
    table(options, paths)


if __name__ == "__main__":
    main()
