"""Figures of a classifier, from labels, logits, probabilities and maps. Plain numpy.

Training, evaluation and benchmarks share these definitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MIN_PAIRS = 3
"""Fewest pairs of numbers for a rank correlation."""
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
COMMON = (16, 16)
"""Grid that maps of different nets are compared on."""
_SSIM_WINDOW = 7
_SSIM_K1, _SSIM_K2 = 0.01, 0.03


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def confusion(truth: Ints, predicted: Ints, count: int) -> Ints:
    """Confusion matrix: shape (K, K), row = true label, column = predicted."""
    matrix = np.zeros((count, count), dtype=np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def label_scores(matrix: Ints) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each label, [K]; a quotient over 0 is 0.

    Args:
        matrix: see `confusion`.
    """
    hits = np.diag(matrix).astype(np.float64)
    predicted, support = matrix.sum(axis=0), matrix.sum(axis=1)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    return precision, recall, 2 * hits / np.maximum(predicted + support, 1)


def accuracy(truth: Ints, predicted: Ints) -> float:
    """Share of correct predictions; nan without samples."""
    return float((truth == predicted).mean()) if len(truth) else math.nan


def macro_f1(truth: Ints, predicted: Ints, count: int) -> float:
    """Mean F1 over the labels that occur in `truth`, each label counting the same.

    nan without samples.
    """
    if not len(truth):
        return math.nan
    matrix = confusion(truth, predicted, count)
    return float(label_scores(matrix)[2][matrix.sum(axis=1) > 0].mean())


def log_softmax(logits: Floats) -> Floats:
    """Logarithms of the probabilities, shape (n, K)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def log_loss(logits: Floats, truth: Ints) -> float:
    """Mean negative log likelihood of the true labels; nan without samples."""
    if not len(truth):
        return math.nan
    return float(-log_softmax(logits)[np.arange(len(truth)), truth].mean())


def temperature(logits: Floats, truth: Ints) -> float | None:
    """The temperature of least log loss (Guo et al. 2017), None without samples.

    The loss is convex in 1/T, so bisection on its slope finds the minimum.
    """
    if not len(truth):
        return None
    logits = np.asarray(logits, dtype=np.float64)
    own = logits[np.arange(len(truth)), truth]
    low, high = 1.0 / MAX_TEMPERATURE, 1.0 / MIN_TEMPERATURE
    for _ in range(60):
        scale = (low + high) / 2
        expected = (np.exp(log_softmax(logits * scale)) * logits).sum(axis=1)
        if float((expected - own).mean()) > 0:
            high = scale
        else:
            low = scale
    return 2.0 / (low + high)


def margins(logits: Floats, benign: int) -> Floats:
    """logsumexp of all logits but benign's, minus benign's, shape (n,): does not saturate."""
    others = np.delete(logits, benign, axis=1)
    top = others.max(axis=1)
    rest = np.log(np.exp(others - top[:, None]).sum(axis=1))
    return np.asarray(top + rest - logits[:, benign])


def auc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the share of pairs of a positive and a negative that the
    scores put in order, ties counting half. nan without one of the two.
    """
    hits, count = int(positive.sum()), len(scores)
    if not 0 < hits < count:
        return math.nan
    return float((_ranks(scores)[positive].sum() - hits * (hits + 1) / 2) / (hits * (count - hits)))


def ranked_counts(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Ints, Ints]:
    """Positives and negatives at or above each different score, highest score first.

    Returns:
        The scores, the positives at or above each, the negatives at or above each.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(positive[order], dtype=np.int64)[last]
    return ranked[last], hits, last + 1 - hits


def average_precision(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Area under the curve of precision over recall, in steps: the mean precision at the score
    of each positive, without interpolation. nan without positives.
    """
    if not positive.any():
        return math.nan
    _, hits, others = ranked_counts(scores, positive)
    return float((np.diff(hits, prepend=0) * hits / (hits + others)).sum() / hits[-1])


def rate_at(scores: Floats, positive: npt.NDArray[np.bool_], fpr: float) -> float:
    """True-positive rate at the score that at most `fpr` of the negatives exceed.

    nan without positives or negatives.
    """
    negative = np.sort(scores[~positive])[::-1]
    if not len(negative) or len(negative) == len(scores):
        return math.nan
    allowed = math.floor(fpr * len(negative) + 1e-9)  # 0.0006 of 5,000 is 3
    limit = negative[allowed] if allowed < len(negative) else -math.inf
    return float((scores[positive] > limit).mean())


def paired_difference(a: Floats, b: Floats, test_share: float) -> Interval:
    """Mean difference a - b of two recipes over the same folds, with a corrected 95 % interval.

    Training sets of different folds overlap, so the plain t-interval is too narrow: the
    variance of the mean is (1/n + test/train) s^2 (Nadeau and Bengio, Machine Learning 52,
    2003, section 3.3) with n - 1 degrees of freedom.

    Args:
        a, b: a figure of each recipe for every fold, shape (n,), n > 1; of several nets on one
            fold their mean.
        test_share: test samples / training samples of a fold.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    n = len(difference)
    if n < 2:
        raise ValueError("a paired difference needs two folds or more")
    mean, variance = float(difference.mean()), float(difference.var(ddof=1))
    reach = student_quantile(0.975, n - 1) * math.sqrt((1 / n + test_share) * variance)
    return Interval(mean, mean - reach, mean + reach)


def student_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's t distribution for p of 0.5 or more, by bisection.

    The distribution function is integrated over theta = atan(t / sqrt(freedom)), where the
    density is a smooth power of the cosine: Simpson's rule is exact to 1e-12 there.
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)

    def above_half(theta: float) -> float:
        at = np.linspace(0.0, theta, 2001)
        weight = np.ones(2001)
        weight[1:-1:2], weight[2:-1:2] = 4.0, 2.0
        return scale * float(np.cos(at) ** (freedom - 1) @ weight) * theta / 6000

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if above_half(middle) < p - 0.5 else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019).

    Args:
        confidence: probability of the predicted label, shape (n,).
        correct: true where the prediction is right, shape (n,).
    """
    gaps = [
        len(part) * abs(float(confidence[part].mean()) - float(correct[part].mean()))
        for part in equal_mass(confidence, bins)
    ]
    return sum(gaps) / len(confidence)


