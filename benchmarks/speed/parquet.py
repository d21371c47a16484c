"""Memory that `scan --format parquet` takes for writing, by the number of rows.

    python -m benchmarks.speed.parquet [--rows 15000 60000]

One scan of the samples that belong to the repository is written over and over, each number of rows
in a process of its own, to a file that is thrown away. RssAnon is asked after the last row (Linux).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console

from maltriage import bundle as bundles
from maltriage.report.documents.record import Record, Result, Summary
from maltriage.report.formats import SCAN, RenderOptions, open_renderer

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def scanned() -> list[Record]:
    from maltriage.triage import pipeline
    from maltriage.triage.options import ScanOptions

    bundle = bundles.load(bundles.resolve(None))
    return list(pipeline.scan([str(SAMPLES)], bundle, ScanOptions(jobs=1)))


def anonymous() -> float:
    """Anonymous memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    raise OSError("no RssAnon in /proc/self/status")


def write(records: list[Record], rows: int) -> None:
    results = [record for record in records if isinstance(record, Result)]
    (summary,) = [record for record in records if isinstance(record, Summary)]
    before = anonymous()
    with tempfile.TemporaryFile() as stream:
        renderer = open_renderer(SCAN["parquet"], stream, RenderOptions(), Console())
        for i in range(rows):
            result = results[i % len(results)]
            renderer.write(msgspec.structs.replace(result, path=f"{i}/{result.path}"))
        renderer.finish(summary)
        after, size = anonymous(), os.fstat(stream.fileno()).st_size
    print(f"{rows:>8,} rows {after:8.1f} MB ({before:.1f} before) {size / 1e6:8.1f} MB written")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[15_000, 60_000])
    records = scanned()
    for rows in parser.parse_args().rows:
        process = multiprocessing.get_context("spawn").Process(target=write, args=(records, rows))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
