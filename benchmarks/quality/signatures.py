"""How many signatures match their file, by source, clean files and malware apart.

    python -m benchmarks.quality.signatures FOLDER [FOLDER ...]

Each folder has a `manifest.csv` or `labels.csv` with `path`, `family` and `source`. Only signatures
that LIEF can check are counted, as `identity.as_signed` has it. Byteplots, of which a record does
not say it, count without the zeros that pad their last row. Public ones are disarmed: where Machine
and Subsystem are zero, each usual pair of values is tried, in memory. What else was overwritten
cannot be undone, so files whose entry point lies nowhere are counted apart if no pair matches.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import struct
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from maltriage.bundle import BENIGN
from maltriage.probe.prepare import PrepareOptions
from maltriage.sample.byteplot import pe_offset
from maltriage.sample.errors import SampleError
from maltriage.sample.pe import Headers, read_headers
from maltriage.sample.signature import matches
from maltriage.source.samples import read_sample

MACHINES, SUBSYSTEMS = (0x14C, 0x8664, 0xAA64), (2, 3, 1, 10)
"""i386, AMD64, ARM64; window, console, driver, EFI."""


def armed(data: bytes, headers: Headers) -> Iterator[bytes]:
    """The program as it may have been before it was disarmed; never written anywhere."""
    program = bytearray(data)
    pe = pe_offset(data)
    assert pe is not None
    if not headers.disarmed:
        yield bytes(program)
        return
    for machine, subsystem in itertools.product(MACHINES, SUBSYSTEMS):
        struct.pack_into("<H", program, pe + 4, machine)
        struct.pack_into("<H", program, pe + 92, subsystem)
        yield bytes(program)


def answer(path: str) -> str | None:
    """What a file's signature says; None: there is none that can be read."""
    try:
        contents = read_sample(path, PrepareOptions(()))
    except SampleError:
        return None
    data = bytes(contents.data)
    headers = read_headers(data)
    if headers is None or matches(data, headers) is None:
        return None
    if contents.format == "png":
        end = sum(headers.directories["certificate"])
        data = data[:end] + data[end:].rstrip(b"\0")
    found = {matches(program, headers) for program in armed(data, headers)}
    if True in found:
        return "matches"
    if None in found:  # LIEF cannot check it, or it goes on in what may be padding
        return None
    lost = headers.entry_rva and headers.offset_of(headers.entry_rva) is None
    return "entry point overwritten" if lost else "does not"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+", type=Path)
    rows = list[tuple[str, str]]()
    for folder in parser.parse_args().folders:
        names = (folder / "manifest.csv", folder / "labels.csv")
        with next(path for path in names if path.exists()).open(newline="") as text:
            for row in csv.DictReader(text):
                kind = "clean" if row["family"] == BENIGN else "malware"
                rows.append((f"{kind}: {row['source']}", str(folder / row["path"])))
    with ProcessPoolExecutor(1) as pool:  # a sample is parsed in a process of its own
        found = Counter(
            (source, said)
            for (source, _), said in zip(rows, pool.map(answer, [p for _, p in rows]), strict=True)
            if said is not None
        )
    said = ("matches", "does not", "entry point overwritten")
    print(f"| source | {' | '.join(said)} |\n|---{'|---' * len(said)}|")
    for source in sorted({source for source, _ in found}):
        print(f"| {source} | {' | '.join(str(found[source, one]) for one in said)} |")


if __name__ == "__main__":
    main()
