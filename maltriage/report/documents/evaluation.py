"""The document of an evaluation: figures of a bundle on labelled files."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.record import ModelRef


class LabelFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Precision, recall and F1 of one label; `support` is how many samples have it.

    `f1_interval` is a 95 % bootstrap interval over the samples; None: not asked for.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    f1_interval: tuple[float, float] | None = None


class FlagCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files flagged at the card's threshold, of those that are benign and those that are not."""

    malware: int
    malware_flagged: int
    benign: int
    benign_flagged: int


class ReliabilityBin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Samples of about the same confidence, and the share of them that is right, with its exact
    95 % interval. `confidence` is the mean of the probabilities of the labels on top."""

    confidence: float
    right: Interval
    count: int


class Reliability(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far probabilities can be taken at their word, with 95 % bootstrap intervals.

    `ece` is over `bins`, 10 of equal mass; from its interval the mean excess of the rounds over the
    figure is taken. `brier` is the mean over the samples of the squared
    distance of the probabilities from the truth, summed over the labels: 0 to 2.
    """

    ece: Interval
    brier: Interval
    bins: list[ReliabilityBin]


class OperatingPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much malware is found where at most the share `fpr` of the benign files may be flagged.

    The margin from which files are flagged is set on the benign files measured on, and set anew
    in each round of the bootstrap. `why`: there is no figure, and the reason.
    """

    fpr: float
    tpr: Interval | None
    why: str | None = None


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Points of a curve, thinned."""

    x: list[float]
    y: list[float]


class Detection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Malware of all families against benign, ranked by the margin; 95 % bootstrap intervals.

    `roc`: x false-positive rate, y true-positive rate. `precision_recall`: x recall, y precision,
    at the share of malware that is measured on.
    """

    malware: int
    benign: int
    auc: Interval
    average_precision: Interval
    at: list[OperatingPoint]
    roc: Curve
    precision_recall: Curve


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
    calibrated: bool = True
    """False: the card has no temperature, and probabilities are taken as they come."""
    reliability: Reliability | None = None
    detection_curves: Detection | None = None
    """None without a benign label, or where all files are malware or all benign."""


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


class LabelCoverage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the prediction sets of a label's samples hold it, with the exact 95 % interval.

    `size` is the mean number of labels in them. `pooled`: in some fold the label had too few
    scores for a limit of its own, and shared one.
    """

    label: str
    samples: int
    held: Interval
    size: float
    pooled: bool


class SetFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prediction sets of out-of-fold predictions of one seed, by limits of the other folds.

    `held` is the share of the samples whose set has their label, with the exact 95 % interval;
    it should be `coverage`. `needed` scores give a label a limit of its own. `size` is the mean
    number of labels in a set, `empty` and `single` count the sets with none and with one label,
    `single_right` those where that is the right one. Of the samples whose likeliest label is a
    family, `named` fit it well enough to be called so, and `unnamed` are unknown; `named_right`
    and `unnamed_right` are those where it is the right one.
    """

    seed: int
    coverage: float
    needed: int
    samples: int
    held: Interval
    size: float
    empty: int
    single: int
    single_right: int
    named: int
    named_right: int
    unnamed: int
    unnamed_right: int
    labels: list[LabelCoverage]


class NoveltyFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limit of novelty, which accepts a stated share of `files` of known labels.

    `above` are those of them that it does not accept. Of these a family is the likeliest label of
    `families_above`, which are unknown therefore; of `families_above_right` it is the right one.
    """

    limit: float
    acceptance: float
    files: int
    above: int
    families_above: int
    families_above_right: int


class RecipeFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe on samples that its nets had not seen.

    `accuracy` and `macro_f1` are spread over the folds of all seeds, `pooled_macro_f1` over
    the seeds, each over all its folds at once. `ece` is over 10 bins of equal mass, at a
    temperature fitted to the other folds. `detection` is the area under the ROC curve of the
    margin, all malware against all benign. `confusion` is summed over the seeds. `duplicates`
    are the samples whose very bytes are in another fold, of the seed that has most of them.
    `reliability` (at those temperatures) and `detection_curves` are over the samples of all seeds
    together; a bootstrap draws a sample with what the nets of all seeds say of it.
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
    reliability: Reliability | None = None
    detection_curves: Detection | None = None
    sets: list[SetFigures] = []
    """Of each seed, where prediction sets were asked for."""


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


class CurveFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Area under a curve while bytes go (deletion) or come (insertion), with 95 % intervals.

    `own`: in the order of the method's heat; `random`: the same ranges elsewhere in the file;
    `by_size`: region by region, the largest first. `better`: how much better own is than random,
    as a share of random: of deletion by how much the area is smaller, of insertion larger.
    """

    own: Interval
    random: Interval
    by_size: Interval
    better: Interval


class MeanCurves(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean probability of the label over the share of bytes that are masked, or shown."""

    fractions: list[float]
    deletion: list[float]
    random_deletion: list[float]
    insertion: list[float]
    random_insertion: list[float]


class MethodFaithfulness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well one method's maps stand up to masking.

    `deletion` and `insertion` are areas of the probability of the label; of the `_score` ones the
    unit is the explained score of the file as it is, zero being that of the file all masked.
    `top_region`: share of the files whose region with most heat is the one whose masking takes
    most. `rank_correlation`: median over the files of Spearman's, of claimed and measured
    contribution of regions. The others are medians of Spearman's over the blocks of a file:
    `random_nets` of its absolute value, with nets of randomised weights; `appended` with bytes
    appended; `padded` with other padding. None: there is no file that tells, or the method was
    not asked. See docs/explanations.md.
    """

    method: str
    same_as: list[str]
    deletion: CurveFigures
    insertion: CurveFigures
    deletion_score: CurveFigures
    insertion_score: CurveFigures
    top_region: Interval | None
    rank_correlation: Interval | None
    random_nets: Interval | None
    appended: Interval | None
    padded: Interval | None
    curves: MeanCurves


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure and what it should be, at least or at most; of methods the first one's."""

    name: str
    value: float
    at_least: float | None
    at_most: float | None
    met: bool


class Faithfulness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Figures of a bundle's explanations, over the files whose verdict is right.

    `files` are those that were tried, `right` those with the right label on top, which all
    figures are over; `told` those of them with two regions or more, over which `top_region` and
    `largest_region` are: how often the largest region is the one whose masking takes most.
    """

    model: ModelRef
    part: str
    """`all`, a part of a split, or `out of fold`: each file by the net that had not seen it."""
    seen: bool
    """Whether the model was trained on these very files, as far as can be known."""
    files: int
    right: int
    told: int
    unreadable: int
    unknown_labels: dict[str, int]
    missing: int
    """Of a cross-validation, files that no fold held back, or that are not here any more."""
    mask: str
    seed: int
    orders: int
    nets: int
    seconds: float
    largest_region: Interval | None
    methods: list[MethodFaithfulness]
    targets: list[Target]


class CleanKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Flagged clean files of one kind; `rate` with its exact 95 % interval."""

    kind: str
    files: int
    flagged: int
    rate: Interval


class CleanReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """False positives of a bundle on clean files, equal files counted once.

    `kinds` are those of the optional header (`pe32`, `pe32+`, `.net`, `none`), `folders` the
    first level below what was scanned. `by_folder` is the rate of all with the 95 % interval of a
    bootstrap over whole folders: files of one package are alike, so that the exact interval, which
    takes each for a draw of its own, can be too narrow. It is missing below ten folders. `unknown`
    are files whose likeliest label is a family, below the threshold. `malware_like` are the paths
    that were flagged, highest margin first.
    """

    model: ModelRef
    all: CleanKind
    by_folder: Interval | None
    kinds: list[CleanKind]
    folders: list[CleanKind]
    unknown: int
    unreadable: int
    malware_like: list[str]
