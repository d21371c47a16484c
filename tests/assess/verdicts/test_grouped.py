"""Intervals over whole groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage import metrics
from maltriage.assess.verdicts import grouped


def test_copies_are_no_evidence() -> None:
    """Thirty files of which ten are hits: alone, or as three groups of ten equal files."""
    hits = np.arange(30) < 10
    alone = grouped.counted(hits, np.arange(30))
    copies = grouped.counted(hits, np.arange(30) // 10)
    assert alone is not None
    assert copies is not None
    assert alone.rate.value == copies.rate.value == pytest.approx(1 / 3)
    assert (alone.groups, copies.groups, copies.files, copies.hits) == (30, 3, 30, 10)
    assert copies.rate.high - copies.rate.low > 1.5 * (alone.rate.high - alone.rate.low)


def test_none_and_all() -> None:
    assert grouped.counted(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64)) is None
    none = grouped.counted(np.zeros(40, dtype=bool), np.arange(40) // 2)
    every = grouped.counted(np.ones(40, dtype=bool), np.arange(40) // 2)
    assert none is not None
    assert every is not None
    assert none.rate == metrics.clopper_pearson(0, 20)
    assert every.rate == metrics.clopper_pearson(20, 20)
    assert none.rate.high > 0.1


@given(
    bad=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=15),
    good=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=15),
)
def test_the_area_is_that_of_all_pairs(
    bad: list[tuple[int, int]], good: list[tuple[int, int]]
) -> None:
    (malware, groups), (clean, others) = np.array(bad).T, np.array(good).T
    found = grouped.auc(malware.astype(float), groups, clean.astype(float), others, rounds=50)
    scores = np.concatenate([malware, clean]).astype(float)
    wanted = metrics.auc(scores, np.arange(len(scores)) < len(malware))
    assert found.value == pytest.approx(wanted)
    assert 0 <= found.low <= found.high <= 1


@given(
    bad=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=12),
    good=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=12),
    share=st.sampled_from([0.02, 0.1, 0.5]),
)
def test_found_first_is_the_mean_of_all_orders(
    bad: list[tuple[int, int]], good: list[tuple[int, int]], share: float
) -> None:
    """A collection of one file of each kind of content, read score by score."""
    (malware, groups), (clean, others) = np.array(bad).T, np.array(good).T
    first = (0.01, 0.1, 0.5, 1.0)
    found = grouped.found_first(
        malware.astype(float),
        groups,
        clean.astype(float),
        others,
        share=share,
        first=first,
        rounds=50,
    )
    for depth, at in zip(first, found, strict=True):
        left, hits = depth, 0.0
        for score in range(3, -4, -1):
            ill = share * (malware == score).mean()
            every = ill + (1 - share) * (clean == score).mean()
            if every:
                taken = min(left, every)
                hits, left = hits + ill * taken / every, left - taken
        assert at.value == pytest.approx(hits / share)
        assert -1e-9 <= at.low <= at.high <= 1 + 1e-9
    assert found[-1].value == pytest.approx(1)


def test_found_first_where_the_order_is_perfect() -> None:
    """At most half of the malware can be in the first twentieth, where a tenth is malware."""
    found = grouped.found_first(
        np.arange(10.0, 20.0),
        np.arange(10),
        np.arange(-10.0, 0.0),
        np.arange(10),
        share=0.1,
        first=(0.05, 0.1, 0.2),
    )
    assert [at.value for at in found] == [0.5, 1.0, 1.0]


def test_members() -> None:
    rows = grouped.members_of(np.array([7, 3, 7, 3, 5]))
    assert [part.tolist() for part in rows] == [[1, 3], [4], [0, 2]]
    mean = grouped.over_groups(lambda at: float(at.mean()), np.array([0, 0, 1]))
    assert mean.value == 1.0
    assert (mean.low, mean.high) == (0.5, 2.0)
