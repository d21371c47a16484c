"""The card of a bundle: its description, and the check of its fields."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec

from maltriage.errors import MaltriageError
from maltriage.sample.hexdump import UNMAPPED
from maltriage.sample.types import Format
from maltriage.sample.views import ViewSpec

CARD_VERSION = 1
BENIGN = "benign"
MAX_LABELS = 10_000


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The margin from which a file is `flagged`, and the goodware it was set on."""

    margin: float
    """logsumexp(logits of all but benign) - logit(benign), uncalibrated."""
    kinds: dict[str, float] = {}
    """Thresholds by `Layout.kind`, each set for the same rate on clean files of that kind. A
    kind without malware in training has other margins: one threshold for all kinds would flag
    too many files of one and miss too much malware of another."""
    fpr: float
    """Share of the goodware that this threshold was set to flag."""
    goodware: str
    """Name of the goodware set."""
    files: int
    flagged: int
    low: float | None = None
    high: float | None = None
    """95 % interval of the rate `flagged` / `files` (Clopper and Pearson 1934); None in cards of
    older versions."""
    malware: int = 0
    malware_flagged: int = 0
    """Out-of-fold malware that reaches the threshold of its fold's net, set for the same rate on
    the same goodware; 0 of 0: unknown."""

    def at(self, kind: str | None) -> float:
        """The threshold for files of a kind."""
        return self.kinds.get(kind or "", self.margin)


class Conformal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The nonconformity scores of held-back samples, from which prediction sets are made.

    The score of a sample is one minus the probability of its own label. `triage.prediction_sets`
    computes quantiles of the scores for the coverage that the user asks for, so none is stored.
    """

    score: Literal["1-p"] = "1-p"
    coverage: float
    """Default share of the samples whose set should hold their label."""
    temperature: float
    """Temperature of the probabilities; must be the card's own."""
    source: str
    """The scored samples, in words."""
    counts: dict[str, int]
    """Number of scored samples by label."""
    scores: dict[str, tuple[float, ...]]
    """Scores by label, ascending; of a label with very many, those at even steps of rank."""
    pooled: tuple[str, ...] = ()
    """Labels with too few scores for a quantile of their own at `coverage`: they share one."""


class OpenSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The limit of novelty, above which a file is unlike everything the model learned.

    The score is the energy of the logits plus their distance to the nearest label's mean, both
    standardised over held-back files of known labels: see `maltriage.triage.novelty`.
    """

    means: dict[str, tuple[float, ...]]
    """By label, mean centred logits of the files classified correctly, [K]."""
    energy_mean: float
    energy_sd: float
    distance_mean: float
    distance_sd: float
    limit: float
    acceptance: float
    """Share of the held-back files that the limit accepts."""
    files: int
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
    samples: int
    goodware_samples: int = 0
    """Number of clean files added to the dataset."""
    split: str
    """Kind of split: `grouped`, `random`, `time`."""
    split_seed: int
    split_sha256: str = ""
    """Digest over the sorted lines `sha256 part`; empty in cards of older versions."""
    fractions: tuple[float, float, float]
    """Shares of training, validation and test."""
    folds: int = 0
    """Number of folds. With folds the weights have seen every sample, and the card's figures
    are out of fold, by this many nets of the same recipe."""
    malware_kinds: dict[str, int] = {}
    """Number of malware samples by `Layout.kind`."""
    seed: int
    epochs: int
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
    unmapped: int = UNMAPPED
    """The byte that `??` in a hex dump is read as, 0 to 255."""
    target_layer: str
    method: str = "hirescam"
    additive: bool
    receptive_field_bytes: dict[str, int]
    """By window, in bytes along the file; for the body see the model's document."""
    temperature: float | None = None
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
    metrics: dict[str, float] = {}
    """Figures on held-back samples: the test part (`test_...`), or all samples out of fold
    (`out_of_fold_...`)."""
    parameters: int
    weights_sha256: str = ""
    """Digest of the graph without its metadata; filled in when the bundle is written."""

    @property
    def benign(self) -> int | None:
        """Index of the benign label, None in a bundle of families only."""
        return self.labels.index(BENIGN) if BENIGN in self.labels else None


def check_card(card: Card, path: Path) -> None:
    names = [view.name for view in card.views]
    problem = None
    if card.card_version != CARD_VERSION:
        problem = f"card version {card.card_version}, this maltriage reads {CARD_VERSION}"
    elif not 2 <= len(card.labels) <= MAX_LABELS or len(set(card.labels)) != len(card.labels):
        problem = "labels must be 2 or more different names"
    elif not names or len(set(names)) != len(names):
        problem = "views must be 1 or more with different names"
    elif not card.input or len(set(card.input)) != len(card.input):
        problem = "input must be 1 or more different formats"
    elif not 0 <= card.unmapped <= 255:
        problem = "unmapped must be a byte"
    elif not all(0 < math.prod(view.shape) <= 1 << 24 for view in card.views):
        problem = "a view of an impossible size"
    elif card.temperature is not None and not 0.0 < card.temperature < math.inf:
        problem = "temperature must be positive"
    elif card.threshold is not None and not all(
        map(math.isfinite, (card.threshold.margin, *card.threshold.kinds.values()))
    ):
        problem = "threshold must be finite"
    elif card.threshold is not None and not all(
        value is None or 0.0 <= value <= 1.0 for value in (card.threshold.low, card.threshold.high)
    ):
        problem = "an interval of a rate must lie in 0 to 1"
    elif card.threshold is not None and card.benign is None:
        problem = "a threshold without a benign label"
    elif card.conformal is not None:
        problem = _conformal_problem(card.conformal, card)
    if problem is None and card.open_set is not None:
        problem = _open_set_problem(card.open_set, card)
    if problem:
        raise MaltriageError(f"{path}: bad card: {problem}")


def _conformal_problem(conformal: Conformal, card: Card) -> str | None:
    if not 0.0 < conformal.coverage < 1.0:
        return "coverage of prediction sets must lie between 0 and 1"
    if conformal.temperature != (card.temperature or 1.0):
        return "prediction sets of another temperature"
    if not set(conformal.counts) == set(conformal.scores) <= set(card.labels):
        return "prediction sets of other labels"
    for label, scores in conformal.scores.items():
        ordered = all(a <= b for a, b in pairwise((0.0, *scores, 1.0)))  # false for nan
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
    numbers = [value for mean in stats.means.values() for value in mean]
    numbers += [stats.energy_mean, stats.distance_mean, stats.limit]
    if not all(map(math.isfinite, numbers)) or not (stats.energy_sd > 0 < stats.distance_sd):
        return "novelty must be finite"
    return None
