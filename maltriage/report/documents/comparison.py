"""The document of `maltriage compare`."""

from __future__ import annotations

import msgspec

from maltriage.report.documents.evaluation import Difference, FoldFigures, Spread

SCHEMA_VERSION = "1.0"
"""Version of this document. A new field raises the minor number."""


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds of one image with its explanation: ONNX Runtime, one thread, batches of one.

    All nets are timed in turn in one process, round by round; median and quartiles of the rounds.
    """

    median: float
    low: float
    high: float
    rounds: int


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Pearson correlation of the signed maps of Grad-CAM and HiResCAM for an image.

    If a head begins with the mean over the cells, both are one map, and it is 1 `by_construction`.
    `undefined` images have a map with the same value in all cells; they are left out.
    """

    mean: float | None
    """None: undefined for all images."""
    sd: float
    images: int
    undefined: int
    by_construction: bool


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A net, or predictions made elsewhere, which have only the figures."""

    name: str
    net: bool
    seeds: list[int]
    """Seeds with all folds finished: only they count."""
    samples: int
    """Samples tested in a seed, without added clean files."""
    accuracy: Spread
    """Over all folds of all seeds."""
    macro_f1: Spread
    """Over all folds of all seeds; in a fold, over the labels that occur in it."""
    pooled_macro_f1: Spread
    """Over the seeds; in a seed, over the predictions of all its folds at once."""
    folds: list[FoldFigures]
    duplicates: int
    """Test samples whose bytes are also in training."""
    near_twins: int | None = None
    """Test samples with a near duplicate or duplicate in training; None: not known."""
    difference: Difference | None = None
    """This row minus the reference; None: this is the reference, or there are too few folds."""
    epochs: int | None = None
    views: list[str] = []
    image_size: int | None = None
    """Side of the body view; None: there is none."""
    parameters: int | None = None
    flops: int | None = None
    """FLOPs of one image without its explanation: see `maltriage.learn.nets.flops`."""
    bundle_bytes: int | None = None
    timing: Timing | None = None
    agreement: Agreement | None = None
    scan_difference: float | None = None
    """Largest difference of a probability between the scan path and the training run."""


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The document of a comparison of nets on the same samples in the same folds."""

    schema_version: str = SCHEMA_VERSION
    maltriage_version: str
    dataset: str
    manifest_sha256: str
    samples: int
    """Samples of the dataset, including added clean files."""
    goodware_samples: int
    labels: list[str]
    split: str
    split_seed: int
    folds: int
    """0: one part was held back instead."""
    reference: str
    left_out: dict[str, int]
    """Samples that a split by time has in no part of a run, by reason; the most in a fold."""
    unfinished: list[str]
    """Seeds that do not count, since some of their folds are not finished."""
    rows: list[Row]
