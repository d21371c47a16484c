"""The samples of a dataset in memory: identities, labels and the rows of their images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maltriage.corpus import array_store, twins
from maltriage.sample.types import Format, Notice
from maltriage.sample.views import ViewSpec

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

MARKS = ("packed?", "installer")
"""Notices on a file that a corpus keeps."""


@dataclass(frozen=True)
class Variants:
    """Changed copies of samples: row `rows[i, v]` of each array is sample i after `names[v]`.

    -1: the transformation does not apply to the sample. Arrays are like those of `Corpus`.
    """

    names: tuple[str, ...]
    rows: Integers
    arrays: dict[str, Bytes]
    present: dict[str, Integers]

    def take(self, at: npt.NDArray[np.intp]) -> Variants:
        """The variants of some samples, by sample number."""
        return replace(self, rows=self.rows[at])


@dataclass(frozen=True)
class Corpus:
    """The samples of a dataset; the images of sample i are row `rows[i]` of each array.

    A body view is stored as it is, a window as its bytes [N, length] and the number of bytes
    that exist (the others are zero). `pixels` returns both in the shape of their spec. The
    arrays of a cached corpus are read-only memory maps: only pages in use take memory.
    """

    dataset: str
    root: Path
    goodware: Path | None
    goodware_samples: int
    min_samples: int
    """Families with fewer files were left out."""
    labels: tuple[str, ...]
    views: tuple[ViewSpec, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    """Digest of the program's bytes, also if the file is a byteplot PNG."""
    sizes: Integers
    """Size of the program in bytes."""
    label: Integers
    """Index into `labels`."""
    first_seen: npt.NDArray[np.datetime64]
    """UTC, to the second; not-a-time if unknown."""
    kinds: tuple[str, ...]
    """`Layout.kind` of each sample, empty if it could not be read."""
    signs: twins.Signs
    rows: Integers
    """Row of each sample in the arrays."""
    arrays: dict[str, Bytes]
    """uint8 by view: [N, C, S, S] for a body, [N, length] for a window."""
    present: dict[str, Integers]
    """Number of existing bytes by window, [N]."""
    rejects: tuple[array_store.Reject, ...]
    """Files of the dataset that gave no sample."""
    notices: tuple[Notice, ...]
    formats: tuple[Format, ...]
    """`Prepared.format` of each sample."""
    unmapped: int
    """The byte that `??` in hex dumps was read as."""
    variants: Variants | None = None
    """Changed copies of the samples; None: not requested (`with_variants`)."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of the tables beside the files, a text for each sample; see `datasets.columns`."""
    marks: tuple[frozenset[str], ...] = ()
    """Those of `MARKS` that each sample has."""
    more_roots: tuple[Path, ...] = ()
    """Further folders of samples, after `root`."""

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, keep: npt.NDArray[np.bool_]) -> Corpus:
        """The corpus of the samples in a mask [N]; labels without samples are left out.

        The arrays are shared, not copied.
        """
        at = np.flatnonzero(keep)
        used = np.unique(self.label[at])
        return replace(
            self,
            goodware_samples=int((at >= len(self) - self.goodware_samples).sum()),
            labels=tuple(self.labels[label] for label in used),
            paths=tuple(self.paths[i] for i in at),
            sha256=tuple(self.sha256[i] for i in at),
            sizes=self.sizes[at],
            label=np.searchsorted(used, self.label[at]),
            first_seen=self.first_seen[at],
            kinds=tuple(self.kinds[i] for i in at),
            formats=tuple(self.formats[i] for i in at),
            signs=self.signs.take(at),
            rows=self.rows[at],
            variants=None if self.variants is None else self.variants.take(at),
            columns={name: tuple(of[i] for i in at) for name, of in self.columns.items()},
            marks=tuple(self.marks[i] for i in at) if self.marks else (),
        )

    def pixels(self, view: str, index: Integers | slice) -> Bytes:
        """The images of some samples, uint8 [n, *spec.shape]."""
        rows = self.rows[index]
        values = self.arrays[view][rows]
        if view not in self.present:
            return values
        exists = np.arange(values.shape[1]) < self.present[view][rows][:, None]
        return np.stack([values, exists.astype(np.uint8)], axis=1)
