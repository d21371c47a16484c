"""The document of `maltriage compare`."""

from __future__ import annotations

import msgspec

from maltriage.report.documents.evaluation import Difference, FoldFigures, Spread

SCHEMA_VERSION = "1.0"
"""Of this document. A field more raises the minor number."""


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds of one image with its explanation: ONNX Runtime, one thread, batches of one.

    All nets are timed in turn in one process, round by round; median and quartiles of the rounds.
    """

    median: float
    low: float
    high: float
    rounds: int


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How alike Grad-CAM and HiResCAM are: Pearson correlation of the signed maps of an image.

    Where a head begins with the mean over the cells both are one map, and it is 1
    `by_construction`. `undefined` images have a map that is the same in all cells; they count
    for nothing.
    """

    mean: float | None
    """None: of all images undefined."""
    sd: float
    images: int
    undefined: int
    by_construction: bool


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A net, or predictions that came from elsewhere: of those only the figures are known."""

    name: str
    net: bool
    seeds: list[int]
    """Those of which every fold is finished: only they count."""
    samples: int
    """Tested in a seed, clean files that were added left out."""
    accuracy: Spread
    """Over all folds of all seeds."""
    macro_f1: Spread
    """Over all folds of all seeds; of a fold, over the labels that occur in it."""
    pooled_macro_f1: Spread
    """Over the seeds; of a seed, over the predictions of all its folds at once."""
    folds: list[FoldFigures]
    duplicates: int
    """Test samples whose very bytes are in training."""
    near_twins: int | None = None
    """Test samples that have a near twin or duplicate in training; None: not known."""
    difference: Difference | None = None
    """This row minus the reference; None: of the reference itself, or of fewer than two folds."""
    epochs: int | None = None
    views: list[str] = []
    image_size: int | None = None
    """Side of the body view; None: there is none."""
    parameters: int | None = None
    flops: int | None = None
    """Of one image without its explanation: see `maltriage.learn.nets.flops`."""
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
    """Of the dataset, clean files that were added included."""
    goodware_samples: int
    labels: list[str]
    split: str
    split_seed: int
    folds: int
    """0: one part is tested on."""
    reference: str
    left_out: dict[str, int]
    """Samples that a split by time has in no part of a run, by why; the most in a fold."""
    unfinished: list[str]
    """Seeds that do not count, because not all of their folds are finished."""
    rows: list[Row]
