"""The document of a calibration: the threshold, the temperature, and the figures behind both."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import NoveltyFigures, SetFigures
from maltriage.report.documents.record import ModelRef

IN_INDEX = "in the model's index, usually of its training files"
"""Why files are left out of a calibration."""


class KindThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The threshold for clean files of one `Layout.kind`, as a margin.

    `own`: the threshold was set on files of this kind; otherwise it is that of all files.
    """

    kind: str
    margin: float
    own: bool
    files: int
    flagged: int
    rate: Interval


class MalwareLike(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A clean file that looks like malware: flagged, or a family is its likeliest label."""

    path: str
    label: str
    margin: float
    flagged: bool


class ValueThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clean files of one value of a column, each by the net that held the value back.

    `margin` is what this value alone needs for the rate. `flagged` is at the threshold of all,
    the highest of these; the interval of `rate` is over whole groups of near duplicates.
    `without` is the rate at the threshold of the other values, whose nets have seen this one; None:
    there is no other.
    """

    value: str
    margin: float
    files: int
    groups: int
    flagged: int
    rate: Interval
    without: Interval | None = None


class RateFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A threshold for another rate. `flagged` are clean files, `rate` their share with its exact
    95 % interval; `malware_flagged` and `packed_flagged` as those of `ThresholdFigures`. `worst` is
    the highest of what `ValueThreshold.without` has."""

    fpr: float
    margin: float
    flagged: int
    rate: Interval
    malware_flagged: int
    packed_flagged: int
    worst: float | None = None


class ThresholdFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A threshold of `flagged` and the clean files that it was set on.

    Equal files count once. `rate` is that of `flagged` among `files`, with its exact 95 %
    interval. `malware_like` is ordered by margin, highest first. `malware` and `malware_flagged`
    are those of a cross-validation; 0 and 0 if none was given.
    """

    margin: float
    fpr: float
    goodware: str
    files: int
    flagged: int
    rate: Interval
    kinds: list[KindThreshold]
    malware_like: list[MalwareLike]
    unreadable: int
    malware: int = 0
    malware_flagged: int = 0
    values: list[ValueThreshold] = []
    """Of a threshold that keeps the rate for each value of a column."""
    packed: int = 0
    packed_flagged: int = 0
    """Packed clean files, which such a threshold is not set on."""
    points: list[RateFigures] = []
    """Such thresholds for other rates, which `scan --fpr` can choose."""
    in_index: int = 0
    """Different clean files left out, since they are in the index of the model, which is usually of
    its training files."""
    warnings: list[str] = []


class TemperatureFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A temperature and the calibration of its probabilities.

    `before` is the old temperature of the card. `ece` (10 bins of equal mass) and `log_loss` are
    measured out of fold: each with a temperature fitted to the other folds. `ece_before` and
    `log_loss_before` are those of the old card. Intervals are bootstraps over the samples.
    """

    temperature: float
    before: float | None
    on: str
    samples: int
    folds: int
    right: int
    ece: Interval
    ece_before: Interval
    log_loss: float
    log_loss_before: float
    left_out: int
    """Labelled files left out, since they are among the samples of the predictions."""
    in_index: int = 0
    """Labelled files left out, since they are in the index of the model, which is usually of its
    training files."""
    unknown_labels: dict[str, int]
    unreadable: int
    warnings: list[str]


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new values of a card; None: the card keeps its old ones."""

    model: ModelRef
    temperature: TemperatureFigures | None
    threshold: ThresholdFigures | None
    sets: SetFigures | None = None
    novelty: NoveltyFigures | None = None
