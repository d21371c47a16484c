"""What a large collection costs: files made up as a zoo of many families, from the first look on.

    python -m benchmarks.scale.large [--files 10000 100000] [--families 200] [--jobs 1]

Families are as uneven as in collections: the k-th has 1/k of the files of the first, and at least
twelve. A file is a program of samples/ with bytes of its own at the entry point, so that no two are
near duplicates for that alone, and runs of bytes behind it from the three ranges of values that its
family has. One in fifty lies in the folder of another family. For each number of
files, as processes, with an empty cache:

- `check`: `maltriage datasets check`, which reads all files and finds near duplicates;
- `again`: the same from the cache;
- `killed`: the first look killed after a third of its time, and then run to its end;
- `train`: one fold of five of `gibert`, one epoch, after the byteplots are made.

Printed are seconds, CPU seconds and the highest sum of anonymous memory over the processes (what is
mapped from the cache is not in it), how well the fold names the rarest and the commonest families,
and which of the files in a wrong folder `datasets check --predictions` finds. All is written to a
temporary folder, which takes 40 KB a file, and which TMPDIR moves elsewhere.
Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pefile

from benchmarks.scale.growth import PROGRAMS, SAMPLES
from benchmarks.speed.measure import Run, adopt_orphans, machine, timed
from maltriage.corpus.predictions import PREDICTIONS_FILE, load_predictions
from maltriage.version import __version__
from maltriage.work.cores import cores

LEAST, WRONG = 12, 0.02
RUNS, RUN_SHARE = (6, 20), (0.03, 0.12)
"""Runs of bytes behind a program, and the length of each as a share of it, from and to."""
SPACED = np.array((0, 72, 144))
"""Where the ranges of a family begin, but for what is added to all three."""
ENTRY_BYTES = 256
QUARTER = 4


def sizes(files: int, families: int) -> list[int]:
    """How many files each family has."""
    shares = 1.0 / np.arange(1, families + 1)
    found = np.maximum(LEAST, np.floor(files * shares / shares.sum())).astype(int)
    found[0] += files - found.sum()
    return [int(size) for size in found]


def entry_of(program: bytes) -> slice:
    """The bytes around the entry point of a program that its copies have of their own."""
    with pefile.PE(data=program, fast_load=True) as headers:
        at = headers.get_offset_from_rva(headers.OPTIONAL_HEADER.AddressOfEntryPoint)
    return slice(at, min(at + ENTRY_BYTES, len(program)))


def write_zoo(root: Path, files: int, families: int) -> set[str]:
    """The zoo; the names of the files that lie in a wrong folder."""
    generator = np.random.default_rng(0)
    programs = [(SAMPLES / name).read_bytes() for name in PROGRAMS]
    entries = [entry_of(program) for program in programs]
    wrong, number = set(), 0
    for family, size in enumerate(sizes(files, families)):
        ranges = [
            (low, low + generator.integers(8, 40)) for low in SPACED + generator.integers(0, 70)
        ]
        for _ in range(size):
            place = family
            if generator.random() < WRONG:
                place = int((family + generator.integers(1, families)) % families)
                wrong.add(f"{number:06d}.exe")
            program = programs[family % len(programs)]
            lengths = len(program) * generator.uniform(*RUN_SHARE, generator.integers(*RUNS))
            tail = b"".join(
                generator.integers(
                    *ranges[generator.integers(3)], int(length), dtype=np.uint8
                ).tobytes()
                for length in lengths
            )
            folder = root / f"family{place:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            at = entries[family % len(programs)]
            own = generator.bytes(at.stop - at.start)
            data = program[: at.start] + own + program[at.stop :] + tail
            (folder / f"{number:06d}.exe").write_bytes(data)
            number += 1
    return wrong


def row(name: str, run: Run, files: int) -> None:
    each = 1e3 * run.cpu / files
    print(
        f"{name:>10s} {run.wall:10.1f} {run.cpu:10.1f} {each:12.2f} {run.megabytes:10.0f}",
        flush=True,
    )


def killed(command: list[str], after: float) -> None:
    """Begin a command, and kill it and what it started after so many seconds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def by_rank(path: Path, families: int) -> str:
    """The share of files of the commonest and of the rarest quarter of families that are named
    right in a fold."""
    found = load_predictions(path)
    right = found.logits.argmax(axis=1) == found.truth
    rank = np.array([int(label.removeprefix("family")) for label in found.labels])[found.truth]
    common, rare = rank < families // QUARTER, rank >= families - families // QUARTER
    return (
        f"named right: {right.mean():.1%} of {len(right)} files,"
        f" {right[common].mean():.1%} of the commonest quarter of families,"
        f" {right[rare].mean():.1%} of the rarest ({int(rare.sum())} files)"
    )


def doubted(told: bytes, path: Path, wrong: set[str], places: dict[str, str]) -> str:
    listed = {Path(file["path"]).name for file in json.loads(told)["doubtful"]}
    asked = {places[sha256] for sha256 in load_predictions(path).sha256}
    there = wrong & asked
    return (
        f"labels that are probably wrong: {len(listed)} of {len(asked)} listed;"
        f" {len(listed & there)} of the {len(there)} that are wrong among them"
    )


def study(files: int, families: int, jobs: int, folder: Path) -> None:
    root, cache = folder / "zoo", folder / "cache"
    wrong = write_zoo(root, files, families)
    os.environ["MALTRIAGE_CACHE"] = str(cache)
    maltriage = [sys.executable, "-m", "maltriage"]
    check = [*maltriage, "datasets", "check", str(root), "-q", "-f", "json", "--jobs", str(jobs)]
    counts = sizes(files, families)
    print(f"\n{files:,} files of {families} families of {counts[-1]:,} to {counts[0]:,} files")
    print(f"{'':>10s} {'s':>10s} {'CPU s':>10s} {'CPU ms each':>12s} {'peak MB':>10s}")
    first = timed(check, memory=True)
    row("check", first, files)
    row("again", timed(check, memory=True), files)
    shutil.rmtree(cache)
    killed(check, first.wall / 3)
    left = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    row("killed", timed(check, memory=True), files)
    print(f"{'':>10s} the killed one left {left / 1e6:.0f} MB in the cache")
    run = folder / "run"
    train = [*maltriage, "train", "--dataset", "folder", "--root", str(root), "-q"]
    train += ["--net", "gibert", "--image-size", "64", "--epochs", "1", "--folds", "5"]
    train += ["--fold", "0", "--threads", "1", "--jobs", str(jobs), "--out", str(run)]
    train += ["--precision", "bfloat16"]
    row("train", timed(train, memory=True), files)
    predictions = run / "fold-0" / PREDICTIONS_FILE
    print(by_rank(predictions, families))
    told = timed([*check, "--predictions", str(predictions)])
    print(doubted(told.output, predictions, wrong, _names(root)))


def _names(root: Path) -> dict[str, str]:
    """The name of each file by its SHA-256."""
    from maltriage.corpus.datasets import open_dataset
    from maltriage.corpus.load import load_corpus

    corpus = load_corpus(open_dataset("folder", root), ())
    return {s: Path(path).name for s, path in zip(corpus.sha256, corpus.paths, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--families", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    options = parser.parse_args()
    adopt_orphans()
    print(machine(cores()))
    print(f"maltriage {__version__}, numpy {np.__version__}, {options.jobs} workers")
    for files in options.files:
        with tempfile.TemporaryDirectory(prefix="maltriage-large-") as folder:
            study(files, options.families, options.jobs, Path(folder))


if __name__ == "__main__":
    main()
