"""Labelled files that a bundle is asked about, as the options of a command name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    """Raise MaltriageError where a command is to hold files back in two ways."""
    if folds is not None and split_file is not None:
        raise MaltriageError("--folds or --split-file, not both")


def open_labelled(
    model: str | None,
    dataset: str,
    root: Path | None,
    min_samples: int,
    goodware: Path | None = None,
) -> tuple[Bundle, Dataset]:
    """A bundle by its name or file, and a dataset as it reads samples (see `open_for`)."""
    from maltriage import bundle as bundles

    bundle = bundles.load(bundles.resolve(model))
    return bundle, open_for([bundle], dataset, root, min_samples, goodware)


def open_for(
    bundles: Sequence[Bundle],
    dataset: str,
    root: Path | None,
    min_samples: int,
    goodware: Path | None = None,
) -> Dataset:
    """A dataset, as `open_dataset` opens it, read as bundles read samples; resized byteplots
    only where all of them are of pictures.

    Raises:
        MaltriageError: the bundles do not read samples alike; see `open_dataset`.
    """
    from maltriage.corpus.datasets import entry, open_dataset

    resized = entry(dataset).resized and all("picture" in b.card.input for b in bundles)
    if len(fillers := {bundle.card.unmapped for bundle in bundles}) > 1:
        raise MaltriageError("these models read ?? of hex dumps as different bytes")
    return open_dataset(
        dataset, root, min_samples, goodware, allow_resized=resized, unmapped=fillers.pop()
    )


def scan_options(
    device: opt.DeviceName = opt.DeviceName.auto,
    jobs: int = 0,
    threads: int = 0,
    timeout: float = 60.0,
) -> ScanOptions:
    """How labelled files are scanned; archives among them are opened, as a scan does."""
    from maltriage.source.archive.limits import Archives
    from maltriage.triage.options import ScanOptions

    return ScanOptions(
        device=device.value, jobs=jobs, threads=threads, timeout=timeout, archives=Archives()
    )


@contextmanager
def scanning(
    color: opt.Color, quiet: bool, total: int | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Lines on stderr that say how far a scan is. Yields a function that is told.

    Args:
        total: number of files there are, where that is known.
    """
    from maltriage.cli.console import make_console
    from maltriage.report.scan.progress import ScanProgress

    with ScanProgress(make_console(color.value, stderr=True), enabled=not quiet) as status:
        yield lambda now: status.update(
            now.files, now.flagged, now.failed, now.skipped, now.in_flight, total
        )
