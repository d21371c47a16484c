"""Registry of datasets: one file and one line each.

Importing this imports no dataset; a dataset's own file is imported when it is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.corpus.datasets.base import Dataset

MIN_SAMPLES = 3
"""Families with fewer files are left out: one file each to train, tune and test on."""


@dataclass(frozen=True)
class Entry:
    """What is known of a dataset before it is opened."""

    module: str
    """In this folder, with a function `read(root, min_samples)` that gives a `base.Dataset`.
    With `min_samples` 0 it is one of several folders: no family is too small, and one is enough."""
    any_tree: bool = False
    """Whether it is any folder that a user names, and is looked for in no usual place."""
    resized: bool = False
    """Whether `read` takes `allow_resized`: pictures of another size than the byteplot."""


DATASETS: dict[str, Entry] = {
    "vx-zoo": Entry("vx_zoo"),
    "malimg": Entry("malimg", resized=True),
    "big2015": Entry("big2015"),
    "folder": Entry("folder", any_tree=True),
}
"""By name, in the order that help has them."""


def entry(name: str) -> Entry:
    """What is known of a dataset by its name.

    Raises:
        MaltriageError: there is no such dataset.
    """
    if name not in DATASETS:
        raise MaltriageError(f"no such dataset: {name} (known: {', '.join(sorted(DATASETS))})")
    return DATASETS[name]


def open_dataset(
    name: str,
    root: Path | Sequence[Path] | None = None,
    min_samples: int = MIN_SAMPLES,
    goodware: Path | None = None,
    *,
    allow_resized: bool = False,
    unmapped: int | None = None,
) -> Dataset:
    """Open a dataset by name.

    Args:
        name: a key of `DATASETS`.
        root: its folder, or several, whose samples are joined; None or none: the default places
            are searched.
        min_samples: families with fewer files are left out, with a notice, or counted as `_other`
            where there is that label.
        goodware: a folder of clean files, which become `benign` besides.
        allow_resized: take resized byteplots as pictures, of a dataset that knows them.
        unmapped: the byte, 0 to 255, that `??` of hex dumps is read as; None: the usual one.

    Raises:
        MaltriageError: no such dataset, no such folder, or fewer than two families.
    """
    found = entry(name)
    options: dict[str, Any] = {}
    if allow_resized:
        if not found.resized:
            known = ", ".join(other for other in DATASETS if DATASETS[other].resized)
            raise MaltriageError(f"dataset {name}: only {known} has resized byteplots")
        options["allow_resized"] = True
    module = importlib.import_module(f"maltriage.corpus.datasets.{found.module}")
    from maltriage.corpus.datasets.base import joined, with_goodware
    from maltriage.corpus.datasets.columns import add_columns, source_names

    roots: list[Path | None] = [root] if isinstance(root, Path) else list(root or (None,))
    parts: list[Dataset] = [
        module.read(folder, min_samples if len(roots) == 1 else 0, **options) for folder in roots
    ]
    folders = [part.root for part in parts] + ([] if goodware is None else [goodware])
    sources = source_names(folders)
    parts = [
        replace(part, samples=add_columns(part.samples, part.root, source))
        for part, source in zip(parts, sources, strict=False)
    ]
    dataset = parts[0] if len(parts) == 1 else joined(parts, min_samples)
    if unmapped is not None:
        dataset = replace(dataset, unmapped=unmapped)
    if goodware is None:
        return dataset
    dataset = with_goodware(dataset, goodware)
    own = len(dataset.samples) - dataset.goodware_samples
    added = add_columns(dataset.samples[own:], goodware, sources[-1])
    return replace(dataset, samples=(*dataset.samples[:own], *added))
