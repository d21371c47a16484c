"""Known files: how long a list of hashes takes to read, and a look-up in it.

    python -m benchmarks.scale.known [--hashes 5000000] [--kind sha256|sha1|md5|nsrl]

The list is generated, in a folder that is thrown away: one hash a line, or with `nsrl` rows as the
NSRL ships them. Reading is timed in a process of its own, whose anonymous memory is asked when it
is done (Linux); so are 10,000 look-ups of hashes that are in the list and 10,000 of others. Times
are those of the processor, since another process may have the cores; hashing the file is in them.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from maltriage.source import known

LOOK_UPS = 10_000
KINDS = ("sha256", "sha1", "md5", "nsrl")


def payload(number: int) -> bytes:
    return b"file %d" % number


def write_list(path: Path, hashes: int, kind: str) -> None:
    """As many hashes; the first are those of `payload`, the others drawn."""
    drawn = "sha1" if kind == "nsrl" else kind
    width, rng = known.WIDTHS[drawn], np.random.default_rng(0)
    with path.open("wb") as file:
        if kind == "nsrl":
            file.write(b'"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode"\n')
        for start in range(0, hashes, 100_000):
            count = min(100_000, hashes - start)
            rows = rng.bytes(count * width).hex().upper()
            lines = [rows[i : i + 2 * width] for i in range(0, len(rows), 2 * width)]
            if start == 0:
                own = [hashlib.new(drawn, payload(i)).hexdigest() for i in range(LOOK_UPS)]
                lines[: len(own)] = own
            if kind == "nsrl":
                lines = [f'"{h}","{h[:32]}","{h[:8]}","name.dll",98865,3095' for h in lines]
            file.write("\n".join(lines).encode() + b"\n")


def anonymous() -> float:
    """Anonymous memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    raise OSError("no RssAnon in /proc/self/status")


def read(path: Path, cache: Path) -> None:
    before, start, spent = anonymous(), time.perf_counter(), time.process_time()
    listed = known.read_known(str(path), cache)
    spent, seconds = time.process_time() - spent, time.perf_counter() - start
    counts = ", ".join(f"{count:,} {kind}" for kind, count in listed.counts.items())
    print(f"read    {spent:8.2f} s of the processor, {seconds:.2f} s by the clock: {counts}")
    print(f"        {anonymous() - before:8.1f} MB more anonymous memory")


def look_up(path: Path, cache: Path) -> None:
    start = time.process_time()
    listed = known.read_known(str(path), cache)
    print(f"opened  {(time.process_time() - start) * 1e3:8.2f} ms")
    before = anonymous()
    for first, called in ((0, "listed"), (LOOK_UPS, "others")):
        start = time.process_time()
        found = [known.find_known(payload(first + i), [listed]) for i in range(LOOK_UPS)]
        each = (time.process_time() - start) / LOOK_UPS
        share = sum(match is not None for match in found) / LOOK_UPS
        print(f"look-up {each * 1e6:8.1f} us  {called}: {share:.0%} found")
    print(f"memory  {anonymous() - before:8.1f} MB more anonymous memory after all of them")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hashes", type=int, default=5_000_000)
    parser.add_argument("--kind", choices=KINDS, default="sha256")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder, "known.txt"), Path(folder, "cache")
        write_list(path, options.hashes, options.kind)
        print(f"list    {path.stat().st_size / 1e6:8.1f} MB  {options.hashes:,} of {options.kind}")
        for part in (read, look_up):
            process = multiprocessing.get_context("spawn").Process(target=part, args=(path, cache))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
