from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.assess import metrics

TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])


def test_against_hand_counts() -> None:
    matrix = metrics.confusion(TRUTH, PREDICTED, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    rows = metrics.label_figures(matrix, ("a", "b", "c", "d"))
    assert [row.support for row in rows] == [3, 2, 1, 0]
    assert [round(row.f1, 4) for row in rows] == [round(4 / 6, 4), 0.8, 0.0, 0.0]
    assert rows[0].precision == pytest.approx(2 / 3)
    assert metrics.accuracy(TRUTH, PREDICTED) == pytest.approx(4 / 6)
    # `d` does not occur, so it does not pull the mean down
    assert metrics.macro_f1(TRUTH, PREDICTED, 4) == pytest.approx((4 / 6 + 0.8) / 3)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60),
)
def test_against_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="the extra `train` is not installed")
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    present = sorted(set(truth.tolist()))
    expected = sklearn.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert metrics.macro_f1(truth, predicted, 5) == pytest.approx(expected)


def test_calibration_error() -> None:
    right = np.array([True] * 50 + [False] * 50)
    assert metrics.calibration_error(np.full(100, 0.5), right, bins=1) == pytest.approx(0.0)
    assert metrics.calibration_error(np.full(100, 0.9), right, bins=1) == pytest.approx(0.4)
    assert metrics.calibration_error(np.array([0.5]), np.array([True])) == pytest.approx(0.5)


def test_bootstrap_is_seeded_and_holds_the_value() -> None:
    def share(at: np.ndarray) -> float:
        return float((at < 30).mean())

    first, second = (metrics.bootstrap(share, 100, seed=3) for _ in range(2))
    assert first == second
    assert first.low < first.value == 0.3 < first.high


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 100, 0.0, 0.036217), (1, 100, 0.000253, 0.054459), (10, 10, 0.691503, 1.0)],
)
def test_clopper_pearson_against_published_values(
    hits: int, count: int, low: float, high: float
) -> None:
    found = metrics.clopper_pearson(hits, count)
    assert found.low == pytest.approx(low, abs=1e-5)
    assert found.high == pytest.approx(high, abs=1e-5)
