"""The document of `maltriage index recall`."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.index import Limit
from maltriage.report.documents.record import ModelRef


class LabelRecall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of the files of one label: shares whose nearest file is of the label, of whose five nearest
    one is, and that the model itself puts first. `median` is the median distance of the nearest."""

    label: str
    files: int
    at_1: float
    at_5: float
    classified: float
    median: float


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Malware whose nearest file is at a distance in [low, high): how many, and the share of it
    whose nearest file is of its family; None of no files."""

    low: float
    high: float
    files: int
    at_1: float | None


class Recall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often the files nearest to one that the net had not seen are of its family.

    Each file that was held back is compared with those that its net was trained on, by that net's
    embeddings. `at_1`: the nearest is of its family; `at_5`: at least one of the five nearest is.
    Both, and `classified`, how often the net itself puts the family first, are over malware alone,
    with 95 % bootstrap intervals over the files.
    """

    model: ModelRef
    distance: str
    held: str
    """Which files were held back, in words."""
    nets: int
    files: int
    """Malware that was held back."""
    indexed: int
    """Files that it was compared with, the mean over the nets."""
    near_twins: int
    """Files that were held back, clean ones too, with a near twin or duplicate among those."""
    at_1: Interval
    at_5: Interval
    classified: Interval
    labels: list[LabelRecall]
    """Every label of a file that was held back, `benign` as well."""
    bands: list[Band]
    """What a distance is worth."""
    distances: dict[str, float]
    """Of the nearest file, quantiles over all files that were held back, by their percents."""
    limit: Limit | None
    """What an index gets; None where too few files were held back to tell."""
