"""The document of an evaluation: figures of a bundle on labelled files."""

from __future__ import annotations

import msgspec

from maltriage.metrics import Interval
from maltriage.report.documents.record import ModelRef


class LabelFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Precision, recall and F1 of one label; `support` is its number of samples.

    `f1_interval` is a 95 % bootstrap interval over the samples; None: not requested.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    f1_interval: tuple[float, float] | None = None


class FlagCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Malware and benign files, and how many of each are flagged at the card's threshold."""

    malware: int
    malware_flagged: int
    benign: int
    benign_flagged: int


class ReliabilityBin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Samples of similar confidence, and the share of right verdicts, with its exact 95 % interval.
    `confidence` is the mean probability of the likeliest label."""

    confidence: float
    right: Interval
    count: int


class Reliability(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The calibration of probabilities, with 95 % bootstrap intervals.

    `ece` is over `bins`, 10 of equal mass; its interval is corrected by the mean excess of the
    rounds over the figure. `brier` is the mean over the samples of the squared distance of the
    probabilities from the truth, summed over the labels: 0 to 2.
    """

    ece: Interval
    brier: Interval
    bins: list[ReliabilityBin]


class OperatingPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The true-positive rate at a false-positive rate of at most `fpr`.

    The threshold is set on the measured benign files, anew in each round of the bootstrap. `why`:
    the reason if there is no figure.
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
    at the share of malware among the measured files.
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
    reliability: Reliability
    flags: FlagCounts | None
    """None: the bundle has no benign label or no threshold."""
    duplicates: int | None = None
    """Files of the part whose bytes are also in training; None: not known."""
    near_twins: int | None = None
    """Files of the part with a near duplicate or duplicate in training; None: not known."""
    in_index: int | None = None
    """Files of the part in the model's own index, which is usually of its training files; None: it
    has no index."""
    seen: bool = False
    """True if these are the very files that the model was trained on."""
    left_out: dict[str, int] = {}
    """Files that a split by time has in no part, by reason: `undated`, `unseen`, `later`."""
    calibrated: bool = True
    """False: the card has no temperature, and probabilities are uncalibrated."""
    detection_curves: Detection | None = None
    """None: no benign label, or all files are malware or all benign."""


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
    """Share of a label's samples whose prediction set holds it, with the exact 95 % interval.

    `size` is the mean number of labels in a set. `pooled`: in some fold the label had too few
    scores for a threshold of its own, and shared one.
    """

    label: str
    samples: int
    held: Interval
    size: float
    pooled: bool


class SetFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prediction sets of out-of-fold predictions of one seed, with thresholds of the other folds.

    `held` is the share of the samples whose set has their label, with the exact 95 % interval; it
    should be `coverage`. A label with `needed` scores has a threshold of its own. `size` is the
    mean number of labels in a set; `empty` and `single` count the sets with none and with one
    label, `single_right` those with the right one. Samples whose likeliest label is a family are
    `named` (they fit it well enough) or `unnamed` (unknown); `named_right` and `unnamed_right`
    count those with the right family.
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

    `above` counts the files beyond it. `families_above` of them have a family as the likeliest
    label and are therefore unknown; for `families_above_right` that family is right.
    """

    limit: float
    acceptance: float
    files: int
    above: int
    families_above: int
    families_above_right: int


class RecipeFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Out-of-fold figures of a recipe.

    `accuracy` and `macro_f1` are spread over the folds of all seeds, `pooled_macro_f1` over the
    seeds, each over all its folds at once. `ece` is over 10 bins of equal mass, at a temperature
    fitted to the other folds. `detection` is the area under the ROC curve of the margin, all
    malware against all benign. `confusion` is summed over the seeds. `duplicates` counts the
    samples whose bytes are also in another fold, in the seed with most of them. `reliability` (at
    those temperatures) and `detection_curves` are over the samples of all seeds together; a
    bootstrap draws a sample with the predictions of all seeds.
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
    reliability: Reliability
    detection_curves: Detection | None = None
    sets: list[SetFigures] = []
    """One for each seed, if prediction sets were requested."""


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
    """Area under a curve while bytes are masked (deletion) or shown (insertion), 95 % intervals.

    `own`: in the order of the method's heat; `random`: the same ranges elsewhere in the file;
    `by_size`: region by region, the largest first. `better`: the gain of own over random, as a
    share of random; deletion gains by a smaller area, insertion by a larger one.
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
    """Faithfulness of one method's maps, measured by masking.

    `deletion` and `insertion` are areas of the label's probability; those of the explained score
    (`_score`) are scaled to 1 for the unchanged file and 0 for the fully masked one. `top_region`:
    share of the files in which masking the region with most heat costs most score.
    `rank_correlation`: median over the files of Spearman's, of claimed and measured contribution of
    regions. The others are medians of Spearman's over the blocks of a file: `random_nets` of its
    absolute value, with nets of randomised weights; `appended` with bytes appended; `padded` with
    other padding. None: no file allows a figure, or the method was not measured. See
    docs/studies/faithfulness.md.
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
    """A figure and its target, at least or at most; for methods that of the first one."""

    name: str
    value: float
    at_least: float | None
    at_most: float | None
    met: bool


class Faithfulness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Figures of a bundle's explanations, over the files whose verdict is right.

    `files` counts all files, `right` those with the right likeliest label, which all figures are
    over. `told` counts those of them with two regions or more, for `top_region` and
    `largest_region`: the share in which masking the largest region costs most score.
    """

    model: ModelRef
    part: str
    """`all`, a part of a split, or `out of fold`."""
    seen: bool
    """Whether the model was trained on these files, as far as is known."""
    files: int
    right: int
    told: int
    unreadable: int
    unknown_labels: dict[str, int]
    missing: int
    """Files that no fold of a cross-validation held back, or that are missing now."""
    in_index: int | None = None
    """Files in the model's own index, which is usually of its training files; None: not known."""
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

    `kinds` are those of the optional header (`pe32`, `pe32+`, `.net`, `none`), `folders` the first
    level below the scanned folder. `by_folder` is the rate of all with the 95 % interval of a
    bootstrap over whole folders: files of one package are alike, so the exact interval, which
    assumes independent draws, can be too narrow. It is None below ten folders. `unknown` counts
    files whose likeliest label is a family, below the threshold. `malware_like` are the flagged
    paths, highest margin first.
    """

    model: ModelRef
    all: CleanKind
    by_folder: Interval | None
    kinds: list[CleanKind]
    folders: list[CleanKind]
    unknown: int
    unreadable: int
    malware_like: list[str]