def equal_mass(values: Floats, bins: int) -> list[Ints]:
    """Indices of the values in bins of equal count (within one), lowest values first.

    Equal values stay together, so that bins do not depend on the order of the values: with many of
    them there are fewer bins, of other counts.
    """
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    parts = np.array_split(order, min(bins, len(order)))
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    cuts = np.unique(np.searchsorted(ranked, ranked[cuts]))
    return np.split(order, cuts[cuts > 0])


def fold_calibration_error(logits: Floats, truth: Ints, fold: Ints) -> float:
    """Calibration error of out-of-fold logits at temperatures fitted to the other folds.

    Args:
        logits: shape (n, K).
        truth: shape (n,).
        fold: of each sample, shape (n,).
    """
    confidence = np.exp(log_softmax(fold_scaled(logits, truth, fold)).max(axis=1))
    return calibration_error(confidence, logits.argmax(axis=1) == truth)


def fold_scaled(logits: Floats, truth: Ints, fold: Ints) -> Floats:
    """Logits, each divided by the temperature fitted to the other folds, shape (n, K).

    Logits of a single fold stay as they are. Arguments are those of `fold_calibration_error`.
    """
    scaled = np.array(logits, dtype=np.float64)
    for number in np.unique(fold):
        at = fold == number
        scaled[at] /= temperature(logits[~at], truth[~at]) or 1.0
    return scaled


def brier(logits: Floats, truth: Ints) -> Floats:
    """Brier score of each sample, shape (n,): the sum over the labels of the squared distance
    of its probability from 1 for the true label and 0 for another; 0 to 2 (Brier 1950).
    """
    shares = np.exp(log_softmax(logits))
    shares[np.arange(len(truth)), truth] -= 1.0
    return np.asarray((shares**2).sum(axis=1))


def rank_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float | None:
    """Spearman's rank correlation of two lists of numbers, ties at their mean rank.

    None with fewer than three pairs, or if one of the lists is constant.
    """
    ranks = [_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    if len(ranks[0]) < MIN_PAIRS:
        return None
    a, b = (values - values.mean() for values in ranks)
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else None


def _ranks(values: Floats) -> Floats:
    """Rank of each value from 1 on, [n]; equal values get their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return np.asarray((last - (counts - 1) / 2)[place])


def ssim(a: Floats, b: Floats) -> float:
    """Structural similarity of two maps of one shape [h, w], each scaled to a largest |value| of 1.

    Wang et al. 2004 ("Image quality assessment: from error visibility to structural
    similarity"), with a uniform window of 7 x 7 and the means over whole windows alone.
    """
    x, y = (np.asarray(m, dtype=np.float64) / max(float(np.abs(m).max()), 1e-12) for m in (a, b))

    def mean(values: Floats) -> Floats:
        windows = np.lib.stride_tricks.sliding_window_view(values, (_SSIM_WINDOW, _SSIM_WINDOW))
        return np.asarray(windows.mean(axis=(2, 3)))

    count = _SSIM_WINDOW * _SSIM_WINDOW
    unbiased = count / (count - 1)
    mx, my = mean(x), mean(y)
    vx, vy = unbiased * (mean(x * x) - mx * mx), unbiased * (mean(y * y) - my * my)
    both = unbiased * (mean(x * y) - mx * my)
    c1, c2 = _SSIM_K1**2, _SSIM_K2**2
    top = (2 * mx * my + c1) * (2 * both + c2)
    bottom = (mx * mx + my * my + c1) * (vx + vy + c2)
    return float((top / bottom).mean())


def bootstrap(
    figure: Callable[[Ints], float],
    count: int,
    *,
    seed: int = 0,
    upward: bool = False,
) -> Interval:
    """A figure and its 95 % percentile interval over resampled samples.

    Rounds in which the figure is nan (no malware was drawn, say) do not count.

    Args:
        figure: takes indices of samples, shape (n,), and returns the figure on them.
        count: number of samples.
        upward: the figure is a mean of absolute differences, which chance alone makes larger,
            and more so in a resample: the mean excess of the rounds is subtracted from the
            interval, which ends at 0. Otherwise the interval might lie above the figure.
    """
    rng = np.random.default_rng(seed)
    values = [figure(rng.integers(0, count, count)) for _ in range(1000)]
    known = [value for value in values if not math.isnan(value)] or [math.nan]
    low, high = (float(limit) for limit in np.quantile(known, [0.025, 0.975]))
    value = figure(np.arange(count))
    if upward:
        excess = max(0.0, float(np.mean(known)) - value)
        low, high = max(0.0, low - excess), max(value, high - excess)
        low = min(low, value)
    return Interval(value, low, high)


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
