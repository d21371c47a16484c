"""Prediction sets of out-of-fold predictions, and how often they hold the right label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maltriage import metrics
from maltriage.assess.verdicts.conformal import DEFAULT_COVERAGE, coverage_of, fit, scores_of
from maltriage.assess.verdicts.folds import assess_folds
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.triage.prediction_sets import rule_of

LABELS = ("benign", "icedid", "maze", "rare")


def predictions(count: int = 2000, seed: int = 0, noise: float = 1.5) -> Predictions:
    """Samples of which one in a hundred is `rare`, with logits that are right on average."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, count, p=[0.5, 0.29, 0.2, 0.01])
    logits = 3.0 * np.eye(4)[truth] + rng.normal(0, noise, (count, 4))
    return Predictions(
        recipe="net",
        seed=seed,
        labels=LABELS,
        sha256=tuple(f"{i:064x}" for i in range(count)),
        truth=truth,
        fold=rng.integers(0, 5, count),
        added=np.arange(count) % 7 == 0,
        logits=logits,
    )


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_cover_what_was_asked_for(coverage: float) -> None:
    found = coverage_of(predictions(), coverage)
    assert found.held.low <= coverage <= found.held.high
    assert found.samples == 2000
    for label in found.labels:
        assert label.held.low - 0.01 <= coverage <= label.held.high + 0.01
    assert sum(row.samples * row.size for row in found.labels) == pytest.approx(
        found.samples * found.size
    )
    assert found.single_right <= found.single


def test_larger_coverage_larger_sets() -> None:
    small, large = coverage_of(predictions(), 0.8), coverage_of(predictions(), 0.99)
    assert small.size < large.size
    assert small.empty > large.empty


def test_a_family_with_few_files_shares_its_limit() -> None:
    by_label = {row.label: row for row in coverage_of(predictions(), 0.95).labels}
    assert by_label["rare"].samples < 25
    assert [label for label, row in by_label.items() if row.pooled] == ["rare"]


def test_named_families_are_right_more_often() -> None:
    found = coverage_of(predictions(), 0.9)
    assert min(found.named, found.unnamed) > 50
    assert found.named_right / found.named > found.unnamed_right / found.unnamed + 0.2


def test_limits_of_a_fold_come_from_the_others() -> None:
    """Where one fold's logits are wrong its own limits do not know that, and those of the others,
    which do, exclude nothing that is right there."""
    sound = predictions()
    last = sound.fold == 4
    logits = np.where(last[:, None], 6.0 * np.eye(4)[(sound.truth + 1) % 4], sound.logits)
    broken = coverage_of(replace(sound, logits=logits), 0.9)
    share = float(last.mean())
    assert broken.held.value == pytest.approx(1 - share, abs=0.02)


def test_what_the_card_keeps() -> None:
    found = predictions()
    temperature = metrics.temperature(found.logits, found.truth)
    assert temperature is not None
    made = scores_of(found, temperature, 0.9)
    assert made.counts == {n: int((found.truth == i).sum()) for i, n in enumerate(LABELS)}
    assert made.pooled == ()
    assert scores_of(found, temperature, 0.99).pooled == ("rare",)
    assert all(len(scores) <= 1000 for scores in made.scores.values())
    # Of the samples that the limits are made of, as many are held as were asked for.
    probabilities = np.exp(metrics.log_softmax(found.logits / temperature))
    held = rule_of(made, LABELS, 0.9).members(probabilities)[np.arange(len(found)), found.truth]
    for i in range(4):
        assert 0.9 <= held[found.truth == i].mean() <= 0.96


def test_many_scores_are_thinned() -> None:
    made = scores_of(predictions(12_000), 1.0, 0.9)
    assert made.counts["benign"] > 5_000
    assert len(made.scores["benign"]) == 1000


def test_one_fold_is_not_enough() -> None:
    with pytest.raises(MaltriageError, match="one fold"):
        coverage_of(replace(predictions(), fold=np.zeros(2000, dtype=np.int64)), 0.9)
    far = replace(predictions(), fold=predictions().fold * 99_999)  # no fit for folds of nothing
    assert coverage_of(far, 0.9) == coverage_of(predictions(), 0.9)


def test_a_set_for_each_seed_in_the_report() -> None:
    runs = [predictions(600, 0), predictions(600, 1)]
    assert assess_folds(runs).recipes[0].sets == []
    sets = assess_folds(runs, coverage=0.9).recipes[0].sets
    assert [(found.seed, found.samples) for found in sets] == [(0, 600), (1, 600)]  # added too


def test_a_fit_measures_what_it_makes() -> None:
    made, figures = fit(predictions(), 1.5, "a test")
    assert (made.coverage, made.temperature, made.source) == (DEFAULT_COVERAGE, 1.5, "a test")
    assert figures == coverage_of(predictions(), DEFAULT_COVERAGE)
    assert fit(predictions(), 1.5, "a test", 0.8)[0].coverage == 0.8
