"""Novelty: the score of what is like nothing known."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from maltriage import bundle as bundles
from maltriage.bundle import OpenSet
from maltriage.triage import novelty
from maltriage.triage.novelty import centred, distances, energies, novelty_of, of_stats

STATS = OpenSet(
    means={"benign": (4.0, -2.0, -2.0), "maze": (-2.0, -2.0, 4.0)},
    energy_mean=-4.0,
    energy_sd=0.5,
    distance_mean=1.0,
    distance_sd=2.0,
    limit=2.0,
    acceptance=0.95,
    files=100,
    source="a test",
)


def test_energy_is_high_where_no_label_gets_much() -> None:
    sure, unsure = np.array([6.0, -3.0, -3.0]), np.zeros(3)
    found = energies(np.stack([sure, unsure]))
    assert found == pytest.approx([-np.log(np.exp(sure).sum()), -np.log(3)])
    assert found[0] < found[1]
    assert energies(np.array([[2000.0, 0.0], [0.0, 0.0]])) == pytest.approx([-1000.0, -np.log(2)])


def test_logits_of_a_net_are_worked_with_in_double_precision() -> None:
    logits = np.array([1 / 3, 0.1, -2.0], dtype=np.float32)
    assert float(energies(logits)) == float(energies(logits.astype(np.float64)))


def test_a_constant_says_nothing() -> None:
    logits = np.array([[1.0, 2.0, 6.0], [0.5, -0.5, 0.0]])
    assert centred(logits + 7.0) == pytest.approx(centred(logits))
    score = of_stats(STATS)
    assert score.score(logits + 7.0) == pytest.approx(score.score(logits))


def test_distance_is_to_the_nearest_mean() -> None:
    logits = np.array([[4.0, -2.0, -2.0], [-2.0, -2.0, 4.0], [-2.0, 4.0, -2.0]])
    away = distances(logits, np.array(list(STATS.means.values())))
    assert away == pytest.approx(np.sqrt(72) * np.array([[0, 1], [1, 0], [1, 1]]))


def test_distances_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    logits, means = rng.normal(size=(2, 7, 5)), rng.normal(size=(4, 5))
    whole = distances(logits, means)
    assert whole.shape == (2, 7, 4)
    for at_once in (45, 1):
        monkeypatch.setattr(novelty, "_AT_ONCE", at_once)
        assert (distances(logits, means) == whole).all()


def test_the_score_is_in_units_of_spread() -> None:
    score = of_stats(STATS)
    logits = np.array([4.0, -2.0, -2.0])
    expected = (energies(logits) + 4.0) / 0.5 + (0.0 - 1.0) / 2.0
    assert score.score(logits) == pytest.approx(expected)
    known, strange = score.score(np.array([[4.0, -2.0, -2.0], [-2.0, 4.0, -2.0]]))
    assert known < strange


def test_of_a_card() -> None:
    card = bundles.load(bundles.resolve(None)).card
    assert novelty_of(msgspec.structs.replace(card, open_set=None)) is None
    found = novelty_of(msgspec.structs.replace(card, open_set=STATS))
    assert found is not None
    assert found.means.shape == (2, 3)
