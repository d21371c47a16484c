"""What the store of results saves, and what it costs.

    python -m benchmarks.speed.store FOLDER [FOLDER ...] [--files 4000] [--rounds 2]

In one run, on the same files, whose bytes are in the page cache by then: scans without a store,
with an empty one (cold) and with the full one (warm), taking turns, and a warm scan of a tenth of
the files, which tells start-up from work. Seconds are wall-clock, and those of all cores that the
scan's processes had: on a machine that does other things besides, the latter say more. Of several
rounds the least counts.
The files must have lain there for more than two seconds, or they are read again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.measure import Run, adopt_orphans, machine, timed
from benchmarks.speed.scan import readable
from maltriage.work.cores import cores


def scan(paths: Sequence[str], *arguments: str) -> Run:
    """Scan files as a process, into a file of NDJSON."""
    with tempfile.TemporaryDirectory() as folder:
        listed, out = Path(folder, "list"), Path(folder, "out.ndjson")
        listed.write_bytes(b"\n".join(map(os.fsencode, paths)))
        command = [sys.executable, "-m", "maltriage", "scan", "--files-from", str(listed), "-q"]
        took = timed([*command, "--exit-zero", "-o", str(out), *arguments])
        if not out.exists():  # it is there when the scan is whole
            sys.exit("the scan failed")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    adopt_orphans()
    paths = [os.path.abspath(path) for path in readable(options.folders, options.files)]
    few = paths[: len(paths) // 10]
    if not few:
        sys.exit("not enough samples there")
    print(machine(cores()))
    took: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "results")
        for _ in range(options.rounds):
            shutil.rmtree(store, ignore_errors=True)
            kept = ("--cache", str(store))
            for name, files, how in (
                ("without a store", paths, ("--no-cache",)),
                ("cold", paths, kept),
                ("warm", paths, kept),
                ("warm, a tenth", few, kept),
            ):
                took.setdefault(name, []).append(scan(files, *how))
        size = sum(path.stat().st_size for path in store.iterdir())
    least = {
        name: (min(t.wall for t in each), min(t.cpu for t in each)) for name, each in took.items()
    }
    print(f"{len(paths)} files, least of {options.rounds} rounds\n")
    print(f"{'':18s}{'wall s':>9s}{'cpu s':>9s}{'cpu ms/file':>13s}")
    for name, (wall, cpu) in least.items():
        count = len(few if name.endswith("tenth") else paths)
        print(f"{name:18s}{wall:9.2f}{cpu:9.2f}{cpu / count * 1e3:13.3f}")
    (bare_wall, bare), (cold_wall, cold), (warm_wall, warm), (_, tenth) = least.values()
    more = len(paths) - len(few)
    each = (warm - tenth) / more
    start = warm - each * len(paths)
    print(f"\ncold / warm: {cold_wall / warm_wall:.1f} wall, {cold / warm:.1f} cpu")
    print(f"warm: {start:.2f} s of cpu to start, then {each * 1e3:.3f} ms a file; without the "
          f"start {(cold - start) / (each * len(paths)):.1f} times less cpu")  # fmt: skip
    print(f"the store costs a cold scan {cold / bare - 1:+.1%} cpu, "
          f"{cold_wall / bare_wall - 1:+.1%} wall")  # fmt: skip
    print(f"on disk: {size / len(paths):.0f} bytes a file")


if __name__ == "__main__":
    main()
