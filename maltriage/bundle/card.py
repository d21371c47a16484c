"""The card of a bundle: its description, and the check of its fields."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from maltriage.errors import MaltriageError
from maltriage.files.decoding import decoded
from maltriage.sample.hexdump import UNMAPPED
from maltriage.sample.types import BENIGN, MAX_VIEWS, Format
from maltriage.sample.views import ViewSpec

CARD_VERSION = 1
MAX_LABELS = 10_000
MAX_VIEWS_BYTES = 1 << 24
"""Pixels of all views of one file; the default views have 63,744."""
MAX_RECIPE_DEPTH = 8
INPUTS = frozenset(("target", "against", "threshold"))
"""Inputs of a graph besides its views."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Score = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
"""A logit, or a sum or difference of some: those of float32 nets have two digits."""
Spread = Annotated[float, msgspec.Meta(ge=1e-9, le=1e6)]
"""A standard deviation that scores are divided by."""
Figure = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Temperature = Annotated[float, msgspec.Meta(ge=0.01, le=100)]
"""Wider than what is fitted, 0.05 to 20."""


class OperatingPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A threshold for another rate, set on the same files as the `Threshold` that it is of."""

    fpr: Share
    margin: Score
    flagged: Count
    low: Share
    high: Share
    malware_flagged: Count
    worst: Share | None = None
    """See `Threshold.worst`."""


class Threshold(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """The margin from which a file is `flagged`, and the goodware it was set on.

    What is as usual is not written, so that older versions read a card without `points`.
    """

    margin: Score
    """logsumexp(logits of all but benign) - logit(benign), uncalibrated."""
    kinds: dict[str, Score] = {}
    """Thresholds by `Layout.kind`, each set for the same rate on clean files of that kind. A
    kind without malware in training has other margins: one threshold for all kinds would flag
    too many files of one and miss too much malware of another."""
    fpr: Share
    """Share of the goodware that this threshold was set to flag."""
    goodware: str
    """Name of the goodware set."""
    files: Count
    flagged: Count
    low: Share | None = None
    high: Share | None = None
    """95 % interval of the rate `flagged` / `files` (Clopper and Pearson 1934); None in cards of
    older versions."""
    malware: Count = 0
    malware_flagged: Count = 0
    """Out-of-fold malware that reaches the threshold of its fold's net, set for the same rate on
    the same goodware; 0 of 0: unknown."""
    points: tuple[OperatingPoint, ...] = ()
    """Thresholds for other rates, the smallest rate first; none where kinds have their own."""
    worst: Share | None = None
    """Where each source of `goodware` needs a margin of its own and the highest is the threshold:
    what is flagged of a source at the highest that the others need, at most. So much may be flagged
    of one that it was not set on."""

    def for_rate(self, fpr: float) -> Threshold | None:
        """This threshold, or one of `points`, by its rate; None: there is none for that."""
        if math.isclose(fpr, self.fpr):
            return self
        for point in self.points:
            if math.isclose(fpr, point.fpr):
                values = {name: getattr(point, name) for name in point.__struct_fields__}
                return msgspec.structs.replace(self, **values)
        return None

    def at(self, kind: str | None) -> float:
        """The threshold for files of a kind."""
        return self.kinds.get(kind or "", self.margin)


class Conformal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The nonconformity scores of held-back samples, from which prediction sets are made.

    The score of a sample is one minus the probability of its own label. `triage.prediction_sets`
    computes quantiles of the scores for the coverage that the user asks for, so none is stored.
    """

    score: Literal["1-p"] = "1-p"
    coverage: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    """Default share of the samples whose set should hold their label."""
    temperature: Temperature
    """Temperature of the probabilities; must be the card's own."""
    source: str
    """The scored samples, in words."""
    counts: dict[str, Count]
    """Number of scored samples by label."""
    scores: dict[str, tuple[Share, ...]]
    """Scores by label, ascending; of a label with very many, those at even steps of rank."""
    pooled: tuple[str, ...] = ()
    """Labels with too few scores for a quantile of their own at `coverage`: they share one."""
    named_from: Share | None = None
    """The probability of a family, if the file is malware, from which it is named: so that nine of
    ten scored samples that are named are named right. None: in cards of older versions."""


class OpenSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The limit of novelty, above which a file is unlike everything the model learned.

    The score is the energy of the logits plus their distance to the nearest label's mean, both
    standardised over held-back files of known labels: see `maltriage.triage.novelty`.
    """

    means: dict[str, tuple[Score, ...]]
    """By label, mean centred logits of the files classified correctly, [K]."""
    energy_mean: Score
    energy_sd: Spread
    distance_mean: Score
    distance_sd: Spread
    limit: Figure
    acceptance: Share
    """Share of the held-back files that the limit accepts."""
    files: Count
    source: str
    """The held-back files, in words."""


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The origin of a quantised graph: see `maltriage.assess.studies.quantize`."""

    precision: Literal["int8", "fp16"]
    """Precision of its convolutions; all else is float32."""
    weights_sha256: str
    """Digest of the original float32 graph."""
    calibrated_on: str
    """Samples that gave the range of each activation, in words; empty if none are needed."""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The data and recipe of the weights: enough to train them again."""

    dataset: str
    manifest_sha256: str
    """Digest over the sorted lines `sha256 label` of every sample."""
    samples: Count
    goodware_samples: Count = 0
    """Number of clean files added to the dataset."""
    split: str
    """Kind of split: `grouped`, `random`, `time`, or a column, such as `source`."""
    split_seed: Count
    split_sha256: str = ""
    """Digest over the sorted lines `sha256 part`; empty in cards of older versions."""
    fractions: tuple[Share, Share, Share]
    """Shares of training, validation and test."""
    folds: Count = 0
    """Number of folds. With folds the weights have seen every sample, and the card's figures
    are out of fold, by this many nets of the same recipe."""
    malware_kinds: dict[str, Count] = {}
    """Number of malware samples by `Layout.kind`."""
    seed: Count
    epochs: Count
    recipe: dict[str, Any]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The description of a bundle: JSON in the ONNX metadata under `maltriage.card`."""

    card_version: int = CARD_VERSION
    name: str
    created: str
    maltriage_version: str
    net: str
    labels: tuple[str, ...]
    views: tuple[ViewSpec, ...]
    input: tuple[Format, ...] = ("pe", "png")
    """Formats that the model was made for; other files are skipped."""
    unmapped: Annotated[int, msgspec.Meta(ge=0, le=255)] = UNMAPPED
    """The byte that `??` in a hex dump is read as."""
    target_layer: str
    method: str = "hirescam"
    additive: bool
    two_questions: bool = False
    """Whether a file is malware is a question apart from that of its family: the log odds of
    malware are a score of its own."""
    receptive_field_bytes: dict[str, Count]
    """By window, in bytes along the file; for the body see the model's document."""
    temperature: Temperature | None = None
    """None: probabilities are uncalibrated."""
    calibrated_on: str | None = None
    """The samples that the temperature was fitted to, in words."""
    threshold: Threshold | None = None
    conformal: Conformal | None = None
    """None: verdicts have no prediction sets."""
    open_set: OpenSet | None = None
    """None: verdicts have no novelty."""
    quantization: Quantization | None = None
    """None: all of the graph is float32."""
    training: Training
    metrics: dict[str, Figure] = {}
    """Figures on held-back samples: the test part (`test_...`), or all samples out of fold
    (`out_of_fold_...`)."""
    parameters: Count
    weights_sha256: str = ""
    """Digest of the graph without its metadata; filled in when the bundle is written."""

    @property
    def benign(self) -> int | None:
        """Index of the benign label, None in a bundle of families only."""
        return self.labels.index(BENIGN) if BENIGN in self.labels else None

    @property
    def clean(self) -> int | None:
        """Index of the benign label in a bundle of two questions, None in one of one."""
        return self.benign if self.two_questions else None


_card = msgspec.json.Decoder(Card)


