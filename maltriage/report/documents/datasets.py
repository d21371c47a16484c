"""The documents of `maltriage datasets` and of `datasets check`."""

from __future__ import annotations

import msgspec

from maltriage.sample.types import Notice


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder where a dataset is looked for, and the source of its name."""

    folder: str
    source: str
    found: bool


class CachedSamples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prepared samples of a dataset; `size` in bytes, `used` in ISO 8601 UTC."""

    folder: str
    root: str
    goodware: str | None
    views: tuple[str, ...]
    files: int
    size: int
    used: str


class KnownDataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset that maltriage can read; the first place that exists is used."""

    name: str
    places: tuple[Place, ...]
    cached: tuple[CachedSamples, ...]


class DatasetList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cache: str
    """Folder of the prepared samples."""
    datasets: tuple[KnownDataset, ...]


class ClassFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Samples of one label: their number, sizes in bytes, and number with a date."""

    label: str
    samples: int
    smallest: int
    median: int
    largest: int
    duplicates: int
    """Samples whose bytes occur more than once, under any label."""
    near_twins: int
    """Samples with a near duplicate or duplicate, under any label."""
    dated: int
    first_seen: str | None
    """The earliest date, ISO 8601 UTC; None: no dates."""
    last_seen: str | None
    """The latest."""


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of samples: paths and their labels, in the same order."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]


class Unreadable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the dataset that gave no sample; `failed` if it should have."""

    path: str
    code: str
    reason: str
    failed: bool


class Doubtful(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file whose label is probably wrong, by predictions of nets that had not seen it.

    `likelier` is the label that fits better; both have their probability.
    """

    path: str
    label: str
    likelier: str
    probability: float
    likelier_probability: float


class DatasetCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a dataset, and problems for measurements on it."""

    dataset: str
    root: str
    samples: int
    classes: tuple[ClassFigures, ...]
    duplicates: tuple[Group, ...]
    """Groups with the same bytes."""
    conflicts: tuple[Group, ...]
    """Duplicates under different labels."""
    near_twins: tuple[Group, ...]
    """Groups of near duplicates, duplicates included; a grouped split keeps each in one part."""
    random_test: int
    """Samples in the test part of a random split (seed 0)."""
    random_leaks: int
    """Those of them with a near duplicate or duplicate in training."""
    unreadable: tuple[Unreadable, ...]
    notices: tuple[Notice, ...]
    predicted: int = 0
    """Samples with predictions; 0: none were named."""
    doubtful: tuple[Doubtful, ...] = ()
    """Those of them whose label is probably wrong, the surest first."""
