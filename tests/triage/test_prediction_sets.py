"""Prediction sets: limits from scores, and what is in a set."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage import bundle as bundles
from maltriage.bundle import Conformal
from maltriage.errors import MaltriageError
from maltriage.triage.prediction_sets import (
    SetRule,
    family_share,
    needed,
    ranks,
    rule_of,
    set_rule,
)

LABELS = ("benign", "icedid", "maze")


def scored(**scores: list[float]) -> Conformal:
    return Conformal(
        coverage=0.9,
        temperature=1.0,
        source="a test",
        counts={label: len(values) for label, values in scores.items()},
        scores={label: tuple(sorted(values)) for label, values in scores.items()},
    )


def even(count: int) -> list[float]:
    """Scores of 1/count, 2/count, ... 1."""
    return [(i + 1) / count for i in range(count)]


@pytest.mark.parametrize(
    ("coverage", "count"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)]
)
def test_how_many_scores_a_limit_takes(coverage: float, count: int) -> None:
    assert needed(coverage) == count
    enough = rule_of(scored(benign=even(count), icedid=even(count)), LABELS[:2], coverage)
    assert enough.pooled == ()
    assert enough.limits.tolist() == [1.0, 1.0]  # the largest of them


@given(
    st.lists(st.floats(0, 1), min_size=19, max_size=60),
    st.sampled_from([0.5, 0.8, 0.9, 0.95]),
)
def test_a_limit_is_the_quantile_of_split_conformal(scores: list[float], coverage: float) -> None:
    limit = rule_of(scored(benign=scores, icedid=even(30)), LABELS[:2], coverage).limits[0]
    rank = math.ceil(round((len(scores) + 1) * coverage, 9))
    assert limit == sorted(scores)[rank - 1]


def test_labels_with_few_scores_share_a_limit() -> None:
    few = scored(benign=even(100), icedid=[0.1] * 10, maze=[0.3] * 10)
    rule = rule_of(few, LABELS, 0.95)
    assert rule.pooled == ("icedid", "maze")
    assert rule.limits.tolist() == [0.96, 0.3, 0.3]  # the 96th of 100, the 20th of 20
    assert rule_of(few, LABELS, 0.9).pooled == ()
    more = scored(benign=even(100), icedid=[0.1] * 10, maze=[0.3] * 10, zeus=[0.9] * 100)
    assert rule_of(more, (*LABELS, "zeus"), 0.95).limits.tolist() == [0.96, 0.3, 0.3, 0.9]


def test_where_they_are_too_few_together_all_families_share() -> None:
    rule = rule_of(scored(benign=even(100), icedid=[0.2] * 30, maze=[0.7] * 2), LABELS, 0.95)
    assert rule.pooled == ("maze",)
    assert rule.limits.tolist() == [0.96, 0.2, 0.7]  # the 32nd of the 32 of both families


def test_without_scores_a_label_cannot_be_excluded() -> None:
    rule = rule_of(scored(benign=even(100), icedid=[0.2]), LABELS, 0.9)
    assert rule.pooled == ("icedid", "maze")
    assert rule.limits.tolist() == [0.91, math.inf, math.inf]
    assert rule.members(np.array([1.0, 0.0, 0.0])).tolist() == [True, True, True]


def test_kept_scores_stand_for_all() -> None:
    every = np.random.default_rng(3).random(25_003)
    at = ranks(len(every), 1000)
    assert (at[0], at[-1], len(set(at.tolist()))) == (26, 25_003, 1000)
    kept = msgspec.structs.replace(
        scored(benign=[]),
        counts={"benign": len(every)},
        scores={"benign": tuple(np.sort(every)[at - 1].tolist())},
    )
    for coverage in (0.5, 0.9, 0.99, 0.999):
        limit = rule_of(kept, ("benign",), coverage).limits[0]
        exact = np.sort(every)[math.ceil((len(every) + 1) * coverage) - 1]
        assert exact <= limit <= exact + 0.002


def test_members() -> None:
    rule = rule_of(scored(benign=[0.5] * 9, icedid=[0.9] * 9, maze=[0.0] * 9), LABELS, 0.9)
    found = rule.members(np.array([[0.5, 0.3, 0.2], [0.95, 0.05, 0.0], [0.0, 0.0, 1.0]]))
    assert found.tolist() == [[True, True, False], [True, False, False], [False, False, True]]


def test_noise_excludes_nothing() -> None:
    rule = rule_of(scored(benign=[0.25] * 9, icedid=[0.75] * 9), LABELS[:2], 0.9)
    assert rule.members(np.array([0.75 - 4e-7, 0.25 - 4e-7])).tolist() == [True, True]
    assert rule.members(np.array([0.75 - 4e-6, 0.25 - 4e-6])).tolist() == [False, False]


@pytest.mark.parametrize(
    ("members", "probabilities", "named"),
    [
        ([False, True, False], [0.1, 0.5, 0.4], True),
        ([True, True, False], [0.4, 0.35, 0.25], True),  # the only family in the set
        ([False, True, True], [0.1, 0.5, 0.4], True),  # not the only one, but even odds
        ([False, True, True], [0.3, 0.4, 0.3], False),  # a guess among several
        ([False, False, True], [0.0, 0.7, 0.3], False),  # itself excluded
        ([True, False, False], [0.4, 0.6, 0.0], False),
        ([False, False, False], [0.0, 1.0, 0.0], False),
    ],
)
def test_when_a_family_is_named(
    members: list[bool], probabilities: list[float], named: bool
) -> None:
    rule = SetRule(0.9, np.zeros(3), ())
    assert rule.names(np.array(members), np.array(probabilities), 0) is named


@pytest.mark.parametrize(
    ("probabilities", "named"),
    [
        ([0.1, 0.65, 0.25], True),
        ([0.8, 0.15, 0.05], True),  # of the families alone
        ([0.1, 0.6, 0.3], False),
        ([1.0, 0.0, 0.0], False),
    ],
)
def test_a_family_is_named_from_its_share_of_the_families(
    probabilities: list[float], named: bool
) -> None:
    rule = SetRule(0.9, np.zeros(3), (), named_from=0.7)
    assert rule.names(np.array([True] * 3), np.array(probabilities), 0) is named
    assert not rule.names(np.array([True, False, False]), np.array(probabilities), 0)


def test_the_share_of_the_likeliest_family() -> None:
    rows = np.array([[0.5, 0.4, 0.1], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]])
    assert family_share(rows, 0).tolist() == pytest.approx([0.8, 0.75, 0.0])
    assert family_share(rows, None).tolist() == pytest.approx([0.5, 0.6, 1.0])


def test_a_model_of_families_alone() -> None:
    rule = SetRule(0.9, np.zeros(2), ())
    assert rule.names(np.array([True, False]), np.array([0.4, 0.6]), None) is False
    assert rule.names(np.array([True, False]), np.array([0.6, 0.4]), None) is True


def test_the_rule_of_a_card() -> None:
    card = msgspec.structs.replace(bundles.load(bundles.resolve(None)).card, conformal=None)
    assert set_rule(card) is None
    with pytest.raises(MaltriageError, match="no prediction sets"):
        set_rule(card, 0.9)
    made = msgspec.structs.replace(card, conformal=scored(benign=even(50)))
    rule, other = set_rule(made), set_rule(made, 0.8)
    assert rule is not None
    assert other is not None
    assert (rule.coverage, other.coverage) == (0.9, 0.8)
    assert rule.limits[0] > other.limits[0]


@pytest.mark.parametrize("coverage", [0.0, 0.49, 0.9999, 1.0, math.nan])
def test_a_coverage_out_of_range(coverage: float) -> None:
    with pytest.raises(MaltriageError, match="coverage"):
        rule_of(scored(benign=even(9)), LABELS, coverage)
