"""Labelled files for a bundle to be asked about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.corpus.datasets import Dataset


def open_for(
    bundle: Bundle,
    dataset: str,
    root: Path | None,
    min_samples: int,
    goodware: Path | None = None,
) -> Dataset:
    """A dataset, as `open_dataset` opens it, read as the bundle reads samples; resized byteplots
    only for a bundle of pictures."""
    from maltriage.corpus.datasets import open_dataset

    resized = dataset == "malimg" and "picture" in bundle.card.input
    return open_dataset(
        dataset,
        root,
        min_samples,
        goodware,
        allow_resized=resized,
        unmapped=bundle.card.unmapped,
    )
