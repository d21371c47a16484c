"""Finds the rows of a large index that may be the nearest, without a product with each row.

Embeddings of files fill a few of their directions: the 63 widest hold more than nine tenths of
their squared length. The cosine of a row and a query is at most the product of these parts, plus
that of the lengths of the rest (Cauchy and Schwarz). Where that is less than what a few likely rows
reach, the row is none of the nearest. So the search is exact, and reads an eighth of the index: of
the one that ships a four hundredth of the rows is then left. Where the bound tells nothing, as with
vectors that fill all directions alike, all rows are left.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

HEAD = 63
"""The widest directions, looked at of every row; with the length of the rest that is 64 numbers."""
SEEN = 8192
"""Rows, spread evenly, that the directions are taken from: any are right, and these are good."""
PART = 8192
"""Rows that are looked at together; they fit into the processor's cache."""
BLOCK, TRIED = 256, 64
"""Of so many blocks, those with the highest bounds, the best row is tried first."""
_SLACK = np.float32(2e-5)
"""More than float32 errs by in a bound, and distances by when they are rounded."""


class Pruned:
    """Bounds on the cosines of rows [n, D], of unit length or zero, with queries."""

    def __init__(self, vectors: Float32) -> None:
        self._vectors = vectors
        some = vectors[:: max(len(vectors) // SEEN, 1)].astype(np.float64)
        _, axes = np.linalg.eigh(some.T @ some)
        self._axes = np.ascontiguousarray(axes[:, ::-1][:, :HEAD], dtype=np.float32)
        self._heads = self._looked_at(vectors)

    def rows(self, queries: Float32, count: int, own: list[int | None]) -> Iterator[Rows]:
        """For each query [B, D] the rows, in order, that hold its `count` nearest ones.

        Args:
            queries: of unit length or zero; one that is not finite has no rows.
            count: at most the number of blocks.
            own: of each query the row that is left out, if any.
        """
        heads = self._looked_at(queries).T
        bounds = np.empty((len(queries), len(self._heads)), dtype=np.float32)
        for start in range(0, len(self._heads), PART):
            # With the long side first the product is three times as fast.
            part = self._heads[start : start + PART] @ heads
            bounds[:, start : start + PART] = part.T
        for query, bound, without in zip(queries, bounds, own, strict=True):
            if without is not None:
                bound[without] = -np.inf
            blocks = bound[: len(bound) // BLOCK * BLOCK].reshape(-1, BLOCK)
            best = np.argpartition(blocks.max(axis=1), -min(TRIED, len(blocks)))[-TRIED:]
            tried = best * BLOCK + blocks[best].argmax(axis=1)
            reached = np.sort(self._vectors[tried] @ query)[-count]
            yield np.flatnonzero(bound >= reached - _SLACK)

    def _looked_at(self, vectors: Float32) -> Float32:
        """Of each vector its parts in the widest directions, and the most that its rest has."""
        found = np.empty((len(vectors), self._axes.shape[1] + 1), dtype=np.float32)
        np.matmul(vectors, self._axes, out=found[:, :-1])
        left = np.maximum(1 - np.square(found[:, :-1]).sum(axis=1), 0)
        found[:, -1] = np.sqrt(left) + _SLACK
        return found
