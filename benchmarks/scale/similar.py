"""How long an index of labelled files takes to open and to search, by how many files are in it.

    python -m benchmarks.scale.similar [FOLDER ...] [--files 1500 10000 100000] [--batches 20]

The files are made up of those of the shipped index: the embedding of one of them plus a part of
the difference of two others, so that they lie in the space as real ones do, where random numbers
would fill all of its dimensions alike. They are compared in batches of 16, as a scan does it. With
folders of samples also what a file of them costs besides: reading, plotting, the model. Times are
those of all cores together; NumPy has one thread, as in a scan.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.errors import SampleError
from maltriage.similar import index as indexes
from maltriage.similar import index_file
from maltriage.similar.index import Index
from maltriage.similar.search import Searcher, open_index
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.triage.session import Session

BATCH = 16
APART = 0.4
"""Part of a difference; the nearest of a file is then as far away as among real files."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--files", type=int, nargs="+", default=[1500, 10_000, 100_000])
    parser.add_argument("--batches", type=int, default=20)
    arguments = parser.parse_args()
    bundle = bundles.load(bundles.resolve(None))
    shipped = open_index(bundle, None)
    assert shipped is not None
    if arguments.folders:
        _besides(bundle, arguments.folders)
    print(f"{shipped.index.header.dimensions} dimensions, batches of {BATCH}; CPU seconds")
    print(f"{'files':>9}  {'size':>9}  {'open':>8}  {'search, ms a file':>18}")
    for count in arguments.files:
        made = made_up(bundle, shipped.index, count)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a.index.npz")
            index_file.write(made, path)
            start = time.process_time()
            searcher = Searcher(index_file.read(path))
            opened = time.process_time() - start
            size = path.stat().st_size / 1e6
        each = search_ms(searcher, shipped.index, arguments.batches)
        print(f"{count:9,}  {size:6.1f} MB  {opened:6.2f} s  {each:18.2f}")


def embeddings(shipped: Index, count: int, seed: int) -> npt.NDArray[np.float32]:
    """As many embeddings made of those of an index."""
    generator, known = np.random.default_rng(seed), shipped.embeddings.astype(np.float32)
    found = np.empty((count, known.shape[1]), dtype=np.float32)
    for start in range(0, count, 50_000):  # so that not all are held several times
        part = found[start : start + 50_000]
        one, other, third = generator.integers(0, len(known), (3, len(part)))
        part[:] = known[one] + APART * (known[other] - known[third]) + shipped.centre
    return found


def made_up(bundle: Bundle, shipped: Index, count: int) -> Index:
    """An index of so many files."""
    names = [f"{i:064x}" for i in range(count)]
    vectors = embeddings(shipped, count, 0)
    return indexes.grown(indexes.empty(bundle), names, ["gbot"] * count, vectors).index


def search_ms(searcher: Searcher, shipped: Index, batches: int) -> float:
    """CPU milliseconds that a file takes, of as many batches of different ones."""
    asked = embeddings(shipped, BATCH * (batches + 1), 1)
    parts = [asked[i : i + BATCH] for i in range(0, len(asked), BATCH)]
    searcher.search(parts[0], [""] * BATCH)
    start = time.process_time()
    for part in parts[1:]:
        searcher.search(part, [""] * BATCH)
    return (time.process_time() - start) / (BATCH * batches) * 1e3


def _besides(bundle: Bundle, folders: list[str], limit: int = 200) -> None:
    """What the rest of a scan costs, on the first files of the folders."""
    found = (item for item in walk(folders, WalkOptions()) if isinstance(item, Found))
    paths = [item.path for item in islice(found, limit)]
    options, session = PrepareOptions(bundle.card.views), Session(bundle, "cpu", 1)
    start = time.process_time()
    samples = []
    for path in paths:
        with contextlib.suppress(SampleError):
            samples.append(prepare(path, options).views)
    prepared = time.process_time()
    for i in range(0, len(samples), BATCH):
        session.run(samples[i : i + BATCH])
    ran = time.process_time()
    each = [1e3 * value / len(samples) for value in (prepared - start, ran - prepared)]
    print(f"a scan besides: {each[0]:.2f} ms to prepare a file, {each[1]:.2f} ms to run the model")


if __name__ == "__main__":
    main()
