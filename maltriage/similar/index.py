"""An index of labelled files: their embeddings by one bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage.bundle import BENIGN, Bundle
from maltriage.errors import MaltriageError
from maltriage.report.documents.index import IndexInfo, Limit
from maltriage.report.documents.record import ModelRef
from maltriage.version import __version__

FORMAT_VERSION = 1
MAX_LABEL = 256
"""Characters of a label."""
COSINE = "centred-cosine"
"""1 - the cosine of the angle between two embeddings less their centre: 0 in the same direction, 2
opposite. Without the centre all files look more alike: of the distances tried on files that the
nets had not seen, this one found the family most often (docs/studies/similar.md)."""

Float32 = npt.NDArray[np.float32]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The header of an index."""

    format_version: int = FORMAT_VERSION
    model: str
    weights_sha256: str
    """Weights of the bundle that made the embeddings: those of another one are not comparable."""
    distance: str = COSINE
    dimensions: int
    files: int
    labels: tuple[str, ...]
    """Those of the bundle first, then the user's own."""
    limit: Limit | None = None
    created: str
    changed: str
    maltriage_version: str


@dataclass(frozen=True)
class Index:
    """A checked index of n files."""

    header: Header
    centre: Float32
    """Mean embedding of the files that the index was built from, [D]."""
    embeddings: npt.NDArray[np.float16]
    """Less the centre, of unit length, [n, D]."""
    sha256: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    """Index into `header.labels`, [n]."""
    digest: str = ""
    """SHA-256 of the index file, and its size in bytes."""
    size: int = 0

    def __len__(self) -> int:
        return len(self.sha256)

    def counts(self) -> dict[str, int]:
        """Number of files of each label, in the order of the labels; none of 0."""
        numbers = np.bincount(self.labels, minlength=len(self.header.labels)).tolist()
        return {n: c for n, c in zip(self.header.labels, numbers, strict=True) if c}

    def malware(self) -> Iterator[str]:
        """The sha256 of each file that has another label than `benign`."""
        for digest, label in zip(self.sha256, self.labels.tolist(), strict=True):
            if self.header.labels[label] != BENIGN:
                yield digest

    def check(self, bundle: Bundle, path: Path | str) -> None:
        """Raise MaltriageError for embeddings of another bundle."""
        check_bundle(self.header, bundle, path)


def check_bundle(header: Header, bundle: Bundle, path: Path | str) -> None:
    """Raise MaltriageError for the header of an index of another bundle."""
    card, width = bundle.card, bundle.embedding_width
    if header.weights_sha256 != card.weights_sha256:
        raise MaltriageError(
            f"{path}: made with {header.model} {header.weights_sha256[:12]}, which is not"
            f" {card.name} {card.weights_sha256[:12]}: distances would mean nothing. Build it"
            " anew (maltriage index build), or scan without one (--index none)"
        )
    if header.files and width is not None and header.dimensions != width:
        raise not_an_index(path, f"{header.dimensions:,} dimensions, and {card.name} has {width:,}")


def not_an_index(path: Path | str, problem: str) -> MaltriageError:
    return MaltriageError(f"{path}: not an index of maltriage: {problem}")


def info(index: Index, bundle: Bundle | None, path: str) -> IndexInfo:
    """Description of an index.

    Args:
        bundle: of the index, or None; it separates the model's labels from the user's own.
    """
    header, counts = index.header, index.counts()
    known = counts if bundle is None else bundle.card.labels
    return IndexInfo(
        path=path,
        sha256=index.digest,
        size=index.size,
        model=ModelRef(header.model, header.weights_sha256),
        distance=header.distance,
        dimensions=header.dimensions,
        files=len(index),
        labels=counts,
        own_labels=tuple(label for label in counts if label not in known),
        limit=header.limit,
        created=header.created,
        changed=header.changed,
    )


@dataclass(frozen=True)
class Grown:
    """An index that has grown, and by how much."""

    index: Index
    added: int
    replaced: int
    """Files that were in it before, and now have their new label."""


def empty(bundle: Bundle, limit: Limit | None = None) -> Index:
    """An index of a bundle without any files."""
    now = _now()
    header = Header(
        model=bundle.card.name,
        weights_sha256=bundle.card.weights_sha256,
        dimensions=0,
        files=0,
        labels=bundle.card.labels,
        limit=limit,
        created=now,
        changed=now,
        maltriage_version=__version__,
    )
    nothing, nowhere = np.zeros((0, 0), np.float16), np.zeros(0, np.float32)
    return Index(header, nowhere, nothing, (), np.zeros(0, np.int32))


def grown(index: Index, sha256: Sequence[str], labels: Sequence[str], embeddings: Float32) -> Grown:
    """An index with more files. A file that is in it already is replaced.

    The first files set the centre, which then stays: distances do not change.

    Args:
        sha256: of each file; of a file given twice the last label counts.
        labels: of each file.
        embeddings: from the bundle, [m, D].

    Raises:
        MaltriageError: the index would be too large, or a label is invalid.
    """
    names = list(index.header.labels)
    numbers = {name: i for i, name in enumerate(names)}
    for label in labels:
        if label not in numbers:
            if not label or len(label) > MAX_LABEL or not label.isprintable():
                raise MaltriageError(f"not a label: {label[:40]!r} (1 to {MAX_LABEL} characters)")
            numbers[label] = len(names)
            names.append(label)
    last = {digest: row for row, digest in enumerate(sha256)}
    stay = [row for row, digest in enumerate(index.sha256) if digest not in last]
    new = list(last.values())
    centre = index.centre if len(index) else embeddings[new].mean(axis=0, dtype=np.float64)
    centre = np.asarray(centre, dtype=np.float32)
    vectors = directions(embeddings[new], centre).astype(np.float16)
    if len(index):
        vectors = np.concatenate((index.embeddings[stay], vectors))
    header = msgspec.structs.replace(
        index.header,
        dimensions=int(vectors.shape[1]),
        files=len(vectors),
        labels=tuple(names),
        changed=_now(),
        maltriage_version=__version__,
    )
    together = Index(
        header,
        centre,
        vectors,
        (*(index.sha256[row] for row in stay), *last),
        np.concatenate((index.labels[stay], [numbers[labels[row]] for row in new])).astype(
            np.int32
        ),
    )
    replaced = len(index) - len(stay)
    return Grown(together, len(new) - replaced, replaced)


def directions(embeddings: npt.NDArray[Any], centre: Float32 | float) -> Float32:
    """Embeddings [n, D] less a centre [D], of unit length; one at the centre has no direction
    and is zero."""
    wide = np.asarray(embeddings, dtype=np.float32) - centre
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(length > 0, length, 1), dtype=np.float32)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
