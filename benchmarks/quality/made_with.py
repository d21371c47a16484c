"""How often are packers named, and what does it cost to ask Detect It Easy?

    python -m benchmarks.quality.made_with ROOT [--column packer] [--clean FOLDER]

ROOT has a `manifest.csv` with `path` and the name of a packer in `--column`; files without one are
left out. Printed are, for each packer, how many of its files are named right by their headers alone
and by Detect It Easy, and what else is said of them. --clean is a folder of programs that are not
packed: of how many is a packer named, how often do headers and Detect It Easy agree on the kind of
compiler, and what does each take?
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter, defaultdict
from pathlib import Path

from maltriage.probe.detect_it_easy import detected
from maltriage.sample.errors import SampleError
from maltriage.sample.layout import make_layout
from maltriage.sample.made_with import carried, made_with
from maltriage.sample.pe import read_headers
from maltriage.sample.types import Tool
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample

ALIASES = {
    "BeRoEXEPacker": "BeRo",
    "WinUpack": "(Win)Upack",
    "Yoda`s Crpyter": "Yoda's Crypter",
}
"""Names of packers in Detect It Easy, by those of the labels, where more than the case differs."""


def by_headers(data: bytes) -> list[Tool]:
    headers = read_headers(data)
    if headers is None:
        return []
    return made_with(data, headers, carried(data, make_layout(data, headers)[0]))


def packers(tools: list[Tool]) -> set[str]:
    return {tool.name.lower() for tool in tools if tool.kind in ("packer", "protector")}


def compiler(tools: list[Tool]) -> str | None:
    """The kind of compiler in one word."""
    for tool in tools:
        if tool.kind in ("compiler", "language") or tool.name == ".NET Framework":
            for word in ("visual c", "visual basic", "mingw", "delphi", ".net", "go", "rust"):
                if tool.name.lower().find(word) >= 0:
                    return word
            return tool.name
    return None


def labelled(root: Path, column: str) -> None:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    other: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with (root / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(column)]
    for row in rows:
        data = read_sample(str(root / row["path"]), Reading()).data
        name = ALIASES.get(row[column], row[column]).lower()
        asked = packers(detected(data))
        counts[row[column]]["files"] += 1
        counts[row[column]]["headers"] += name in packers(by_headers(data))
        counts[row[column]]["die"] += name in asked
        other[row[column]].update(asked - {name} or ({"nothing"} if not asked else set()))
    print(f"{'packer':18s} files  by headers  by Detect It Easy  also said")
    for name, n in sorted(counts.items()):
        said = ", ".join(f"{what} {k}" for what, k in other[name].most_common(3))
        print(f"{name:18s} {n['files']:5d} {n['headers']:11d} {n['die']:18d}  {said}")
    total = sum(counts.values(), Counter[str]())
    print(f"{'all':18s} {total['files']:5d} {total['headers']:11d} {total['die']:18d}")


def clean(folder: Path) -> None:
    named: Counter[str] = Counter()
    spent = {"headers": 0.0, "die": 0.0}
    files = agree = both = 0
    for found in walk([str(folder)], WalkOptions()):
        if not isinstance(found, Found):
            continue
        try:
            data = read_sample(found.path, Reading()).data
        except SampleError:  # the table of labels beside the programs
            continue
        times = [time.process_time()]
        first = by_headers(data)
        times.append(time.process_time())
        second = detected(data)
        times.append(time.process_time())
        spent["headers"] += times[1] - times[0]
        spent["die"] += times[2] - times[1]
        files += 1
        named.update(packers(second))
        kinds = compiler(first), compiler(second)
        both += None not in kinds
        agree += None not in kinds and kinds[0] == kinds[1]
    print(f"\n{files} clean programs: a packer is named in {sum(named.values())} {dict(named)}")
    print(f"a compiler is named by both in {both}, the same one in {agree}")
    for who, seconds in spent.items():
        print(f"{who}: {1e3 * seconds / max(1, files):.1f} CPU ms a file")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--column", default="packer")
    parser.add_argument("--clean", type=Path)
    arguments = parser.parse_args()
    labelled(arguments.root, arguments.column)
    if arguments.clean:
        clean(arguments.clean)


if __name__ == "__main__":
    main()
