"""Figures of a classifier, from labels and probabilities. Plain numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from maltriage.report.measures import Interval, LabelFigures

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def confusion(truth: Ints, predicted: Ints, count: int) -> Ints:
    """Confusion matrix: shape (K, K), row = true label, column = predicted."""
    matrix = np.zeros((count, count), dtype=np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def label_figures(matrix: Ints, labels: tuple[str, ...]) -> list[LabelFigures]:
    """Figures per label; a quotient without a denominator is 0."""
    hits = np.diag(matrix).astype(np.float64)
    predicted, support = matrix.sum(axis=0), matrix.sum(axis=1)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(predicted + support, 1)
    return [
        LabelFigures(name, float(p), float(r), float(f), int(n))
        for name, p, r, f, n in zip(labels, precision, recall, f1, support, strict=True)
    ]


def accuracy(truth: Ints, predicted: Ints) -> float:
    return float((truth == predicted).mean())


def macro_f1(truth: Ints, predicted: Ints, count: int) -> float:
    """Mean F1 over the labels that occur in `truth`, each label counting the same."""
    matrix = confusion(truth, predicted, count)
    support = matrix.sum(axis=1)
    f1 = 2 * np.diag(matrix) / np.maximum(matrix.sum(axis=0) + support, 1)
    return float(f1[support > 0].mean())


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019).

    Args:
        confidence: probability of the predicted label, shape (n,).
        correct: whether it was right, shape (n,).
    """
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [len(p) * abs(float(confidence[p].mean()) - float(correct[p].mean())) for p in parts]
    return sum(gaps) / len(order)


def bootstrap(
    figure: Callable[[Ints], float], count: int, *, rounds: int = 1000, seed: int = 0
) -> Interval:
    """A figure and its 95 % percentile interval over resampled samples.

    Args:
        figure: takes indices of samples, shape (n,), and returns the figure on them.
        count: how many samples there are.
    """
    rng = np.random.default_rng(seed)
    values = [figure(rng.integers(0, count, count)) for _ in range(rounds)]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(figure(np.arange(count)), float(low), float(high))


def clopper_pearson(hits: int, count: int, level: float = 0.95) -> Interval:
    """A rate and its exact binomial interval (Clopper and Pearson 1934), by bisection."""
    tail = (1 - level) / 2

    def solve(below: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) else (low, middle)
        return (low + high) / 2

    lower = 0.0 if hits == 0 else solve(lambda p: 1 - _binomial(hits - 1, count, p) < tail)
    upper = 1.0 if hits == count else solve(lambda p: _binomial(hits, count, p) > tail)
    return Interval(hits / count, lower, upper)


def _binomial(hits: int, count: int, p: float) -> float:
    """Probability of at most `hits` successes in `count` trials."""
    if p in (0.0, 1.0):
        return 1.0 if p == 0.0 or hits >= count else 0.0
    k = np.arange(hits + 1, dtype=np.float64)
    # log of the binomial coefficients, by their recurrence
    steps = np.log((count - k[:-1]) / (k[:-1] + 1)) if hits else np.zeros(0)
    coefficients = np.concatenate(([0.0], np.cumsum(steps)))
    terms = coefficients + k * np.log(p) + (count - k) * np.log1p(-p)
    return float(min(1.0, np.exp(terms).sum()))
