"""Figures from labels, logits and probabilities, against their definitions."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from maltriage import metrics
from maltriage.assess.verdicts.quality import label_figures

TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])


def test_against_hand_counts() -> None:
    matrix = metrics.confusion(TRUTH, PREDICTED, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    precision, recall, f1 = metrics.label_scores(matrix)
    assert f1.round(4).tolist() == [round(4 / 6, 4), 0.8, 0.0, 0.0]
    assert (precision[0], recall[0], recall[1]) == pytest.approx((2 / 3, 2 / 3, 1.0))
    rows = label_figures(matrix, ("a", "b", "c", "d"))
    assert [row.support for row in rows] == [3, 2, 1, 0]
    assert [row.f1 for row in rows] == f1.tolist()
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
    assert metrics.accuracy(truth, predicted) == sklearn.accuracy_score(truth, predicted)
    matrix = metrics.confusion(truth, predicted, 5)
    assert matrix.tolist() == sklearn.confusion_matrix(truth, predicted, labels=range(5)).tolist()
    *scores, support = sklearn.precision_recall_fscore_support(
        truth, predicted, labels=range(5), zero_division=0
    )
    assert np.allclose(metrics.label_scores(matrix), scores)
    assert matrix.sum(axis=1).tolist() == support.tolist()


def test_calibration_error() -> None:
    right = np.array([True] * 50 + [False] * 50)
    assert metrics.calibration_error(np.full(100, 0.5), right, bins=1) == pytest.approx(0.0)
    assert metrics.calibration_error(np.full(100, 0.9), right, bins=1) == pytest.approx(0.4)
    assert metrics.calibration_error(np.array([0.5]), np.array([True])) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=60), st.randoms())
def test_calibration_error_does_not_depend_on_the_order(
    rows: list[tuple[int, bool]], random: Random
) -> None:
    mixed = random.sample(rows, len(rows))
    first, second = (
        metrics.calibration_error(np.array([c / 5 for c, _ in x]), np.array([r for _, r in x]))
        for x in (rows, mixed)
    )
    assert first == pytest.approx(second)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(1, 12))
def test_bins_of_equal_mass(values: list[int], bins: int) -> None:
    array = np.array(values, dtype=np.float64)
    parts = metrics.equal_mass(array, bins)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(values)))
    assert 1 <= len(parts) <= bins
    for before, after in pairwise(parts):
        assert array[before].max() < array[after].min()
    distinct = np.arange(len(values))[::-1].astype(np.float64)
    sizes = [len(part) for part in metrics.equal_mass(distinct, bins)]
    assert max(sizes) - min(sizes) <= 1


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


@given(st.integers(1, 400), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_clopper_pearson_against_scipy(count: int, data: st.DataObject, level: float) -> None:
    hits = data.draw(st.integers(0, count))
    expected = stats.binomtest(hits, count).proportion_ci(level, "exact")
    found = metrics.clopper_pearson(hits, count, level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_samples() -> None:
    none, logits = np.zeros(0, dtype=np.int64), np.zeros((0, 3))
    assert math.isnan(metrics.accuracy(none, none))
    assert math.isnan(metrics.macro_f1(none, none, 3))
    assert math.isnan(metrics.log_loss(logits, none))
    assert metrics.temperature(logits, none) is None
    assert math.isnan(metrics.auc(np.zeros(2), np.array([True, True])))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    shares = np.exp(metrics.log_softmax(logits))
    truth = np.array([rng.choice(5, p=row) for row in shares])
    assert metrics.temperature(logits * temperature, truth) == pytest.approx(temperature, rel=0.06)


def test_temperature_is_the_best() -> None:
    rng = np.random.default_rng(1)
    logits, truth = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    logits[np.arange(50), truth] += 2.0
    found = metrics.temperature(logits, truth)
    assert found is not None
    for other in (0.9 * found, 1.1 * found):
        assert metrics.log_loss(logits / found, truth) < metrics.log_loss(logits / other, truth)


def test_temperature_has_limits() -> None:
    """All right would ask for zero, all wrong for infinity: neither can be divided by."""
    logits, truth = np.eye(3) * 5, np.arange(3)
    assert metrics.temperature(logits, truth) == pytest.approx(0.05)
    assert metrics.temperature(-logits, truth) == pytest.approx(20.0)


def test_margin_does_not_saturate() -> None:
    logits = np.array([[0.0, 1.0, 2.0], [800.0, -800.0, -800.0]])
    found = metrics.margins(logits, 0)
    assert found[0] == pytest.approx(math.log(math.e + math.e**2))
    assert found[1] == pytest.approx(-1600 + math.log(2))


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706205), (2, 4.302653), (4, 2.776445), (9, 2.262157), (29, 2.045230), (1000, 1.962339)],
)
def test_student_quantile_against_published_values(freedom: int, quantile: float) -> None:
    assert metrics.student_quantile(0.975, freedom) == pytest.approx(quantile, abs=1e-5)


@given(st.integers(1, 300), st.floats(0.5, 0.9999))
def test_student_quantile_against_scipy(freedom: int, p: float) -> None:
    expected = stats.t.ppf(p, freedom)
    assert metrics.student_quantile(p, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_paired_difference_is_wider_than_the_plain_one() -> None:
    """By hand: differences 1, 2, 3, sd 1, variance of the mean (1/3 + 1/4), t(2) 4.302653."""
    found = metrics.paired_difference(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]), 0.25)
    assert found.value == pytest.approx(2.0)
    assert found.high - found.value == pytest.approx(4.302653 * math.sqrt(1 / 3 + 0.25), abs=1e-5)
    assert found.value - found.low == pytest.approx(found.high - found.value)
    with pytest.raises(ValueError, match="two folds"):
        metrics.paired_difference(np.zeros(1), np.zeros(1), 0.25)


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30).filter(
        lambda pairs: len({positive for _, positive in pairs}) == 2
    )
)
def test_auc_counts_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([float(score) for score, _ in pairs])
    positive = np.array([flag for _, flag in pairs])
    a, b = scores[positive][:, None], scores[~positive][None]
    expected = ((a > b) + 0.5 * (a == b)).mean()
    assert metrics.auc(scores, positive) == pytest.approx(expected)
    sklearn = pytest.importorskip("sklearn.metrics", reason="the extra `train` is not installed")
    assert metrics.auc(scores, positive) == pytest.approx(sklearn.roc_auc_score(positive, scores))
    limits, hits, others = metrics.ranked_counts(scores, positive)
    alarm, recall, at = sklearn.roc_curve(positive, scores, drop_intermediate=False)
    assert (alarm[1:].tolist(), recall[1:].tolist()) == (
        (others / others[-1]).tolist(),
        (hits / hits[-1]).tolist(),
    )
    assert at[1:].tolist() == limits.tolist()


@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32))
def test_log_loss_and_brier_against_scikit_learn(count: int, labels: int, seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="the extra `train` is not installed")
    rng = np.random.default_rng(seed)
    logits, truth = rng.normal(size=(count, labels)) * 3, rng.integers(0, labels, count)
    shares = np.exp(metrics.log_softmax(logits))
    expected = sklearn.log_loss(truth, shares, labels=range(labels))
    assert metrics.log_loss(logits, truth) == pytest.approx(expected)
    found = metrics.brier(logits, truth)
    one = (np.eye(labels)[truth] - shares) ** 2
    assert found == pytest.approx(one.sum(axis=1))


def test_fold_calibration_uses_the_other_folds() -> None:
    """Fold 1 is twice as sure as fold 0 and as often right: the temperature of fold 0 does
    not suit it, and its own, which would, is not used on it."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 4)) * 2
    shares = np.exp(metrics.log_softmax(logits))
    truth = np.array([rng.choice(4, p=row) for row in shares])
    fold = np.arange(4000) % 2
    assert metrics.fold_calibration_error(logits, truth, fold) < 0.03
    logits[fold == 1] *= 3.0
    assert metrics.fold_calibration_error(logits, truth, fold) > 0.1


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=30))
def test_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    found = metrics.rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_two_pairs_have_no_rank_correlation() -> None:
    assert metrics.rank_correlation([1.0, 2.0], [1.0, 2.0]) is None


