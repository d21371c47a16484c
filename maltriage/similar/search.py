"""Finds the labelled files that a sample resembles, by the embeddings of its bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.files.regular import digest_of
from maltriage.report.documents.record import Neighbour, Similar
from maltriage.sample.types import Notice
from maltriage.similar import index_file
from maltriage.similar.index import Index, directions
from maltriage.similar.pruned import Pruned

NO_INDEX = "none"
"""Given as the path of an index: use none."""
NEAREST = 3
"""Number of files in a record."""
PRUNED_FROM = 10_000
"""Files of an index from which on most of them are passed over (`similar.pruned`): the product of a
smaller one stays in the processor's cache."""
_PART = 4096
"""Rows that are held in float64 at a time."""
_DIGITS = 5
"""Digits of a distance; further ones differ between processors."""
_SLACK = np.float32(2 * 10**-_DIGITS)
"""Cosines that are further apart have different distances."""


def open_index(bundle: Bundle, named: str | None) -> Searcher | None:
    """The searcher of similar files for a bundle.

    Args:
        named: path of an index; `NO_INDEX` for none; None for the bundle's own index, if it has
            one.

    Raises:
        MaltriageError: there is no such index, or it is one of another bundle.
    """
    path = path_of_index(bundle, named)
    return None if path is None else searcher_of(index_file.data_of(path), bundle, path)


def path_of_index(bundle: Bundle, named: str | None) -> Path | None:
    """The path of the index that `open_index` would open; None: it opens none."""
    if named == NO_INDEX:
        return None
    return Path(named) if named is not None else index_file.beside(bundle)


def searcher_of(data: bytes, bundle: Bundle, path: Path | str) -> Searcher:
    """As `open_index`, for the bytes of an index; errors name it `path`.

    Raises:
        MaltriageError: it is not an index, or one of another bundle.
    """
    return Searcher(index_file.parse(data, path, bundle))


def digest_of_index(bundle: Bundle, named: str | None) -> str | None:
    """SHA-256 of the index that `open_index` would open, in hex; None: it opens none.

    Raises:
        MaltriageError: it cannot be read.
    """
    path = path_of_index(bundle, named)
    return None if path is None else digest_of(path, "index")


