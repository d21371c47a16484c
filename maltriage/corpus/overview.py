"""The list of known datasets, and the check of one of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maltriage.corpus import array_store, splits
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import DATASETS
from maltriage.corpus.datasets.base import Dataset
from maltriage.corpus.doubtful import doubtful
from maltriage.corpus.load import conflicts_of, same_bytes
from maltriage.corpus.predictions import Predictions
from maltriage.corpus.twins import near_twins
from maltriage.errors import MaltriageError
from maltriage.files.places import cache_dir, data_places
from maltriage.report.documents.datasets import (
    CachedSamples,
    ClassFigures,
    DatasetCheck,
    DatasetList,
    Doubtful,
    Group,
    KnownDataset,
    Place,
    Unreadable,
)


def known_datasets() -> DatasetList:
    """Every known dataset with the places searched for it and its caches.

    Raises:
        MaltriageError: the user's config file or the cache cannot be read.
    """
    folder = cache_dir() / "corpus"
    cached = array_store.caches(folder)
    return DatasetList(
        cache=str(folder),
        datasets=tuple(
            KnownDataset(
                name=name,
                places=tuple(
                    Place(str(place), source, place.is_dir())
                    for place, source in (() if entry.any_tree else data_places(name))
                ),
                cached=tuple(_cached(c) for c in cached if c.manifest.dataset == name),
            )
            for name, entry in sorted(DATASETS.items())
        ),
    )


def _cached(cached: array_store.Cached) -> CachedSamples:
    manifest = cached.manifest
    return CachedSamples(
        folder=str(cached.folder),
        root=manifest.root,
        goodware=manifest.goodware,
        views=manifest.views,
        files=manifest.files,
        size=cached.size,
        used=datetime.fromtimestamp(cached.used, UTC).isoformat(timespec="seconds"),
    )


def check(
    dataset: Dataset, corpus: Corpus, predictions: Sequence[Predictions] = ()
) -> DatasetCheck:
    """Classes, duplicates, near duplicates, conflicting labels and unreadable files; with
    predictions also labels that are probably wrong.

    Args:
        dataset: the dataset of the corpus.
        corpus: needs no views; loaded with `conflicts`.
        predictions: out of fold, of one or more seeds; of these and perhaps of other files.

    Raises:
        MaltriageError: no file of the dataset has a prediction, or the seeds are of other files.
    """
    own = dict[str, dict[str, int]]()
    for i, sha256 in enumerate(corpus.sha256):
        own.setdefault(sha256, {})[corpus.labels[corpus.label[i]]] = i
    predicted = set[str]().union(*(run.sha256 for run in predictions)) & own.keys()
    if predictions and not predicted:
        raise MaltriageError("predictions of other files: the dataset has none of them")
    groups = near_twins(corpus.signs)
    duplicates = same_bytes(corpus)
    divided = splits.split(np.arange(len(corpus)), corpus.label)
    together = np.bincount(groups)[groups] > 1
    copied = np.zeros(len(corpus), dtype=np.bool_)
    copied[[i for same in duplicates for i in same]] = True
    return DatasetCheck(
        dataset=corpus.dataset,
        root=str(corpus.root),
        samples=len(corpus),
        classes=tuple(
            _class(corpus, label, corpus.label == i, copied, together)
            for i, label in enumerate(corpus.labels)
        ),
        duplicates=_groups(corpus, duplicates),
        conflicts=_groups(corpus, conflicts_of(corpus)),
        near_twins=_groups(corpus, _together(groups)),
        random_test=int((divided == "test").sum()),
        random_leaks=splits.leaks(groups, divided),
        unreadable=tuple(
            Unreadable(dataset.samples[r.index].path, r.code, r.reason, r.failed)
            for r in corpus.rejects
        ),
        notices=corpus.notices,
        predicted=len(predicted),
        doubtful=tuple(
            Doubtful(
                _below(corpus.paths[own[doubt.sha256][doubt.label]], corpus.root),
                doubt.label,
                doubt.likelier,
                doubt.probability,
                doubt.likelier_probability,
            )
            for doubt in (doubtful(predictions, own) if predictions else ())
            if doubt.sha256 in own
        ),
    )


def _together(groups: npt.NDArray[np.int64]) -> list[list[int]]:
    """The members of each group of two or more."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    return [part.tolist() for part in parts if len(part) > 1]


def _below(path: str, root: Path) -> str:
    """A path relative to the root if it is below it, otherwise as it is."""
    return os.path.relpath(path, root) if Path(path).is_relative_to(root) else path


def _groups(corpus: Corpus, groups: Iterable[list[int]]) -> tuple[Group, ...]:
    return tuple(
        Group(
            tuple(_below(corpus.paths[i], corpus.root) for i in group),
            tuple(corpus.labels[corpus.label[i]] for i in group),
        )
        for group in groups
    )


def _class(
    corpus: Corpus,
    label: str,
    at: npt.NDArray[np.bool_],
    copied: npt.NDArray[np.bool_],
    together: npt.NDArray[np.bool_],
) -> ClassFigures:
    sizes, dates = corpus.sizes[at], corpus.first_seen[at]
    dates = np.sort(dates[~np.isnat(dates)])
    return ClassFigures(
        label=label,
        samples=len(sizes),
        smallest=int(sizes.min()),
        median=int(np.median(sizes)),
        largest=int(sizes.max()),
        duplicates=int(copied[at].sum()),
        near_twins=int(together[at].sum()),
        dated=len(dates),
        first_seen=str(dates[0]) if len(dates) else None,
        last_seen=str(dates[-1]) if len(dates) else None,
    )
