"""Prediction sets: the labels that cannot be excluded, at a coverage that the user chooses.

Split conformal prediction (Vovk, Gammerman and Shafer 2005) with the score 1 - p and a threshold
for each label ("least ambiguous sets", Sadinle, Lei and Wasserman, JASA 114, 2019): a label is in
the set of a sample unless it fits worse than all but a given share of that label's samples. So each
label has the coverage, not only all of them on average. A set is empty where every label fits that
badly. Sets of summed probabilities (APS, RAPS) lack this: they leave out the samples that the net
is surest of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.bundle import BENIGN, Card, Conformal
from maltriage.errors import MaltriageError
from maltriage.metrics import Floats

MIN_COVERAGE, MAX_COVERAGE = 0.5, 0.999
EVEN_ODDS = 0.5
_SLACK = 1e-9
"""Tolerance of ranks: 10 * 0.9 must not be rounded up to 10 by the last binary digit."""

_NOISE = 1e-6
"""Tolerance of probabilities: a sample's place in a batch moves the last digits of its logits."""


@dataclass(frozen=True)
class SetRule:
    """The rule of the sets at one coverage."""

    coverage: float
    limits: Floats
    """The score 1 - p up to which each label is in the set, [K]; inf: too few scores."""
    pooled: tuple[str, ...]
    """Labels with too few scores for a threshold of their own."""
    named_from: float | None = None
    """See `Conformal.named_from`."""

    def members(self, probabilities: Floats) -> npt.NDArray[np.bool_]:
        """Whether each label is in the set, for probabilities [..., K], in the same shape."""
        return np.asarray(1.0 - probabilities <= self.limits + _NOISE)

    def names(
        self, members: npt.NDArray[np.bool_], probabilities: Floats, benign: int | None
    ) -> bool:
        """Whether the likeliest family fits well enough to be named.

        It must be in the set, and likely enough among the families (`named_from`). Without that
        number, it must be the only family in the set, or as likely as all else together.

        Args:
            members: of one sample, [K].
            probabilities: of it, [K].
            benign: index of the benign label.
        """
        family = np.ones(len(members), dtype=np.bool_)
        if benign is not None:
            family[benign] = False
        best = int(np.where(family, probabilities, -1.0).argmax())
        if self.named_from is not None:
            share = family_share(probabilities, benign)
            return bool(members[best] and share >= self.named_from - _NOISE)
        alone = int((members & family).sum()) == 1
        return bool(members[best] and (alone or probabilities[best] >= EVEN_ODDS))


def family_share(probabilities: Floats, benign: int | None) -> Floats:
    """Probability of the likeliest family if the sample is malware, for [..., K], shape (...)."""
    families = probabilities if benign is None else np.delete(probabilities, benign, axis=-1)
    total = families.sum(axis=-1)
    return np.asarray(families.max(axis=-1) / np.where(total > 0, total, 1.0))


def needed(coverage: float) -> int:
    """Number of scores that a threshold needs: 19 for a coverage of 0.95."""
    return math.ceil(coverage / (1.0 - coverage) - _SLACK)


def set_rule(card: Card, coverage: float | None = None) -> SetRule | None:
    """The rule of a bundle's sets.

    Args:
        coverage: share of the samples whose set should hold their label; None: the card's.

    Returns:
        None where the card has no scores and `coverage` is None.

    Raises:
        MaltriageError: the card has no scores, or the coverage is out of range.
    """
    if card.conformal is None:
        if coverage is None:
            return None
        raise MaltriageError(
            f"{card.name} has no prediction sets: maltriage calibrate {card.name} --predictions"
            " RUN/out-of-fold.csv adds them"
        )
    return rule_of(card.conformal, card.labels, coverage or card.conformal.coverage)


def rule_of(conformal: Conformal, labels: tuple[str, ...], coverage: float) -> SetRule:
    """The rule that scores give at a coverage.

    Labels with fewer than `needed` scores share a threshold; if they have too few together, with
    all labels but benign; if even those do, they are in every set.

    Raises:
        MaltriageError: the coverage is out of range.
    """
    if not MIN_COVERAGE <= coverage <= MAX_COVERAGE:
        raise MaltriageError(f"a coverage of {coverage:g}: from {MIN_COVERAGE} to {MAX_COVERAGE}")
    least = needed(coverage)
    pooled = tuple(name for name in labels if conformal.counts.get(name, 0) < least)
    shared = _limit(conformal, pooled, coverage)
    if pooled and shared == math.inf:
        shared = _limit(conformal, tuple(n for n in labels if n != BENIGN), coverage)
    limits = [shared if n in pooled else _limit(conformal, (n,), coverage) for n in labels]
    return SetRule(coverage, np.array(limits), pooled, conformal.named_from)


def _limit(conformal: Conformal, labels: tuple[str, ...], coverage: float) -> float:
    """The ceil((n + 1) * coverage)-th smallest of the n scores of some labels; inf past the last.

    For a label with very many samples each kept score stands for those between it and the one
    before, so the threshold is never too low.
    """
    scores, weights = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for label in labels:
        kept = conformal.scores.get(label, ())
        scores.append(np.array(kept, dtype=np.float64))
        weights.append(np.diff(ranks(conformal.counts.get(label, 0), len(kept)), prepend=0))
    values, each = np.concatenate(scores), np.concatenate(weights)
    rank = math.ceil((int(each.sum()) + 1) * coverage - _SLACK)
    if rank > each.sum():
        return math.inf
    order = np.argsort(values, kind="stable")
    return float(values[order][np.searchsorted(each[order].cumsum(), rank)])


def ranks(count: int, kept: int) -> npt.NDArray[np.int64]:
    """The ranks, from 1, of the `kept` scores that stand for `count`: even steps, the last too."""
    steps = np.arange(1, kept + 1, dtype=np.int64)
    return np.asarray(-(-steps * count // max(1, kept)))