def read_card(text: str | bytes, path: Path) -> Card:
    """A card from its JSON: every number in its range, and the fields in agreement.

    Args:
        path: of the bundle, for errors.

    Raises:
        MaltriageError: it is no card, or says what cannot be.
    """
    try:
        card = decoded(text, _card)
    except msgspec.MsgspecError as error:
        raise MaltriageError(f"{path}: corrupt card: {error}") from error
    problem = None
    if card.card_version != CARD_VERSION:
        problem = f"card version {card.card_version}, this maltriage reads {CARD_VERSION}"
    problem = (
        problem
        or labels_problem(card.labels)
        or _fields_problem(card)
        or views_problem(card.views)
        or (card.threshold and _threshold_problem(card.threshold, card))
        or (card.conformal and _conformal_problem(card.conformal, card))
        or (card.open_set and _open_set_problem(card.open_set, card))
        or _training_problem(card.training)
    )
    if problem:
        raise MaltriageError(f"{path}: bad card: {problem}")
    return card


def labels_problem(labels: tuple[str, ...]) -> str | None:
    """What is wrong with the labels of a net; None: nothing."""
    if not 2 <= len(labels) <= MAX_LABELS or len(set(labels)) != len(labels):
        return "labels must be 2 or more different names"
    return None


def _fields_problem(card: Card) -> str | None:
    if not card.input or len(set(card.input)) != len(card.input):
        return "input must be 1 or more different formats"
    if card.two_questions and not (card.additive and BENIGN in card.labels):
        return "two questions need an additive graph and the label benign"
    return None


def views_problem(views: tuple[ViewSpec, ...]) -> str | None:
    """What is wrong with the views of a net; None: nothing."""
    names = [view.name for view in views]
    if not 0 < len(names) <= MAX_VIEWS or len(set(names)) != len(names) or INPUTS & set(names):
        return "views must be 1 or more with different names"
    for view in views:
        if not view.fits:
            return f"view {view.name!r} has an impossible size or channel"
    if sum(math.prod(view.shape) for view in views) > MAX_VIEWS_BYTES:
        return "views of an impossible size"
    return None


def _threshold_problem(threshold: Threshold, card: Card) -> str | None:
    if card.benign is None:
        return "a threshold without a benign label"
    if threshold.flagged > threshold.files or threshold.malware_flagged > threshold.malware:
        return "more files flagged than there are"
    low, high = threshold.low, threshold.high
    if low is not None and high is not None and low > high:
        return "an interval that ends before it begins"
    if threshold.points and threshold.kinds:
        return "thresholds of kinds, and for other rates"
    for point in threshold.points:
        if point.flagged > threshold.files or point.malware_flagged > threshold.malware:
            return "more files flagged than there are"
        if point.low > point.high:
            return "an interval that ends before it begins"
    for one, other in pairwise(threshold.points):
        if one.fpr >= other.fpr or one.margin < other.margin:
            return "thresholds for other rates in no order"
    return None


def _training_problem(training: Training) -> str | None:
    if sum(training.fractions) > 1 + 1e-6:
        return "parts of the training data above their sum"
    if not _shallow(training.recipe, MAX_RECIPE_DEPTH):
        return "a recipe that is nested too deeply"
    return None


def _shallow(value: Any, levels: int) -> bool:
    """Whether JSON is nested at most so many levels deep."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return True
    return levels > 0 and all(_shallow(one, levels - 1) for one in inner)


def _conformal_problem(conformal: Conformal, card: Card) -> str | None:
    if conformal.temperature != (card.temperature or 1.0):
        return "prediction sets of another temperature"
    if not set(conformal.counts) == set(conformal.scores) <= set(card.labels):
        return "prediction sets of other labels"
    for label, scores in conformal.scores.items():
        ordered = all(a <= b for a, b in pairwise(scores))
        if (
            not ordered
            or not min(1, conformal.counts[label]) <= len(scores) <= conformal.counts[label]
        ):
            return f"scores of {label!r} are not in order"
    return None


def _open_set_problem(stats: OpenSet, card: Card) -> str | None:
    if not stats.means or not set(stats.means) <= set(card.labels):
        return "novelty of other labels"
    if any(len(mean) != len(card.labels) for mean in stats.means.values()):
        return "a mean of other labels"
    return None
