"""The registry of datasets: one file and one line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from maltriage.corpus.datasets.base import MIN_SAMPLES, Dataset, LabelledSample, with_goodware
from maltriage.corpus.datasets.big2015 import open_big2015
from maltriage.corpus.datasets.folder import open_folder
from maltriage.corpus.datasets.malimg import open_malimg
from maltriage.corpus.datasets.vx_zoo import open_vx_zoo
from maltriage.errors import MaltriageError
from maltriage.sample.hexdump import UNMAPPED

DATASETS: dict[str, Callable[[Path | None, int], Dataset]] = {
    "big2015": open_big2015,
    "folder": open_folder,
    "malimg": open_malimg,
    "vx-zoo": open_vx_zoo,
}

__all__ = ["DATASETS", "MIN_SAMPLES", "Dataset", "LabelledSample", "open_dataset"]


def open_dataset(
    name: str,
    root: Path | None = None,
    min_samples: int = MIN_SAMPLES,
    goodware: Path | None = None,
    *,
    allow_resized: bool = False,
    unmapped: int = UNMAPPED,
) -> Dataset:
    """Open a dataset by name.

    Args:
        name: a key of `DATASETS`.
        root: its folder; None: the default places are searched.
        min_samples: families with fewer files are left out, with a notice.
        goodware: a folder of clean files, added as `benign`.
        allow_resized: for `malimg` only, see `open_malimg`.
        unmapped: the byte, 0 to 255, that `??` in hex dumps is read as.

    Raises:
        MaltriageError: no such dataset, no such folder, or fewer than two families.
    """
    if name not in DATASETS:
        raise MaltriageError(f"no such dataset: {name} (known: {', '.join(sorted(DATASETS))})")
    if allow_resized:
        if name != "malimg":
            raise MaltriageError(f"dataset {name}: only malimg has resized byteplots")
        dataset = open_malimg(root, min_samples, allow_resized=True)
    else:
        dataset = DATASETS[name](root, min_samples)
    dataset = replace(dataset, unmapped=unmapped)
    return dataset if goodware is None else with_goodware(dataset, goodware)
