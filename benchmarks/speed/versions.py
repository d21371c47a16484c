"""Whether a scan by this version is as fast as by another, and takes as much memory.

    python -m benchmarks.speed.versions OLD_CHECKOUT FOLDER [--rounds 7] [--jobs 0]

Both versions scan the folder with the Python that runs this, in rounds in which the two take turns,
the first of a round changing. Printed are medians, and the median of the rounds' ratios old / new:
above 1 this version is the better one. With several workers the peak of the memory depends on which
of them had the largest files: `--jobs 1` compares it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from statistics import median

from benchmarks.speed.measure import Run, adopt_orphans, machine, timed

NEW = Path(__file__).resolve().parents[2]
FIGURES = ("wall", "first", "cpu", "megabytes")


def scanned(checkout: Path, folder: str, jobs: int) -> Run:
    """A scan by one version, whose modules come from its checkout.

    With `-P`: the folder that this is run in, often one of the two, would come before it.
    """
    os.environ["PYTHONPATH"] = str(checkout)
    scan = ("scan", folder, "-f", "ndjson", "--no-cache", "--jobs", f"{jobs}")
    return timed((sys.executable, "-P", "-m", "maltriage", *scan), memory=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=0)
    chosen = parser.parse_args()
    adopt_orphans()
    versions = {"old": chosen.old.resolve(), "new": NEW}
    print(machine(os.cpu_count() or 1))
    runs: dict[str, list[Run]] = {name: [] for name in versions}
    for number in range(chosen.rounds + 1):
        for name in sorted(versions, reverse=bool(number % 2)):
            run = scanned(versions[name], chosen.folder, chosen.jobs)
            if number:  # the first round warms the page cache
                runs[name].append(run)
    lines = len(runs["new"][0].output.splitlines())
    print(f"{lines} records, {chosen.rounds} rounds")
    for figure in FIGURES:
        old, new = ([getattr(run, figure) for run in runs[name]] for name in ("old", "new"))
        ratio = median(a / b for a, b in zip(old, new, strict=True))
        print(f"{figure:10} old {median(old):8.2f}  new {median(new):8.2f}  old / new {ratio:.3f}")


if __name__ == "__main__":
    main()
