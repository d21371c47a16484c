"""The document of an evaluation: figures of a bundle on labelled files."""

from __future__ import annotations

import msgspec

from maltriage.report.document import ModelRef


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class LabelFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Precision, recall and F1 of one label; `support` is how many samples have it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class FlagCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files flagged at the card's threshold, of those that are benign and those that are not."""

    malware: int
    malware_flagged: int
    benign: int
    benign_flagged: int


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of a bundle on labelled files, with 95 % bootstrap intervals over the files.

    The prediction is the label of highest probability, whether flagged or not. `macro_f1` is
    over the labels that occur. `ece` is over 10 bins of equal mass. `confusion`: row = true
    label, column = predicted, in the order of `labels`.
    """

    model: ModelRef
    part: str
    samples: int
    unreadable: int
    unknown_labels: dict[str, int]
    """Files whose label the bundle does not know; they are left out of every figure."""
    accuracy: Interval
    macro_f1: Interval
    ece: float
    labels: list[LabelFigures]
    confusion: list[list[int]]
    flags: FlagCounts | None
    """None where the bundle has no benign label or no threshold."""
