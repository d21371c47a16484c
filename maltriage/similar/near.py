"""Finds the nearest of the similarity digests that groups are found by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maltriage.similar.digest import BITS
from maltriage.similar.tlsh_distance import LENGTH, distances

_WORDS = BITS // 64


class NearEmbeddings:
    """Digests with the groups they belong to, compared one with all: exact."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._words = np.zeros((_WORDS, 1024), dtype=np.uint64)
        self._groups = list[int]()

    def add(self, bits: npt.NDArray[np.uint64], group: int) -> None:
        if len(self._groups) == self._words.shape[1]:
            self._words = np.concatenate((self._words, np.zeros_like(self._words)), axis=1)
        self._words[:, len(self._groups)] = bits
        self._groups.append(group)

    def nearest(self, bits: npt.NDArray[np.uint64]) -> int | None:
        """The group of the nearest digest, of equally near ones the first; None: all are too far.

        Most digests are told apart by their first bits alone, so that few are read to the end.
        """
        count = len(self._groups)
        near = np.flatnonzero(np.bitwise_count(self._words[0, :count] ^ bits[0]) <= self._limit)
        if not len(near):
            return None
        differ = np.bitwise_count(self._words[:, near] ^ bits[:, None]).sum(axis=0, dtype=np.int64)
        best = int(differ.argmin())
        return self._groups[int(near[best])] if differ[best] <= self._limit else None


class NearTlsh:
    """TLSH digests with the groups they belong to, compared one with all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._digests = np.zeros((1024, LENGTH), dtype=np.uint8)
        self._groups = list[int]()

    def add(self, digest: npt.NDArray[np.uint8], group: int) -> None:
        if len(self._groups) == len(self._digests):
            self._digests = np.concatenate((self._digests, np.zeros_like(self._digests)))
        self._digests[len(self._groups)] = digest
        self._groups.append(group)

    def nearest(self, digest: npt.NDArray[np.uint8]) -> int | None:
        """As `NearEmbeddings.nearest`."""
        if not self._groups:
            return None
        found = distances(digest, self._digests[: len(self._groups)])
        best = int(found.argmin())
        return self._groups[best] if found[best] <= self._limit else None
