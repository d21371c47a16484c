"""Reliability of probabilities and detection of malware, on numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from maltriage import metrics
from maltriage.assess.verdicts.quality import MAX_POINTS, detection, f1_interval, reliability


def drawn(count: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn from their probabilities before they were scaled."""
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(count, 4)) * 2
    truth = np.array([rng.choice(4, p=row) for row in np.exp(metrics.log_softmax(logits))])
    return scale * logits[None], truth[None]


def test_probabilities_that_are_true_lie_on_the_diagonal() -> None:
    found = reliability(*drawn(4000, 1.0))
    assert sum(row.count for row in found.bins) == 4000
    assert {row.count for row in found.bins} == {400}
    assert sum(row.right.low <= row.confidence <= row.right.high for row in found.bins) >= 9
    confidences = [row.confidence for row in found.bins]
    assert confidences == sorted(confidences)
    assert found.ece.low <= found.ece.value <= found.ece.high < 0.03


def test_a_net_that_is_too_sure_shows() -> None:
    true, sure = reliability(*drawn(2000, 1.0)), reliability(*drawn(2000, 3.0))
    assert sure.ece.low > true.ece.high
    assert sure.brier.value > true.brier.value
    assert all(row.confidence > row.right.value for row in sure.bins[2:])


def test_seeds_of_one_sample_are_drawn_together() -> None:
    """Two nets that say the same of each sample are no more samples than one."""
    logits, truth = drawn(300, 1.0)
    once = reliability(logits, truth)
    twice = reliability(np.repeat(logits, 2, axis=0), np.repeat(truth, 2, axis=0))
    assert twice.brier.value == pytest.approx(once.brier.value)
    assert twice.brier.low == pytest.approx(once.brier.low)
    assert twice.brier.high == pytest.approx(once.brier.high)
    said = logits.argmax(axis=2)
    both = f1_interval(np.repeat(truth, 2, axis=0), np.repeat(said, 2, axis=0), 1)
    assert both == pytest.approx(f1_interval(truth, said, 1))


def test_detection_at_rates_that_the_benign_files_allow() -> None:
    rng = np.random.default_rng(0)
    malware = np.arange(1000) < 400
    margins = np.where(malware, rng.normal(2.0, 1.0, 1000), rng.normal(-1.0, 1.0, 1000))
    found = detection(margins[None], malware[None])
    assert found is not None
    assert (found.malware, found.benign) == (400, 600)
    first, second = found.at
    limit = np.sort(margins[~malware])[-7]  # six of 600 are 1 %
    assert first.tpr is not None
    assert first.tpr.value == pytest.approx((margins[malware] > limit).mean())
    assert first.tpr.low < first.tpr.value < first.tpr.high
    assert (second.tpr, second.why) == (None, "needs 3,000 benign files, there are 600")
    for curve in (found.roc, found.precision_recall):
        assert len(curve.x) == len(curve.y) <= MAX_POINTS
    assert (found.roc.x[0], found.roc.y[0], found.roc.x[-1], found.roc.y[-1]) == (0, 0, 1, 1)
    assert found.precision_recall.x[-1] == 1.0
    assert found.precision_recall.y[-1] == pytest.approx(0.4)
    area = np.trapezoid(found.roc.y, found.roc.x)
    assert area == pytest.approx(found.auc.value, abs=0.002)


def test_there_is_nothing_to_detect_among_one_kind() -> None:
    margins = np.zeros((1, 5))
    assert detection(margins, np.ones((1, 5), dtype=bool)) is None
    assert detection(margins, np.zeros((1, 5), dtype=bool)) is None


def test_one_malware_file_gives_finite_intervals() -> None:
    """Of a resample without it no figure is defined."""
    found = detection(np.array([[3.0, 0.0, 1.0]]), np.array([[True, False, False]]))
    assert found is not None
    assert (found.auc.low, found.auc.value, found.auc.high) == (1.0, 1.0, 1.0)
    assert found.at[0].tpr is None
