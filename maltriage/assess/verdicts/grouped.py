"""Intervals over whole groups of near duplicates: files of one group are no separate evidence."""

from __future__ import annotations

from collections.abc import Callable

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


def auc(
    malware: Floats, groups: Ints, clean: Floats, clean_groups: Ints, *, rounds: int = 1000
) -> Interval:
    """Area under the ROC curve, with its 95 % interval over whole groups of either side.

    A round draws groups of malware and of clean files; files then count by how often their group
    was drawn.

    Args:
        malware, clean: scores, [n] and [m], one or more of each.
        groups, clean_groups: of the same files.
    """
    place = np.unique(np.concatenate([malware, clean]), return_inverse=True)[1]
    size = int(place.max()) + 1
    sides = [
        (place[: len(malware)], np.unique(groups, return_inverse=True)[1]),
        (place[len(malware) :], np.unique(clean_groups, return_inverse=True)[1]),
    ]

    def area(weights: list[npt.NDArray[np.float64]]) -> float:
        bad, good = (
            np.bincount(rank, weight, minlength=size)
            for (rank, _), weight in zip(sides, weights, strict=True)
        )
        below = np.cumsum(good) - good / 2  # ties count half
        return float(bad @ below / (bad.sum() * good.sum()))

    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(rounds):
        weights = []
        for _, group in sides:
            count = int(group.max()) + 1
            times = np.bincount(rng.integers(0, count, count), minlength=count)
            weights.append(times[group].astype(np.float64))
        drawn.append(area(weights))
    low, high = (float(limit) for limit in np.quantile(drawn, [0.025, 0.975]))
    return Interval(area([np.ones(len(malware)), np.ones(len(clean))]), low, high)
