"""Novelty: how little a sample resembles anything that the model learned.

The score is the sum of two measures, each in units of its spread over out-of-fold files of known
labels. The energy of the logits (Liu et al., "Energy-based out-of-distribution detection", NeurIPS
2020) is high where no label gets much. The distance to the nearest label's mean is large where the
proportions of the logits are those of no label's files. The logits are the embedding as the last
layer sees it; distances in the embedding itself separated unknown files worse
(docs/studies/novelty.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.bundle import Card, OpenSet
from maltriage.metrics import Floats

_AT_ONCE = 1 << 22
"""Numbers that distances are worked out of at once."""


@dataclass(frozen=True)
class Novelty:
    """The novelty score of a bundle."""

    stats: OpenSet
    means: Floats
    """Mean centred logits of the labels that have one, [M, K]."""

    def score(self, logits: npt.NDArray[np.floating]) -> Floats:
        """The score of logits [..., K], shape (...)."""
        return self.combined(energies(logits), distances(logits, self.means).min(axis=-1))

    def combined(self, energy: Floats, distance: Floats) -> Floats:
        """The score from its two measures, in the shape of both."""
        stats = self.stats
        scaled = (energy - stats.energy_mean) / stats.energy_sd
        return np.asarray(scaled + (distance - stats.distance_mean) / stats.distance_sd)


def novelty_of(card: Card) -> Novelty | None:
    """The score from a card's numbers, None where it has none."""
    return None if card.open_set is None else of_stats(card.open_set)


def of_stats(stats: OpenSet) -> Novelty:
    return Novelty(stats, np.array(list(stats.means.values()), dtype=np.float64))


def centred(logits: npt.NDArray[np.floating]) -> Floats:
    """Logits [..., K] less their mean over the labels."""
    wide = np.asarray(logits, dtype=np.float64)
    return np.asarray(wide - wide.mean(axis=-1, keepdims=True))


def energies(logits: npt.NDArray[np.floating]) -> Floats:
    """-logsumexp of centred logits [..., K], shape (...)."""
    wide = centred(logits)
    top = wide.max(axis=-1)
    return np.asarray(-top - np.log(np.exp(wide - top[..., None]).sum(axis=-1)))


def distances(logits: npt.NDArray[np.floating], means: Floats) -> Floats:
    """Euclidean distances of centred logits [..., K] to the means [M, K], shape (..., M)."""
    wide = centred(logits)
    rows = wide.reshape(-1, wide.shape[-1])
    found = np.empty((len(rows), len(means)))
    step = max(1, _AT_ONCE // max(1, means.size))  # memory: rows x means x labels
    for at in range(0, len(rows), step):
        away = rows[at : at + step, None, :] - means
        found[at : at + step] = np.sqrt((away * away).sum(axis=-1))
    return found.reshape(*wide.shape[:-1], len(means))
