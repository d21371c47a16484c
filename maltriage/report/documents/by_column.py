"""The document of figures by the values of a column, such as by source."""

from __future__ import annotations

from typing import Literal

import msgspec

from maltriage.metrics import Interval
from maltriage.version import __version__

SCHEMA_VERSION = "1.3"

SetOn = Literal["validation", "elsewhere", "given", "card", "even"]
"""Where a threshold is from: the validation part of the net that held the files back; the clean
files of the other folds, each by the net that held it back; a margin that was given; the model's
card; none: P(malware) of one half, from which a file is flagged or `unknown`."""


CleanBy = Literal["same", "other", "trained"]
KINDS = ("all", "32-bit", "64-bit", ".NET", "packed", "installer", "plain")
"""Kinds of files, in the order of a report."""


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`hits` of `files`, in `groups` of near duplicates.

    `rate` has a 95 % bootstrap interval over whole groups; where none or all are hits, the exact
    one of as many files as there are groups.
    """

    files: int
    groups: int
    hits: int
    rate: Interval


class KindFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Verdicts on the files of one kind at one threshold; None: there are no such files.

    `clean` and `malware` count flagged files. `named` counts the malware that is flagged and
    given a family, `right` those of them with the right one, without malware of no family.
    """

    kind: str
    clean: Counted | None
    malware: Counted | None
    named: Counted | None
    right: Counted | None


class AtThreshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A threshold for a false-positive rate, and the verdicts at it by kind.

    `margin` is None where files of this value were held back by several nets, each with its own
    threshold. `files`: clean files that it was set on; None: see the model's card, or a margin
    that was given. Both are None at an even chance, where no families are named either.
    """

    set_on: SetOn
    margin: float | None
    files: int | None
    kinds: list[KindFigures]


class Against(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Malware of one value against clean files of another, of one kind, ranked by the margin.

    `clean_by`: which net answers for the clean files: `same`, the one that answers for the
    malware, which has seen neither value (or the model); `other`, the net that held them back;
    `trained`, that of the malware, on files of its validation part, whose value it was trained
    on. The interval of `auc` is a 95 % bootstrap over whole groups of near duplicates, malware
    and clean files apart.
    """

    kind: str
    value: str
    clean_by: CleanBy
    malware: int
    clean: int
    auc: Interval


class ReadFirst(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the malware the first files hold, in the order of their margin.

    Of a collection in which `share` of the files is malware of the value, and the others are
    clean files: all that the net which answers for the malware held back too (or the model read),
    or if there are none (`clean_by`: `other`) all, each by the net that held it back. `found` has
    a share of the malware for each share of the files in `first`, with its 95 % bootstrap
    interval over whole groups of near duplicates.
    """

    share: float
    clean_by: CleanBy
    malware: int
    clean: int
    first: tuple[float, ...]
    found: list[Interval]


class ValueFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of the files of one value.

    `ece` is the calibration error of P(malware) over 10 bins of equal mass, against malware or
    clean, with a 95 % bootstrap interval over whole groups; None: probabilities are uncalibrated.
    `in_set` counts the files whose prediction set, at the model's coverage or 90 %, holds their
    label, of those whose label the net has training files of; None: no sets, or no such files.
    `unlearned` counts malware whose family the net has no training files of, and of no family.
    """

    value: str
    files: int
    groups: int
    malware: int
    clean: int
    unlearned: int
    ece: Interval | None
    in_set: Counted | None
    thresholds: list[AtThreshold]
    against: list[Against]
    read_first: ReadFirst | None
    """None: no malware, or no clean file at all."""


class ColumnFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Figures of a model, or of one seed of a recipe, by the values of a column."""

    name: str
    seed: int | None
    """None: a model, whose verdicts are measured."""
    held_back: bool
    """Whether each value was held back as a whole from the nets that answer for it."""
    values: list[ValueFigures]


class MeanRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Shares flagged of one kind at one threshold: means over the values and seeds of a recipe.

    Every value counts the same. `worst_clean` is the largest share of clean files of a value,
    `least_malware` the smallest of malware. None: no value has such files.
    """

    name: str
    set_on: SetOn
    kind: str
    clean_values: int
    malware_values: int
    clean: float | None
    worst_clean: float | None
    malware: float | None
    least_malware: float | None


class MeanArea(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Areas of one kind, see `Against`: mean and lowest over the pairs of values, all seeds."""

    name: str
    clean_by: CleanBy
    kind: str
    pairs: int
    auc: float
    lowest: float


class ColumnReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The document. `fpr` is the stated rate of thresholds that are set here."""

    schema_version: str = SCHEMA_VERSION
    maltriage_version: str = __version__
    column: str
    fpr: float | None
    without: int
    """Files without a value, which are in no figure."""
    runs: list[ColumnFigures]
    rates: list[MeanRates]
    areas: list[MeanArea]
