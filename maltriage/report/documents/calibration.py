"""What a calibration found: the threshold, the temperature, and the figures behind both."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import NoveltyFigures, SetFigures
from maltriage.report.documents.record import ModelRef


class KindThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clean files of one `Layout.kind` at the margin from which they are flagged.

    `own`: the margin was set on files of this kind; otherwise it is the one of all files.
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


class ThresholdFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A threshold of `flagged` and the clean files that it was set on.

    Equal files count once. `rate` is that of `flagged` among `files`, with its exact 95 %
    interval. `malware_like` is ordered by margin, highest first. `malware` and
    `malware_flagged` are those of a cross-validation, 0 of 0 where none was given.
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


class TemperatureFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A temperature and how far its probabilities can be taken at their word.

    `before` is the temperature that the card had. `ece` (10 bins of equal mass) and `log_loss`
    are of temperatures fitted to the other folds of the samples, so none is measured on what it
    was fitted to; `ece_before` and `log_loss_before` are those of the card as it was. Intervals
    are bootstraps over the samples.
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
    """Labelled files that are among the samples of the predictions."""
    unknown_labels: dict[str, int]
    unreadable: int
    warnings: list[str]


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `calibrate` set anew; None: the card keeps what it had."""

    model: ModelRef
    temperature: TemperatureFigures | None
    threshold: ThresholdFigures | None
    sets: SetFigures | None = None
    novelty: NoveltyFigures | None = None
