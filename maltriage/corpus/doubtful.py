"""Labels that are probably wrong, by predictions of nets that had not seen the files.

A label is doubtful where another one has more than an even chance. Confident learning (Northcutt,
Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels") finds as many
wrong labels and names more right ones beside: docs/reference/datasets.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maltriage import metrics
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.metrics import Ints

EVEN = 0.5


@dataclass(frozen=True)
class Doubt:
    """A file whose label is doubtful: its label, the likelier one, and the probability of each."""

    sha256: str
    label: str
    likelier: str
    probability: float
    likelier_probability: float


def doubtful(
    runs: Sequence[Predictions], own: Mapping[str, Collection[str]] | None = None
) -> list[Doubt]:
    """Files whose label is probably wrong, the surest first.

    Args:
        runs: out-of-fold predictions of one or more seeds, whose probabilities are averaged. Those
            of each seed are calibrated by a temperature.
        own: the labels that a dataset gives a file now, by its sha256. They count in place of those
            of the predictions, such as for a file that was moved to another family since. A label
            that the nets do not know has probability 0.

    Raises:
        MaltriageError: the runs are of other labels or files.
    """
    first = runs[0]
    order = _in_order(first)
    truth, total = first.truth[order], np.zeros((len(first), len(first.labels)))
    names = [first.sha256[i] for i in order]
    for run in runs:
        rows = _in_order(run)
        same = run.labels == first.labels and [run.sha256[i] for i in rows] == names
        if not same or not np.array_equal(run.truth[rows], truth):
            raise MaltriageError(f"{run.recipe}, seed {run.seed}: predictions of other files")
        scale = metrics.temperature(run.logits, run.truth) or 1.0
        total += np.exp(metrics.log_softmax(run.logits[rows] / scale))
    shares = total / len(runs)
    best = shares.argmax(axis=1)
    column = {label: i for i, label in enumerate(first.labels)}
    doubts = []
    for i, name in enumerate(names):
        label, likelier = first.labels[truth[i]], first.labels[best[i]]
        now = (own or {}).get(name, (label,))
        label = label if label in now else min(now)
        if label != likelier and shares[i, best[i]] > EVEN:
            chance = float(shares[i, column[label]]) if label in column else 0.0
            doubts.append(Doubt(name, label, likelier, chance, float(shares[i, best[i]])))
    return sorted(doubts, key=lambda doubt: doubt.probability - doubt.likelier_probability)


def _in_order(run: Predictions) -> Ints:
    """The rows by digest; a file that is there twice, under two labels, by label."""
    return np.lexsort((run.truth, np.array(run.sha256)))
