"""The labelled files of a study, opened by the options of a command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from maltriage.cli import options as opt
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.corpus.datasets.base import Dataset
    from maltriage.triage.options import Progress, ScanOptions


def check_parts(folds: Path | None, split_file: Path | None) -> None:
    """Raise MaltriageError if two options name the files that are held back."""
    if folds is not None and split_file is not None:
        raise MaltriageError("--folds or --split-file, not both")


def check_clean(paths: Iterable[Path]) -> None:
    """Raise MaltriageError if a file or folder of clean files does not exist."""
    for path in paths:
        if not os.path.exists(path):
            raise MaltriageError(f"{path}: no such file or folder of clean files")


def open_labelled(
    model: str | None,
    dataset: str,
    root: Path | Sequence[Path] | None,
    min_samples: int,
    goodware: Path | None = None,
) -> tuple[Bundle, Dataset]:
    """Load a bundle by its name or file, and open a dataset for it (see `open_for`)."""
    from maltriage import bundle as bundles

    bundle = bundles.load(bundles.resolve(model))
    return bundle, open_for([bundle], dataset, root, min_samples, goodware)


def open_for(
    bundles: Sequence[Bundle],
    dataset: str,
    root: Path | Sequence[Path] | None,
    min_samples: int,
    goodware: Path | None = None,
) -> Dataset:
    """Open a dataset and read its samples as the bundles do.

    Resized byteplots are allowed only if all bundles are of pictures.

    Raises:
        MaltriageError: the bundles do not read samples alike; see also `open_dataset`.
    """
    from maltriage.corpus.datasets import entry, open_dataset

    resized = entry(dataset).resized and all("picture" in b.card.input for b in bundles)
    if len(fillers := {bundle.card.unmapped for bundle in bundles}) > 1:
        raise MaltriageError("these models read ?? of hex dumps as different bytes")
    return open_dataset(
        dataset, root, min_samples, goodware, allow_resized=resized, unmapped=fillers.pop()
    )


def scan_options(
    device: opt.DeviceName = "auto",
    jobs: int = 0,
    threads: int = 0,
    timeout: float = 60.0,
) -> ScanOptions:
    """Options for scanning labelled files. Archives are opened, as by `scan`."""
    from maltriage.source.archive.limits import Archives
    from maltriage.triage.options import ScanOptions

    return ScanOptions(
        device=device, jobs=jobs, threads=threads, timeout=timeout, archives=Archives()
    )


@contextmanager
def scanning(
    color: opt.Color, quiet: bool, total: int | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a scan on stderr. Yields the function that updates it.

    Args:
        total: number of files, if known.
    """
    from maltriage.cli.console import make_console
    from maltriage.report.scan.progress import ScanProgress

    with ScanProgress(make_console(color, stderr=True), enabled=not quiet) as status:
        yield lambda now: status.update(
            now.files, now.flagged, now.failed, now.skipped, now.in_flight, total
        )