class Searcher:
    """Finds the nearest files of an index: exact, and fast enough up to about a million files
    (docs/studies/similar.md)."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._vectors = directions(index.embeddings, 0.0)
        self._pruned = Pruned(self._vectors) if len(index) >= PRUNED_FROM else None
        self._row = {digest: row for row, digest in enumerate(index.sha256)}

    def distances(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Distances of embeddings [B, D] to every file of the index: shape (B, n), 0 to 2.

        Raises:
            MaltriageError: the embeddings have other dimensions than the index.
        """
        return _distances(self._cosines(embeddings))

    def _cosines(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._wanted(embeddings) @ self._vectors.T

    def _wanted(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if embeddings.shape[1] != self._vectors.shape[1]:
            raise MaltriageError(
                f"an index of {self._vectors.shape[1]} dimensions and a model of"
                f" {embeddings.shape[1]}"
            )
        return directions(embeddings, self.index.centre)

    def search(self, embeddings: npt.NDArray[np.float32], sha256: Sequence[str]) -> list[Similar]:
        """The nearest files of each sample of a batch. A sample is never its own neighbour.

        Args:
            embeddings: from the bundle, [B, D].
            sha256: of each sample.

        Raises:
            MaltriageError: the embeddings have other dimensions than the index.
        """
        if not len(self.index):
            return [self._similar(None, []) for _ in sha256]
        own = [self._row.get(digest) for digest in sha256]
        nearest = self._compared if self._pruned is None else self._looked_for
        found = zip(own, nearest(embeddings, own), strict=True)
        return [self._similar(row, near) for row, near in found]

    def _compared(
        self, embeddings: npt.NDArray[np.float32], own: list[int | None]
    ) -> Iterator[list[tuple[int, float]]]:
        """The nearest of each, by comparing with all."""
        queries = self._wanted(embeddings)
        # With the long side first the product is faster, as in `similar.pruned`.
        found = np.ascontiguousarray((self._vectors @ queries.T).T)
        for query, cosines, row in zip(queries, found, own, strict=True):
            if row is not None:
                cosines[row] = -np.inf
            yield self._exact(query, _near(cosines, NEAREST))

    def _looked_for(
        self, embeddings: npt.NDArray[np.float32], own: list[int | None]
    ) -> Iterator[list[tuple[int, float]]]:
        """The same, by comparing with those that can be among them."""
        assert self._pruned is not None
        queries = self._wanted(embeddings)
        candidates = self._pruned.rows(queries, NEAREST, own)
        for query, rows in zip(queries, candidates, strict=True):
            if len(rows) > len(self.index) // 4:  # a copy of so many takes longer than all
                cosines = (self._vectors @ query)[rows]
            else:
                cosines = self._vectors[rows] @ query
            yield self._exact(query, rows[_near(cosines, NEAREST)])

    def _exact(
        self, query: npt.NDArray[np.float32], near: npt.NDArray[np.intp]
    ) -> list[tuple[int, float]]:
        """The nearest of the rows that may be, by distances that do not depend on what else a batch
        holds, nor on which rows are compared: a product has other last digits for each size."""
        wide = query.astype(np.float64)
        parts = [near[i : i + _PART] for i in range(0, len(near), _PART)]
        exact = [(self._vectors[part] * wide).sum(axis=1) for part in parts]
        cosines = np.concatenate([*exact, np.zeros(0)])
        return self._ranked(_distances(cosines), near, NEAREST)

    def nearest(self, row: npt.NDArray[np.float64], count: int) -> list[tuple[int, float]]:
        """The `count` nearest files by distances (n,) that are finite, with their distances; at
        equal distance the smaller sha256 goes first."""
        finite = np.flatnonzero(np.isfinite(row))
        if count < len(finite):
            furthest = np.partition(row[finite], count - 1)[count - 1]
            finite = finite[row[finite] <= furthest]
        return self._ranked(row[finite], finite, count)

    def _ranked(
        self, distances: npt.NDArray[np.float64], rows: npt.NDArray[np.intp], count: int
    ) -> list[tuple[int, float]]:
        """The `count` nearest of some rows of the index, of which these are the distances."""
        sha256 = self.index.sha256
        pairs = zip(distances.tolist(), rows.tolist(), strict=True)
        ranked = sorted((distance, sha256[i], i) for distance, i in pairs)
        return [(i, distance) for distance, _, i in ranked[:count]]

    def _similar(self, own: int | None, nearest: list[tuple[int, float]]) -> Similar:
        header, labels = self.index.header, self.index.labels
        return Similar(
            index=self.index.digest,
            files=len(self.index),
            distance=header.distance,
            limit=header.limit.distance if header.limit else None,
            known_as=None if own is None else header.labels[labels[own]],
            nearest=[
                Neighbour(self.index.sha256[i], header.labels[labels[i]], distance)
                for i, distance in nearest
            ],
        )


def _distances(cosines: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.clip(1.0 - cosines.astype(np.float64), 0.0, 2.0).round(_DIGITS)


def _near(cosines: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """The rows that may be among the `count` nearest when their distances are rounded.

    It is told by the cosines as they are, so that only a few of them become distances: making
    and sorting those of all cost as much as the product of a small index. What is not finite, a
    file itself, is none of them.
    """
    if count < len(cosines):
        last = np.partition(cosines, -count)[-count]
        if np.isfinite(last):
            return np.flatnonzero(cosines >= last - _SLACK)
    return np.flatnonzero(np.isfinite(cosines))


def notices_on(similar: Similar, index: Index) -> list[Notice]:
    """The notice on a file that is in the index, or is near to none in it."""
    limit = index.header.limit
    if similar.known_as is not None:
        text = f"This very file is in the index of labelled files, as {similar.known_as}."
        return [Notice("in-index", text)]
    nearest = similar.nearest[0].distance if similar.nearest else 0.0
    if limit is None or nearest <= limit.distance:
        return []
    return [
        Notice(
            "unlike-index",
            f"Near to nothing in the index: the nearest of its {similar.files:,} files is at a"
            f" distance of {nearest:.3f}, and {limit.share:.0%} of the files that the model had"
            f" not seen have one within {limit.distance:.3f}.",
        )
    ]
