"""What a net's verdicts are fitted to on some files, asked of others: as `calibrate` would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maltriage import metrics
from maltriage.assess.verdicts import openset
from maltriage.assess.verdicts.conformal import DEFAULT_COVERAGE, scores_of
from maltriage.bundle import BENIGN
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.metrics import Bools, Floats
from maltriage.triage.novelty import of_stats
from maltriage.triage.prediction_sets import rule_of


@dataclass(frozen=True)
class Said:
    """Probabilities [n, K], the members of the prediction sets [n, K], and whether the likeliest
    family may be named, [n]."""

    shares: Floats
    members: Bools
    nameable: Bools


def said_of(logits: Floats, fitted_to: Predictions) -> Said:
    """What is said of files with these logits, [n, K].

    Args:
        fitted_to: other files; they give the temperature, the prediction sets (at the usual
            coverage) and the limit of novelty. With too few of them there is no such limit.
    """
    scale = metrics.temperature(fitted_to.logits, fitted_to.truth) or 1.0
    labels = fitted_to.labels
    shares = np.exp(metrics.log_softmax(logits / scale))
    rule = rule_of(scores_of(fitted_to, scale, DEFAULT_COVERAGE), labels, DEFAULT_COVERAGE)
    members = rule.members(shares)
    benign = labels.index(BENIGN) if BENIGN in labels else None
    nameable = np.array([rule.names(m, p, benign) for m, p in zip(members, shares, strict=True)])
    try:
        stats, _ = openset.fit(fitted_to.logits, fitted_to.truth, labels, "")
    except MaltriageError:  # too few files, or none that is right
        return Said(shares, members, nameable)
    return Said(shares, members, nameable & (of_stats(stats).score(logits) <= stats.limit))
