"""Finds the rows of a large index that may be the nearest, without a product with each row.

Embeddings of files fill a few of their directions: the 64 widest hold more than nine tenths of
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

HEAD = 64
"""The widest directions, that are looked at of every row."""
SEEN = 8192
"""Rows, spread evenly, that the directions are taken from: any are right, and these are good."""
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
        self._head = vectors @ self._axes
        self._rest = _rest(self._head)

    def rows(self, queries: Float32, count: int, own: list[int | None]) -> Iterator[Rows]:
        """For each query [B, D] the rows, in order, that hold its `count` nearest ones.

        Args:
            queries: of unit length or zero; one that is not finite has no rows.
            count: at most the number of blocks.
            own: of each query the row that is left out, if any.
        """
        heads = queries @ self._axes
        bounds, rests = heads @ self._head.T, _rest(heads)
        for query, bound, rest, without in zip(queries, bounds, rests, own, strict=True):
            bound += self._rest * rest
            if without is not None:
                bound[without] = -np.inf
            blocks = bound[: len(bound) // BLOCK * BLOCK].reshape(-1, BLOCK)
            best = np.argpartition(blocks.max(axis=1), -min(TRIED, len(blocks)))[-TRIED:]
            tried = best * BLOCK + blocks[best].argmax(axis=1)
            reached = np.sort(self._vectors[tried] @ query)[-count]
            yield np.flatnonzero(bound >= reached - _SLACK)


def _rest(heads: Float32) -> Float32:
    """The most that rows of unit length have outside of the widest directions."""
    left = np.maximum(1 - np.square(heads).sum(axis=1), 0)
    return np.asarray(np.sqrt(left) + _SLACK, dtype=np.float32)
