"""What becomes of clean programs once UPX has packed them, and once they are unpacked again.

    python -m benchmarks.upx PACKED --goodware GOODWARE
    python -m benchmarks.quality.packed GOODWARE/test PACKED/test [--upx upx]

The first command packs clean programs. The second one has the model that ships judge those of a
part as they were, as UPX packed them, and as `scan --carve` unpacks them; and each that comes out
is held against what `upx -d` makes of it. UPX reads the programs and never runs them.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from maltriage.metrics import clopper_pearson
from maltriage.sample.errors import SampleError
from maltriage.source.upx.packed import packed_by_upx
from maltriage.source.upx.unpack import MAX_IMAGE, unpack

CARVED = "!carved@"


def same_as_upx(paths: list[Path], upx: str) -> tuple[int, int, int]:
    """Programs that come out as `upx -d` has them, others that it unpacks, and those that are not
    unpacked here."""
    same = other = none = 0
    for path in paths:
        data = path.read_bytes()
        found = packed_by_upx(data)
        with tempfile.TemporaryDirectory(dir=paths[0].parent) as room:
            out = Path(room, "out")
            line = [upx, "-qqd", "-o", str(out), str(path)]
            subprocess.run(line, capture_output=True, check=False)
            wanted = out.read_bytes() if out.exists() else None
        try:
            made = unpack(data, found, MAX_IMAGE) if found is not None else None
        except SampleError:
            made = None
        none += made is None
        same += made is not None and made == wanted
        other += made is not None and wanted is not None and made != wanted
    return same, other, none


def flagged(paths: list[Path], *options: str) -> list[tuple[str, bool, str]]:
    """Path, whether it is flagged, and label of each record."""
    command = [sys.executable, "-m", "maltriage", "scan", "--files-from", "-", "-f", "ndjson"]
    line = [*command, "-q", "--exit-zero", "--no-cache", *options]
    names = "\n".join(map(str, paths)).encode()
    done = subprocess.run(line, input=names, stdout=subprocess.PIPE, check=True)
    records = map(msgspec.json.decode, done.stdout.splitlines())
    return [
        (record["path"], record["verdict"]["flagged"], record["verdict"]["label"])
        for record in records
        if record["type"] == "result"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clean", type=Path)
    parser.add_argument("packed", type=Path)
    parser.add_argument("--upx", default="upx", help="the program, e.g. of Debian's upx-ucl")
    arguments = parser.parse_args()
    with (arguments.packed / "labels.csv").open(newline="") as file:
        names = [row["path"] for row in csv.DictReader(file)]
    packed = [arguments.packed / name for name in names]
    shells = flagged(packed, "--carve")
    rows = {
        "as they were": flagged([arguments.clean / name for name in names]),
        "packed": [row for row in shells if CARVED not in row[0]],
        "unpacked": [row for row in shells if CARVED in row[0]],
    }
    for name, found in rows.items():
        count = sum(row[1] for row in found)
        rate = clopper_pearson(count, len(found))
        unknown = sum(row[2] == "unknown" and not row[1] for row in found)
        print(
            f"{name:<13}{len(found):>5} programs {count:>3} flagged "
            f"({count / len(found):.1%}, {rate.low:.1%} to {rate.high:.1%}) {unknown:>3} unknown"
        )
    same, other, none = same_as_upx(packed, arguments.upx)
    print(f"as `upx -d` has them: {same}, others: {other}, not unpacked: {none}")


if __name__ == "__main__":
    main()
