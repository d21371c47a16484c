"""How long an index of labelled files takes to open and to search, by how many files are in it.

    python benchmarks/similar.py [FOLDER ...] [--files 1500 10000 100000] [--batches 20]

The files are made up: random embeddings of as many dimensions as the default bundle gives, compared
in batches of 16, as a scan does it. With folders of samples also what a file of them costs besides:
reading, plotting, the model. Times are those of all cores together.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from maltriage import bundle as bundles
from maltriage.bundle import Bundle
from maltriage.probe.prepare import PrepareOptions, prepare
from maltriage.sample.errors import SampleError
from maltriage.similar import index as indexes
from maltriage.similar.search import Searcher, open_index
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.triage.session import Session

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--files", type=int, nargs="+", default=[1500, 10_000, 100_000])
    parser.add_argument("--batches", type=int, default=20)
    arguments = parser.parse_args()
    bundle = bundles.load(bundles.resolve(None))
    shipped = open_index(bundle, None)
    assert shipped is not None
    dimensions = shipped.index.header.dimensions
    if arguments.folders:
        _besides(bundle, arguments.folders)
    generator = np.random.default_rng(0)
    print(f"{dimensions} dimensions, batches of {BATCH}; CPU seconds")
    print(f"{'files':>9}  {'size':>9}  {'open':>8}  {'search, ms a file':>18}")
    for count in arguments.files:
        vectors = generator.normal(size=(count, dimensions)).astype(np.float32)
        names = [f"{i:064x}" for i in range(count)]
        made = indexes.grown(indexes.empty(bundle), names, ["gbot"] * count, vectors).index
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a.index.npz")
            indexes.write(made, path)
            start = time.process_time()
            searcher = Searcher(indexes.read(path))
            opened = time.process_time() - start
            size = path.stat().st_size / 1e6
        queries = generator.normal(size=(BATCH, dimensions)).astype(np.float32)
        searcher.search(queries, [""] * BATCH)
        start = time.process_time()
        for _ in range(arguments.batches):
            searcher.search(queries, [""] * BATCH)
        each = (time.process_time() - start) / (BATCH * arguments.batches) * 1e3
        print(f"{count:9,}  {size:6.1f} MB  {opened:6.2f} s  {each:18.2f}")


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
