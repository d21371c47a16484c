"""What the isolation of workers costs, and how much memory a worker needs.

    python -m benchmarks.speed.isolation FOLDER [FOLDER ...] [--files 1000] [--rounds 7]
        [--sizes 64]

Cost: scans of the same files, which are in the page cache by then, with and without isolation, in
rounds in which the two take turns, the first of a round changing; the median of the rounds' ratios,
by the clock and by the CPU time of all processes.

Memory: for each kind of file and size in MiB the least limit with which a worker reads the file, to
a sixteenth of the size, less what one takes that reads a file of no size. The files are made of
samples/ in a temporary folder, and removed.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.speed.measure import Run, adopt_orphans, machine, timed
from benchmarks.speed.scan import manifest, readable, scan_command
from maltriage import bundle as bundles
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import InspectOptions, inspect
from maltriage.probe.mask import Variant, masked
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.types import Region
from maltriage.source.archive.limits import Archives
from maltriage.work.cores import cores
from maltriage.work.isolation import Isolation, memory_for
from maltriage.work.workers import Workers, reason_of

MIB = 1 << 20
FLOOR = 192 * MIB  # with less a worker may not even start
PATIENCE = 120
_SAMPLES = Path(__file__).parents[2] / "samples"
KINDS = ("PE, overlay", "PE, section", "PNG", "hex dump", "zip of a PE", "7z of a PE")


def made(kind: str, size: int) -> bytes:
    """A file of a kind, whose program or text has about `size` bytes."""
    data = (_SAMPLES / "console-x86.exe").read_bytes()
    filling = np.random.default_rng(0).integers(1, 255, max(0, size - len(data)), dtype=np.uint8)
    if kind == "hex dump":
        line = " ".join(f"{byte:02X}" for byte in data[:16])
        count = max(16, size // (len(line) + 10))
        return "".join(f"{0x401000 + 16 * i:08X} {line}\n" for i in range(count)).encode()
    data += filling.tobytes()
    if kind == "PE, section":
        headers = int.from_bytes(data[0x3C:0x40], "little")
        count, optional = data[headers + 6], headers + 24
        last = optional + int.from_bytes(data[headers + 20 : headers + 22], "little")
        place = last + 40 * (count - 1) + 16
        start = int.from_bytes(data[place + 4 : place + 8], "little")
        length = (len(data) - start).to_bytes(4, "little")
        return data[:place] + length + data[place + 4 :]
    if kind == "PNG":
        rows = np.frombuffer(data[: len(data) // 512 * 512], dtype=np.uint8).reshape(-1, 512)
        output = io.BytesIO()
        Image.fromarray(rows).save(output, "PNG", compress_level=1)
        return output.getvalue()
    output = io.BytesIO()
    if kind == "zip of a PE":
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("x.exe", data)
    elif kind == "7z of a PE":
        import py7zr

        with py7zr.SevenZipFile(output, "w") as seven:
            seven.writestr(data, "x.exe")
    return output.getvalue() or data


def read(path: str, sha256: str | None) -> str:
    """In a worker: prepare a file, or, by its SHA-256, look into it as `explain` does."""
    options = PrepareOptions(VIEWS, hashes=True, max_size=1 << 40, archives=ARCHIVES)
    if sha256 is None:
        return prepare(path, options).identity.sha256
    sight = InspectOptions(sha256, max_size=1 << 40, archives=ARCHIVES)
    region = Region("x", "section", 0x400, 0x800)
    inspect(path, [Range(0x400, 0x800, 0x500, region)], sight)
    shuffled = Variant(((0, 1 << 40),), "shuffle", 0)
    masked(path, sha256, {}, options, [shuffled])
    return sha256


def needed(path: str, step: int) -> int:
    """The least limit in bytes with which a worker does both, in steps above `FLOOR`."""
    low, high = 0, 1
    while not enough(path, FLOOR + high * step):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(path, FLOOR + middle * step) else (middle, high)
    return FLOOR + high * step


def enough(path: str, memory: int) -> bool:
    with Workers(1, 300, isolation=Isolation(memory)) as workers:
        try:
            sha256 = workers.submit(read, path, None).result(timeout=PATIENCE)
            workers.submit(read, path, sha256).result(timeout=PATIENCE)
        except FutureTimeout:  # it dies before it takes the file, over and over
            return False
        except Exception as error:
            if reason_of(error, 300).code not in ("memory", "crash"):
                raise
            return False
    return True


def memory(kinds: Sequence[str], sizes: list[int]) -> None:
    """What a worker needs, by kind and size."""
    print(f"\n{'a worker needs':16s} {'MiB':>6s} {'limit':>9s} {'per byte':>9s}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            path = Path(folder, "sample")
            least = 0
            for size in (0, *sizes):
                path.write_bytes(made(kind, size * MIB))
                found = needed(str(path), max(size * MIB // 16, 4 * MIB))
                least = least or found
                each = f"{(found - least) / (size * MIB):9.1f}" if size else f"{'':9s}"
                print(f"{kind:16s} {size:6d} {found / MIB:9.0f} {each}", flush=True)
    for size in sizes:
        print(f"--max-size {size} gives it {memory_for(size * MIB) / MIB:.0f} MiB")


def cost(paths: list[str], rounds: int) -> None:
    """What isolation takes of a scan's time."""
    bare = str(Path(__file__).with_name("unconfined_scan.py"))
    commands = {
        "isolated": scan_command("--no-cache"),
        "not isolated": scan_command("--no-cache", script=(bare,)),
    }
    lines = b"\n".join(map(os.fsencode, paths))
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for turn in range(rounds):
        for name in list(commands)[:: 1 if turn % 2 else -1]:
            runs[name].append(timed(commands[name], lines))
    print(f"\n{f'median of {rounds} rounds':16s} {'s':>8s} {'CPU s':>8s} {'files/s':>8s}")
    for name, found in runs.items():
        wall, cpu = median(r.wall for r in found), median(r.cpu for r in found)
        print(f"{name:16s} {wall:8.2f} {cpu:8.2f} {len(paths) / wall:8.1f}")
    for what in ("wall", "cpu"):
        ratios = sorted(
            getattr(a, what) / getattr(b, what) - 1 for a, b in zip(*runs.values(), strict=True)
        )
        print(
            f"isolation costs {median(ratios):+.1%} of the {'CPU' if what == 'cpu' else 'clock'}"
            f" time ({ratios[0]:+.1%} to {ratios[-1]:+.1%} in {rounds} rounds)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--sizes", type=int, nargs="*", default=[64], help="MiB")
    options = parser.parse_args()
    adopt_orphans()
    print(machine(cores()))
    if options.folders:
        paths = readable(options.folders, options.files)
        if not paths:
            sys.exit("no samples there")
        print(manifest(paths))
        cost(paths, options.rounds)
    if options.sizes:
        memory(options.kinds, options.sizes)


VIEWS = bundles.load(bundles.resolve(None)).card.views
ARCHIVES = Archives(ratio=1 << 30)

if __name__ == "__main__":
    main()
