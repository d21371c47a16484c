"""The document of `maltriage index recall`."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.index import Limit
from maltriage.report.documents.record import ModelRef


class LabelRecall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Recall of one label: shares of its files whose nearest file has the label (`at_1`), one of
    whose five nearest has it (`at_5`), and that the model classifies right (`classified`). `median`
    is the median distance of the nearest file."""

    label: str
    files: int
    at_1: float
    at_5: float
    classified: float
    median: float


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Malware whose nearest file is at a distance in [low, high): its number, and the share whose
    nearest file is of its family; None: no files."""

    low: float
    high: float
    files: int
    at_1: float | None


class Recall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often the files nearest to one that the net had not seen are of its family.

    Each held-back file is compared with the training files of its net, by that net's embeddings.
    `at_1`: the nearest is of its family; `at_5`: at least one of the five nearest is; `classified`:
    the net's own label is right. All three are over malware alone, with 95 % bootstrap intervals
    over the files.
    """

    model: ModelRef
    distance: str
    held: str
    """The held-back files, in words."""
    nets: int
    files: int
    """Held-back malware files."""
    indexed: int
    """Training files that they were compared with, the mean over the nets."""
    near_twins: int
    """Held-back files, clean ones too, with a near duplicate or duplicate in training."""
    at_1: Interval
    at_5: Interval
    classified: Interval
    labels: list[LabelRecall]
    """Every label of a held-back file, `benign` as well."""
    bands: list[Band]
    """Recall by distance."""
    distances: dict[str, float]
    """Quantiles of the distance to the nearest file, over all held-back files, by percent."""
    limit: Limit | None
    """The limit for an index; None: too few files were held back."""
