"""From logits to a verdict, and to the question that its evidence must answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.bundle import Card
from maltriage.report.document import Ranked, Verdict, finite

SUSPICIOUS = "suspicious"
"""Flagged, though benign is the likeliest single label."""
UNKNOWN = "unknown"
"""Not flagged, though a family is the likeliest label: too little to call it that."""


@dataclass(frozen=True)
class Question:
    """Which label the evidence is for, against which (None: the mean of all labels)."""

    label: int
    against: int | None = None


def probabilities(logits: npt.NDArray[np.floating], card: Card) -> npt.NDArray[np.float64]:
    """Softmax over the last axis at the card's temperature (1 where uncalibrated)."""
    scaled = np.asarray(logits, dtype=np.float64) / (card.temperature or 1.0)
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))


def margin(logits: npt.NDArray[np.floating], benign: int) -> float:
    """logsumexp of all logits but benign's, minus benign's: does not saturate.

    Args:
        logits: shape (K,).
    """
    values = np.asarray(logits, dtype=np.float64)
    others = np.delete(values, benign)
    top = others.max()
    return float(top + np.log(np.exp(others - top).sum()) - values[benign])


def decide(logits: npt.NDArray[np.floating], card: Card) -> tuple[Verdict, Question]:
    """The verdict on one sample.

    Args:
        logits: shape (K,), uncalibrated.

    Raises:
        MaltriageError: a logit is not a number.
    """
    for value in logits:
        finite(float(value))
    shares = probabilities(logits, card)
    order = [int(i) for i in np.argsort(-shares, kind="stable")]
    top = order[0]
    flagged = score = None
    if card.benign is not None:
        score = margin(logits, card.benign)
        if card.threshold is not None:
            flagged = score >= card.threshold.margin
    closest = next(i for i in order if i != card.benign)
    label = card.labels[top]
    if flagged is not None and flagged == (top == card.benign):
        label = SUSPICIOUS if flagged else UNKNOWN
    verdict = Verdict(
        label=label,
        closest=None if label == card.labels[top] else card.labels[closest],
        probability=float(1.0 - shares[top] if label == SUSPICIOUS else shares[top]),
        calibrated=card.temperature is not None,
        flagged=flagged,
        margin=score,
        threshold=card.threshold.margin if card.threshold else None,
        fpr=card.threshold.fpr if card.threshold else None,
        goodware=card.threshold.goodware if card.threshold else None,
        ranked=[Ranked(card.labels[i], float(shares[i])) for i in order],
    )
    return verdict, Question(closest, card.benign) if flagged else Question(top)
