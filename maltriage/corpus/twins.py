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
_BLOCK = 1024
"""Planes compared with all others at once: bounds memory to about 40 MB for 10,000."""


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
    parent = np.arange(len(signs.sha256), dtype=np.int64)

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def union(i: int, j: int) -> None:
        a, b = find(i), find(j)
        parent[max(a, b)] = min(a, b)

    for keys in (signs.sha256, signs.entry, signs.code):
        first = dict[str, int]()
        for i, key in enumerate(keys):
            if key:
                union(first.setdefault(key, i), i)
    for width in np.unique(signs.width):
        rows = np.flatnonzero(signs.width == width)
        for i, j in _close_pairs(signs.plane[rows], max_distance):
            union(int(rows[i]), int(rows[j]))
    roots = np.array([find(i) for i in range(len(parent))], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def _close_pairs(planes: Bytes, max_distance: float) -> list[tuple[int, int]]:
    """Pairs (i < j) of planes closer than a root-mean-square distance in grey levels.

    |a - b|^2 = |a|^2 + |b|^2 - 2ab, in blocks of rows; centred, so that float32 is exact
    enough (an error of about 0.01 grey levels).
    """
    flat = planes.reshape(len(planes), -1).astype(np.float32)
    flat -= flat.mean(axis=0)
    squares = (flat.astype(np.float64) ** 2).sum(axis=1)
    limit = max_distance**2 * flat.shape[1]
    pairs = list[tuple[int, int]]()
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        product = block @ flat[start:].T
        distance = squares[start : start + _BLOCK, None] + squares[None, start:] - 2.0 * product
        for i, j in np.argwhere(distance < limit):
            if i < j:
                pairs.append((start + int(i), start + int(j)))
    return pairs
