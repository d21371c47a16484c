"""Pack clean programs with UPX, to train and to test with.

    python -m benchmarks.upx FOLDER --goodware GOODWARE [--upx upx]

Malware that a packer hides is in every collection of malware, packed clean programs hardly in any
of clean programs, so a model takes the packer for the malware. `goodware.py` fetches the programs.
FOLDER/train has programs of its parts `train` and `calibration`, FOLDER/test of its part `test`,
so no program is in both: up to `EACH` of a package, the first by digest that UPX takes, each packed
in one of five ways, chosen by its digest. The figures in the documents are with UPX 4.2.4 (package
`upx-ucl` of Debian).

Beside the programs of a part lies `labels.csv`, so that `train --root FOLDER/<part>` takes it. The
source is that of the program and `-upx`, so that a split by source can hold back both together.
UPX reads the programs; nothing is ever run.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

PARTS = {"train": ("train", "calibration"), "test": ("test",)}
EACH = {"train": 2, "test": 4}
WAYS = (["-1"], ["-7"], ["--best"], ["--lzma"], ["--best", "--lzma"])
LEAST, MOST = 20_000, 3_000_000
"""Bytes of a program that is packed."""
LABELS = ("path", "family", "source", "package", "packer")


class Packed(NamedTuple):
    program: Path
    """As it was."""
    path: Path
    """Of what UPX made of it."""
    source: str
    package: str


def pack(rows: list[dict[str, str]], part: Path, folder: Path, upx: str, each: int) -> list[Packed]:
    """Up to `each` programs of one package, packed; `rows` are its lines of `part`'s labels."""
    done: list[Packed] = []
    for row in sorted(rows, key=lambda row: Path(row["path"]).name):
        program = part / row["path"]
        if len(done) == each or not LEAST < program.stat().st_size < MOST:
            continue
        target = folder / row["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        way = WAYS[int(program.stem[:8], 16) % len(WAYS)]
        begun = target.with_name(f"{target.name}.begun")
        begun.unlink(missing_ok=True)  # of a run that was interrupted
        line = [upx, "-qqf", *way, "-o", str(begun), str(program)]
        if not target.exists():
            if subprocess.run(line, capture_output=True, check=False).returncode:
                continue
            begun.replace(target)
        done.append(Packed(program, target, row["source"], row["package"]))
    return done


def packed(part: Path, folder: Path, upx: str, each: int) -> Iterator[Packed]:
    """Programs of a part of `goodware.py`, as UPX packs them below FOLDER."""
    packages: dict[str, list[dict[str, str]]] = {}
    with (part / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            packages.setdefault(str(Path(row["path"]).parent), []).append(row)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lists = [packages[name] for name in sorted(packages)]
        for found in pool.map(lambda rows: pack(rows, part, folder, upx, each), lists):
            yield from found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--goodware", type=Path, required=True)
    parser.add_argument("--upx", default="upx", help="the program, e.g. of Debian's upx-ucl")
    arguments = parser.parse_args()
    for name, parts in PARTS.items():
        folder = arguments.folder / name
        found = [
            item
            for part in parts
            for item in packed(arguments.goodware / part, folder, arguments.upx, EACH[name])
        ]
        with (folder / "labels.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(LABELS)
            for item in found:
                path = item.path.relative_to(folder)
                writer.writerow([path, "benign", f"{item.source}-upx", item.package, "UPX"])
        print(f"{name}: {len(found)} programs")


if __name__ == "__main__":
    main()
