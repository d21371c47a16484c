"""How fast is a hex dump parsed, beside plain reading of its file.

    python -m benchmarks.speed.hexdump [FOLDER] [--mb 4] [--repeat 15]

Each of the forms below is written to a temporary file: the `.bytes` files of FOLDER, or made-up
bytes, one after the other until there are `--mb` of text. Printed is MB of text a second, of the
best and the median of `--repeat` runs, and MB a second of processor time, of the best, which other
programs on the machine disturb less: reading the file from the page cache, reading it after the
cache was told to let go of it (Linux; what the disk gives, or whatever lies below), parsing what
was read, and both together from the cache. Python's own `bytes.fromhex` on the same text, without
addresses and with `??` replaced, is what a parser can be compared with.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from maltriage.sample.hexdump import parse_dump

PER_LINE = 16
SHORT_EVERY = 256
"""Lines of a block in the form whose blocks end in a line that is not full."""


def lines_of(folder: Path | None, wanted: int) -> list[bytes]:
    """So many lines of 16 bytes without an address, 48 characters each with their end."""
    if folder is None:
        data = np.random.default_rng(0).bytes(wanted * PER_LINE)
        text = data.hex(" ").upper().encode()
        return [text[at : at + 47] for at in range(0, len(text), 48)]
    found = list[bytes]()
    for path in sorted(folder.rglob("*.bytes")):
        lines = path.read_bytes().split()
        pairs = [word for word in lines if len(word) == 2]
        whole = len(pairs) // PER_LINE * PER_LINE
        found += [b" ".join(pairs[at : at + PER_LINE]) for at in range(0, whole, PER_LINE)]
    if not found:
        raise SystemExit(f"no .bytes files in {folder}")
    return (found * (1 + wanted // len(found)))[:wanted]


def forms(lines: list[bytes]) -> dict[str, bytes]:
    """The same bytes as they circulate: bare, with addresses, and with short lines."""
    bare = b"\n".join(lines) + b"\n"
    addressed, short, at = list[bytes](), list[bytes](), 0x401000
    for number, line in enumerate(lines, 1):
        addressed.append(b"%08X %s" % (at & 0xFFFFFFFF, line))
        ends = number % SHORT_EVERY == 0
        jumped = at + 4096 * ((number - 1) // SHORT_EVERY)
        short.append(b"%08X %s" % (jumped & 0xFFFFFFFF, line[:23] if ends else line))
        at += PER_LINE
    return {
        "bare": bare,
        "with addresses": b"\r\n".join(addressed) + b"\r\n",
        f"a short line in {SHORT_EVERY}": b"\r\n".join(short) + b"\r\n",
    }


def rate(work: Callable[[], object], size: int, repeat: int, before: Callable[[], None]) -> str:
    """Best and median MB/s of some runs, and the best by processor time."""
    rates, processor = [], []
    for _ in range(repeat):
        before()
        start, used = time.perf_counter(), time.process_time()
        work()
        rates.append(size / 1e6 / (time.perf_counter() - start))
        processor.append(size / 1e6 / (time.process_time() - used))
    return f"{max(rates):8,.0f} {statistics.median(rates):8,.0f} {max(processor):8,.0f}"


def let_go(path: Path) -> None:
    """Ask the system to drop a file from its page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--mb", type=int, default=4, help="of text without addresses")
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    print(f"{'MB/s of text':44s} {'best':>8s} {'median':>8s} {'cpu':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in forms(lines_of(options.folder, options.mb * 1_000_000 // 48)).items():
            path = Path(folder) / "dump.bytes"
            path.write_bytes(text)
            size, repeat = len(text), options.repeat

            def show(
                what: str, work: Callable[[], object], before: Callable[[], None] = lambda: None
            ) -> None:
                print(f"{f'{name}: {what}':44s} {rate(work, size, repeat, before)}")  # noqa: B023

            path.read_bytes()
            show("read, from the page cache", path.read_bytes)
            if hasattr(os, "posix_fadvise"):
                show("read, not from the cache", path.read_bytes, lambda: let_go(path))  # noqa: B023
                path.read_bytes()
            show("parse", lambda: parse_dump(text))  # noqa: B023
            show("read and parse", lambda: parse_dump(path.read_bytes()))  # noqa: B023
            if name == "bare":
                known = text.replace(b"??", b"00").decode()
                show("bytes.fromhex", lambda: bytes.fromhex(known))  # noqa: B023


if __name__ == "__main__":
    main()
