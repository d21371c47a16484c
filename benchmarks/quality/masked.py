"""Would a verdict hold better if bytes that clean programs have were read as not there?

    python -m benchmarks.quality.masked VX-MINI WIDE GOODWARE/train GOODWARE/calibration --to MASKED

writes each dataset again below MASKED, as byteplots in which such bytes are zero: known pieces near
each other and known texts (`maltriage.probe.common.runs_of`), headers aside. A thing of a clean
file counts where one package more has it than the index asks for: the file's own may be in it. Then

    ROOTS="--root MASKED/0 --root MASKED/1 --root MASKED/2 --root MASKED/3 --min-samples 12"

goes with the commands of docs/models/maltriage-evidence.md in place of the datasets as they are.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from maltriage.errors import MaltriageError
from maltriage.probe.common import Prevalence, counts_in, load, runs_of
from maltriage.probe.prepare import PrepareOptions
from maltriage.sample.errors import SampleError
from maltriage.sample.pe import read_headers
from maltriage.source.samples import read_sample

TABLES = ("manifest.csv", "labels.csv")
CLEAN = "benign"
WIDTH = 256


def stricter(index: Prevalence) -> Prevalence:
    """The index of what one package more has."""
    about = index.about
    return replace(
        index,
        pieces=index.pieces[counts_in(index.pieces) > about.pieces_from],
        texts=index.texts[counts_in(index.texts) > about.texts_from],
    )


def masked(data: bytes, index: Prevalence) -> tuple[bytes, int]:
    """The bytes of a program with known ones zero, and how many these are."""
    headers = read_headers(data, bare=True)
    first = 0 if headers is None else min((s.start for s in headers.sections if s.size), default=0)
    raw, known = np.frombuffer(data, dtype=np.uint8).copy(), 0
    for start, end in runs_of(data, index).ranges.tolist():
        raw[max(start, first) : end] = 0
        known += max(0, end - max(start, first))
    return raw.tobytes(), known


@lru_cache(maxsize=2)
def index_of(path: Path, *, clean: bool) -> Prevalence:
    index = load(path)
    return stricter(index) if clean else index


def copied(row: dict[str, str], place: str, *, root: Path, to: Path, index: Path) -> int | None:
    """Write one file as a byteplot below `to`; None: it cannot be read."""
    prevalence = index_of(index, clean=row.get("family") == CLEAN)
    try:
        contents = read_sample(str(root / row["path"]), PrepareOptions(views=()))
    except (SampleError, MaltriageError):
        return None
    data, known = masked(bytes(contents.data), prevalence)
    width = contents.width or WIDTH
    rows = -(-len(data) // width)
    pixels = np.frombuffer(data.ljust(rows * width, b"\0"), dtype=np.uint8).reshape(rows, width)
    path = to / place
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
    return known


def rows_of(root: Path) -> Iterator[tuple[dict[str, str], str]]:
    """The rows of a dataset's table, and the path of each file's copy."""
    table = next(root / name for name in TABLES if (root / name).is_file())
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            path = Path(row["path"])
            place = path if path.suffix == ".png" else path.with_name(f"{path.name}.png")
            yield row, str(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("roots", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--prevalence", type=Path, default=Path("models/clean-programs.npz"))
    options = parser.parse_args()
    for number, root in enumerate(options.roots):
        to = options.to / str(number)
        to.mkdir(parents=True)
        pairs = list(rows_of(root))
        work = partial(copied, root=root, to=to, index=options.prevalence)
        with ProcessPoolExecutor() as pool:
            found = list(pool.map(work, *zip(*pairs, strict=True), chunksize=8))
        read = [pair for pair, known in zip(pairs, found, strict=True) if known is not None]
        with (to / "labels.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(pairs[0][0]))
            writer.writeheader()
            writer.writerows({**row, "path": place} for row, place in read)
        total = sum(filter(None, found))
        print(f"{root}: {len(read)} of {len(pairs)} files, {total:,} bytes are known")


if __name__ == "__main__":
    main()
