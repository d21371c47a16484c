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
    duplicates: int | None = None
    """Of the part, how many files have their very bytes in training; None: not known."""
    near_twins: int | None = None
    """How many have a near twin or duplicate in training; None: not known."""
    left_out: dict[str, int] = {}
    """Files that a split by time has in no part, by why: `undated`, `unseen`, `later`."""


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean and standard deviation over folds and seeds."""

    mean: float
    sd: float


class FoldFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of one fold of one seed; macro-F1 is over the labels that occur in it."""

    seed: int
    fold: int
    samples: int
    accuracy: float
    macro_f1: float


class LabelSpread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of a label over all folds of a seed, spread over the seeds.

    `f1_interval` is a 95 % bootstrap interval over the samples.
    """

    label: str
    support: int
    precision: Spread
    recall: Spread
    f1: Spread
    f1_interval: tuple[float, float]


class RecipeFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe on samples that its nets had not seen.

    `accuracy` and `macro_f1` are spread over the folds of all seeds, `pooled_macro_f1` over
    the seeds, each over all its folds at once. `ece` is over 10 bins of equal mass, at a
    temperature fitted to the other folds. `detection` is the area under the ROC curve of the
    margin, all malware against all benign. `confusion` is summed over the seeds. `duplicates`
    are the samples whose very bytes are in another fold, of the seed that has most of them.
    """

    recipe: str
    samples: int
    seeds: list[int]
    accuracy: Spread
    macro_f1: Spread
    pooled_macro_f1: Spread
    ece: Spread
    detection: Spread | None
    duplicates: int
    folds: list[FoldFigures]
    labels: list[LabelSpread]
    confusion: list[list[int]]


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`first` minus `second`, paired by fold and seed, with the corrected 95 % interval of
    Nadeau and Bengio (2003)."""

    first: str
    second: str
    seeds: list[int]
    accuracy: Interval
    macro_f1: Interval


class FoldReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document of a comparison of recipes on the same folds."""

    recipes: list[RecipeFigures]
    differences: list[Difference]


class CleanKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Flagged clean files of one kind; `rate` with its exact 95 % interval."""

    kind: str
    files: int
    flagged: int
    rate: Interval


class CleanReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """False positives of a bundle on clean files, equal files counted once.

    `kinds` are those of the optional header (`pe32`, `pe32+`, `.net`, `none`), `folders` the
    first level below what was scanned. `unknown` are files whose likeliest label is a family,
    below the threshold. `malware_like` are the paths that were flagged, highest margin first.
    """

    model: ModelRef
    all: CleanKind
    kinds: list[CleanKind]
    folders: list[CleanKind]
    unknown: int
    unreadable: int
    malware_like: list[str]
