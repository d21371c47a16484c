"""Near duplicates: samples so alike that one in training gives the other one away.

Two samples are near duplicates if any of these holds; groups follow by transitivity
(union-find):

* the same bytes (sha256);
* the same bytes around the entry point, from 512 bytes ahead of it: at least 512 bytes with
  at least 32 different values, so that a run of padding does not count;
* byteplots of the same width whose mean planes (64 x 64 cells) differ by less than
  `MAX_DISTANCE` grey levels, root mean square.

Why 4 grey levels: among the 972 files of vx-mini, no two of them equal, the entry points
alone give 931 groups (704 of the files have lost theirs, see `sample.views.DEFAULT`). A
distance of 1 gives 922 groups, 4 gives 910 and 6 gives 902, none larger than 5 and none with
two families. From 8 on (891 groups) families merge.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.sample.byteplot import View
from maltriage.sample.views import BodySpec, WindowSpec

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

VIEWS: tuple[BodySpec, WindowSpec] = (
    BodySpec(size=64, channels=("mean",), name="twin:body"),
    WindowSpec("twin:entry", "entry", before=512, length=4096),
)
"""Views that near duplicates are found by: fixed, so that a split does not depend on the net."""

MIN_ENTRY_BYTES = 512
MIN_ENTRY_VALUES = 32
MAX_DISTANCE = 4.0
_BLOCK = 256
"""Planes compared with others at once: bounds memory to 0.4 GB for 100,000 of one width."""
_ROUNDING = 1e-6
"""Beyond what means of float64 can be wrong by."""
_ROUNDING32 = 4.0
"""Beyond what squared distances of 64 numbers below 128 can be wrong by in float32."""


@dataclass(frozen=True)
class Signs:
    """The data that near duplicates are found by, for n samples."""

    sha256: tuple[str, ...]
    entry: tuple[str, ...]
    """Digest of the bytes around the entry point; empty if they are trivial."""
    width: Integers
    """Width of the byteplot, [n]."""
    plane: Bytes
    """Mean plane of the byteplot, [n, 64, 64]."""
    code: tuple[str, ...] = ()
    """Name of its code in the tables of the dataset, empty where unknown; (): of none."""

    def take(self, at: Integers) -> Signs:
        """The signs of some samples, by their numbers."""
        return Signs(
            tuple(self.sha256[i] for i in at),
            tuple(self.entry[i] for i in at),
            self.width[at],
            self.plane[at],
            tuple(self.code[i] for i in at) if self.code else (),
        )


def entry_sign(entry: View) -> str:
    """Digest of the window at the entry point (32 hex digits), empty if it is trivial."""
    data = entry.pixels[0][entry.pixels[1] > 0]
    if len(data) < MIN_ENTRY_BYTES or len(np.unique(data)) < MIN_ENTRY_VALUES:
        return ""
    return hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest()


def near_twins(signs: Signs, max_distance: float = MAX_DISTANCE) -> Integers:
    """The group of each sample: [n], numbered from 0 in the order of their first sample."""
    groups = _Groups(len(signs.sha256))
    for keys in (signs.sha256, signs.entry, signs.code):
        members = dict[str, list[int]]()
        for i, key in enumerate(keys):
            if key:
                members.setdefault(key, []).append(i)
        for same in members.values():
            if len(same) > 1:
                groups.join(np.array(same))
    for width in np.unique(signs.width):
        rows = np.flatnonzero(signs.width == width)
        _join_close(signs.plane, rows, groups, max_distance)
    return np.unique(groups.of(np.arange(len(signs.sha256))), return_inverse=True)[1].astype(
        np.int64
    )


class _Groups:
    """Groups that grow together (union-find); each goes by its first sample."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count, dtype=np.int64)

    def of(self, samples: Integers) -> Integers:
        """The first sample of the group of each."""
        found = self._parent[samples]
        while (further := self._parent[found]).tolist() != found.tolist():
            found = further
        self._parent[samples] = found
        return found

    def join(self, samples: Integers) -> None:
        first, *others = np.unique(self.of(samples))
        self._parent[others] = first


def _join_close(planes: Bytes, rows: Integers, groups: _Groups, max_distance: float) -> None:
    """Join samples whose planes are closer than a root-mean-square distance in grey levels.

    The distance of two planes is at least that of their means, and that of the means over parts of
    them. So only pairs that are close by these are compared cell by cell, and of these only such as
    are not in one group already: a family may have thousands of files that are alike.

    Args:
        planes: of all samples, [n, 64, 64].
        rows: the samples to compare with each other.
    """
    coarse = np.concatenate([_coarse(planes[part]) for part in _parts(rows)])
    means = coarse.mean(axis=1)
    order = np.argsort(means, kind="stable")
    rows, coarse, means = rows[order], coarse[order], means[order]
    half = np.square(coarse).sum(axis=1, keepdims=True) / 2.0
    ones = np.ones_like(half)
    left = np.hstack((coarse, -half, -ones)).astype(np.float32)
    right = np.hstack((coarse, ones, half)).astype(np.float32)
    least = -(((max_distance + _ROUNDING) ** 2) * coarse.shape[1] + _ROUNDING32) / 2.0
    ends = np.searchsorted(means, means + max_distance + _ROUNDING)
    for start in range(0, len(rows), _BLOCK):
        stop = min(start + _BLOCK, len(rows))
        # ab - aa / 2 - bb / 2, which is minus half of the squared distance
        close = left[start:stop] @ right[start : ends[stop - 1]].T > least
        close[:, : stop - start] = np.triu(close[:, : stop - start], 1)
        for i in np.flatnonzero(close.any(axis=1)).tolist():
            own = rows[start + i]
            others = rows[start + np.flatnonzero(close[i])]
            others = others[groups.of(others) != groups.of(np.array([own]))]
            if not len(others):
                continue
            near = _distances(planes, int(own), others) < max_distance
            if near.any():
                groups.join(np.append(others[near], own))


def _parts(rows: Integers) -> list[Integers]:
    return [rows[at : at + _BLOCK] for at in range(0, len(rows), _BLOCK)]


def _coarse(planes: Bytes) -> npt.NDArray[np.float64]:
    """Means over parts of planes of 8 x 8 cells, less the middle of the range: [n, 64]."""
    cut = planes.reshape(len(planes), 8, 8, 8, 8).astype(np.float64)
    return np.asarray(cut.mean(axis=(2, 4)).reshape(len(planes), -1) - 128.0)


def _distances(planes: Bytes, one: int, others: Integers) -> npt.NDArray[np.float64]:
    """Root-mean-square distances of a plane from others, in grey levels."""
    own = planes[one].astype(np.int32)
    found = [
        np.square(planes[part].astype(np.int32) - own).mean(axis=(1, 2)) for part in _parts(others)
    ]
    return np.asarray(np.sqrt(np.concatenate(found)))