def test_likeness_of_maps() -> None:
    a, b = np.random.default_rng(0).random((2, 16, 16))
    assert metrics.ssim(a, a) == pytest.approx(1.0)
    assert metrics.ssim(a, 7 * a) == pytest.approx(1.0)
    assert metrics.ssim(a, b) == pytest.approx(metrics.ssim(b, a))
    assert abs(metrics.ssim(a, b)) < 0.5
    assert metrics.ssim(a, a.mean() * 2 - a) < 0
    assert metrics.ssim(np.zeros((16, 16)), np.zeros((16, 16))) == pytest.approx(1.0)


def test_likeness_of_maps_by_its_definition() -> None:
    """Against the means over each window, taken one by one."""
    x, y = np.random.default_rng(1).normal(size=(2, 16, 16))
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    values = []
    for i in range(10):
        for j in range(10):
            p, q = (m[i : i + 7, j : j + 7].ravel() for m in (x, y))
            both = float(np.cov(p, q)[0, 1])
            top = (2 * p.mean() * q.mean() + 1e-4) * (2 * both + 9e-4)
            bottom = p.mean() ** 2 + q.mean() ** 2 + 1e-4
            values.append(float(top / (bottom * (p.var(ddof=1) + q.var(ddof=1) + 9e-4))))
    assert metrics.ssim(x, y) == pytest.approx(np.mean(values))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_average_precision_against_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="the extra `train` is not installed")
    scores = np.array([float(score) for score, _ in pairs])
    positive = np.array([flag for _, flag in pairs])
    if not positive.any():
        assert np.isnan(metrics.average_precision(scores, positive))
        return
    expected = sklearn.average_precision_score(positive, scores)
    assert metrics.average_precision(scores, positive) == pytest.approx(expected)


