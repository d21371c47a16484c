"""Reliability of probabilities, and detection of malware by the margin.

Arrays have a leading axis for seeds, since predictions of several nets on one sample are no
further samples: a bootstrap draws a sample with all of its predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maltriage import metrics
from maltriage.assess.verdicts.calibrate import files_needed
from maltriage.metrics import Bools, Floats, Interval, Ints
from maltriage.report.documents.evaluation import (
    Curve,
    Detection,
    LabelFigures,
    OperatingPoint,
    Reliability,
    ReliabilityBin,
    Spread,
)

BINS = 10
RATES = (0.01, 0.001)
"""False-positive rates of the reported true-positive rates."""
MAX_POINTS = 200
"""Most points of a curve in a document."""


def reliability(logits: Floats, truth: Ints) -> Reliability:
    """Accuracy by confidence.

    Args:
        logits: at the temperature under test, or log-probabilities; [S, n, K].
        truth: [S, n].
    """
    flat, labels = _flat(logits), truth.ravel()
    confidence = np.exp(metrics.log_softmax(flat).max(axis=1))
    right = flat.argmax(axis=1) == labels
    squares = metrics.brier(flat, labels)
    return Reliability(
        ece=_bootstrap(
            lambda at: metrics.calibration_error(confidence[at], right[at], BINS),
            truth.shape,
            upward=True,
        ),
        brier=_bootstrap(lambda at: float(squares[at].mean()), truth.shape),
        bins=[
            ReliabilityBin(
                float(confidence[part].mean()),
                metrics.clopper_pearson(int(right[part].sum()), len(part)),
                len(part),
            )
            for part in metrics.equal_mass(confidence, BINS)
        ],
    )


def detection(margins: Floats, malware: Bools) -> Detection | None:
    """Malware against benign by the margin; None if one of the two is missing.

    Args:
        margins: [S, n].
        malware: true for samples of any malware family, [S, n].
    """
    scores, positive = margins.ravel(), malware.ravel()
    if positive.all() or not positive.any():
        return None
    benign = int((~malware[0]).sum())
    _, hits, others = metrics.ranked_counts(scores, positive)
    recall, alarm = hits / hits[-1], others / others[-1]
    return Detection(
        malware=int(malware[0].sum()),
        benign=benign,
        auc=_bootstrap(lambda at: metrics.auc(scores[at], positive[at]), malware.shape),
        average_precision=_bootstrap(
            lambda at: metrics.average_precision(scores[at], positive[at]), malware.shape
        ),
        at=[_at(rate, scores, malware, benign) for rate in RATES],
        roc=_thinned(np.append(0.0, alarm), np.append(0.0, recall)),
        precision_recall=_thinned(recall, hits / (hits + others)),
    )


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation; 0 for the latter of a single value."""
    array = np.array(values)
    return Spread(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0)


def label_figures(matrix: Ints, labels: tuple[str, ...]) -> list[LabelFigures]:
    """Figures by label of a confusion matrix [K, K], without intervals."""
    rows = zip(labels, *metrics.label_scores(matrix), matrix.sum(axis=1), strict=True)
    return [LabelFigures(name, float(p), float(r), float(f), int(n)) for name, p, r, f, n in rows]


def f1_interval(truth: Ints, predicted: Ints, label: int) -> tuple[float, float]:
    """95 % bootstrap interval of a label's F1; arguments [S, n]."""
    has, said = (truth == label).ravel(), (predicted == label).ravel()

    def f1(at: Ints) -> float:
        hits = (has[at] & said[at]).sum()
        return float(2 * hits / max(1, has[at].sum() + said[at].sum()))

    interval = _bootstrap(f1, truth.shape)
    return interval.low, interval.high


def _at(rate: float, scores: Floats, malware: Bools, benign: int) -> OperatingPoint:
    needed, positive = files_needed(rate), malware.ravel()
    if benign < needed:
        return OperatingPoint(rate, None, f"needs {needed:,} benign files, there are {benign:,}")
    found = _bootstrap(lambda at: metrics.rate_at(scores[at], positive[at], rate), malware.shape)
    return OperatingPoint(rate, found)


def _bootstrap(
    figure: Callable[[Ints], float], shape: tuple[int, ...], *, upward: bool = False
) -> Interval:
    """A figure over rows of flattened arrays [S, n], resampled by sample."""
    seeds, count = shape
    rows = np.arange(seeds)[:, None] * count
    return metrics.bootstrap(lambda at: figure((rows + at).ravel()), count, upward=upward)


def _flat(logits: Floats) -> Floats:
    return logits.reshape(-1, logits.shape[-1])


def _thinned(x: Floats, y: Floats) -> Curve:
    """At most `MAX_POINTS` points, evenly along the curve, with its ends."""
    if len(x) > MAX_POINTS:
        along = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        wanted = np.linspace(0.0, along[-1], MAX_POINTS - 1)
        kept = np.unique(np.append(np.searchsorted(along, wanted), len(x) - 1))
        x, y = x[np.minimum(kept, len(x) - 1)], y[np.minimum(kept, len(y) - 1)]
    return Curve(x.tolist(), y.tolist())
