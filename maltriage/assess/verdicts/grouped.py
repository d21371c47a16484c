"""Intervals over whole groups of near duplicates: files of one group are no separate evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from maltriage import metrics
from maltriage.metrics import Bools, Floats, Interval, Ints
from maltriage.report.documents.by_column import Counted


def counted(hits: Bools, groups: Ints) -> Counted | None:
    """How many of some files, [n], are hits; None without files."""
    if not len(hits):
        return None
    place = np.unique(groups, return_inverse=True)[1]
    files, of = np.bincount(place), np.bincount(place, hits)
    count, found = len(files), int(hits.sum())
    if found in (0, len(hits)):  # a bootstrap would know nothing else
        rate = metrics.clopper_pearson(count if found else 0, count)
    else:
        rate = metrics.bootstrap(lambda at: float(of[at].sum() / files[at].sum()), count)
    return Counted(len(hits), count, found, rate)


def over_groups(figure: Callable[[Ints], float], groups: Ints, *, upward: bool = False) -> Interval:
    """A figure of rows, [n], with its interval over whole groups; see `metrics.bootstrap`."""
    members = members_of(groups)
    return metrics.bootstrap(
        lambda at: figure(np.concatenate([members[i] for i in at])), len(members), upward=upward
    )


def members_of(groups: Ints) -> list[Ints]:
    """The rows of each group."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return np.split(order, starts)


Weights = npt.NDArray[np.float64]
"""How often each file of a side counts in a round of a bootstrap."""


def auc(
    malware: Floats, groups: Ints, clean: Floats, clean_groups: Ints, *, rounds: int = 1000
) -> Interval:
    """Area under the ROC curve, with its 95 % interval over whole groups of either side.

    Args:
        malware, clean: scores, [n] and [m], one or more of each.
        groups, clean_groups: of the same files.
    """
    place, size = _places(malware, clean)

    def area(bad: Weights, good: Weights) -> list[float]:
        hits = np.bincount(place[: len(malware)], bad, minlength=size)
        others = np.bincount(place[len(malware) :], good, minlength=size)
        below = np.cumsum(others) - others / 2  # ties count half
        return [float(hits @ below / (hits.sum() * others.sum()))]

    return _two_sides(area, groups, clean_groups, rounds)[0]


def found_first(
    malware: Floats,
    groups: Ints,
    clean: Floats,
    clean_groups: Ints,
    *,
    share: float,
    first: Sequence[float],
    rounds: int = 1000,
) -> list[Interval]:
    """The share of the malware among the files of the highest scores, where malware is a given
    share of all files: recall at a depth. Files of equal scores are read in any order, so the
    mean of all orders counts. With 95 % intervals as `auc` has them.

    Args:
        malware, clean: scores, [n] and [m], one or more of each.
        groups, clean_groups: of the same files.
        share: of the files that is malware, above 0 and below 1.
        first: depths, each as a share of the files that are read.
    """
    place, size = _places(malware, clean)

    def recall(bad: Weights, good: Weights) -> list[float]:
        hits = np.bincount(place[: len(malware)], bad, minlength=size)[::-1]
        others = np.bincount(place[len(malware) :], good, minlength=size)[::-1]
        found = np.cumsum(hits) / hits.sum()
        read = share * found + (1 - share) * np.cumsum(others) / others.sum()
        return np.interp(first, np.r_[0.0, read], np.r_[0.0, found]).tolist()

    return _two_sides(recall, groups, clean_groups, rounds)


def _places(malware: Floats, clean: Floats) -> tuple[Ints, int]:
    """The place of each score among the different ones, [n + m], and how many these are."""
    scores, place = np.unique(np.concatenate([malware, clean]), return_inverse=True)
    return place, len(scores)


def _two_sides(
    figures: Callable[[Weights, Weights], list[float]],
    groups: Ints,
    clean_groups: Ints,
    rounds: int,
) -> list[Interval]:
    """Figures of two sides, with 95 % intervals.

    A round draws groups of malware and of clean files; files then count by how often their group
    was drawn.
    """
    sides = [np.unique(side, return_inverse=True)[1] for side in (groups, clean_groups)]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(rounds):
        weights = []
        for group in sides:
            count = int(group.max()) + 1
            times = np.bincount(rng.integers(0, count, count), minlength=count)
            weights.append(times[group].astype(np.float64))
        drawn.append(figures(*weights))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0).tolist()
    whole = figures(*(np.ones(len(group)) for group in sides))
    return [Interval(*three) for three in zip(whole, low, high, strict=True)]