def test_the_share_found_at_a_rate() -> None:
    scores = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    positive = np.array([True, False, True, True, False, False])
    assert metrics.rate_at(scores, positive, 0.0) == pytest.approx(1 / 3)
    assert metrics.rate_at(scores, positive, 0.34) == 1.0
    assert metrics.rate_at(scores, positive, 1.0) == 1.0
    tied = np.array([1.0, 1.0, 0.0])
    assert metrics.rate_at(tied, np.array([True, False, False]), 0.5) == 1.0
    assert metrics.rate_at(tied, np.array([True, False, False]), 0.4) == 0.0  # level is not above
    assert np.isnan(metrics.rate_at(tied, np.ones(3, dtype=bool), 0.1))


def test_brier() -> None:
    certain = np.array([[50.0, 0.0], [50.0, 0.0]])
    assert metrics.brier(certain, np.array([0, 1])) == pytest.approx([0.0, 2.0])
    assert metrics.brier(np.zeros((1, 2)), np.array([0])) == pytest.approx([0.5])


def test_a_bootstrap_of_what_chance_makes_larger() -> None:
    """The calibration error of a resample is larger than that of the sample, on average."""
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1.0, 400)
    right = rng.random(400) < confidence

    def ece(at: np.ndarray) -> float:
        return metrics.calibration_error(confidence[at], right[at])

    plain, shifted = metrics.bootstrap(ece, 400), metrics.bootstrap(ece, 400, upward=True)
    assert shifted.value == plain.value
    assert 0.0 <= shifted.low <= shifted.value <= shifted.high < plain.high


def test_a_bootstrap_leaves_out_rounds_without_a_figure() -> None:
    found = metrics.bootstrap(lambda at: 1.0 if (at == 0).any() else float("nan"), 5)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
