"""Batches of a corpus as tensors."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maltriage.corpus.corpus import Corpus
from maltriage.sample.views import ViewSpec


class Images:
    """The images of all samples of a corpus; a batch is made from sample numbers.

    They stay in the corpus's arrays (files, if it is cached): only batches are copied into
    memory. Windows are stored without their presence channel, which is made for each batch:
    that halves the size (about 45 KB a sample with the default views).
    """

    def __init__(self, corpus: Corpus) -> None:
        self.views: tuple[ViewSpec, ...] = corpus.views
        self.labels = torch.from_numpy(corpus.label)
        own = len(corpus) - corpus.goodware_samples
        self.added = torch.arange(len(corpus)) >= own
        """True for clean files added to the dataset."""
        self._rows = corpus.rows
        self._own = _Stored(corpus.arrays, corpus.present)
        self._fixed = {v.name for v in corpus.views if v.fixed}
        changed = corpus.variants
        self.variants = None if changed is None else torch.from_numpy(changed.rows)
        """Rows of changed copies, [N, V], -1 for none. None: the corpus has no copies."""
        self._changed = None if changed is None else _Stored(changed.arrays, changed.present)

    def batch(
        self, index: Tensor, *, fixed: bool = False, variant: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Images of some samples by view, uint8 [n, *spec.shape].

        Args:
            index: sample numbers, [n].
            fixed: return only views that are `fixed`.
            variant: number of the changed copy to take instead of each sample, [n]; -1 or a
                missing copy: the sample itself.
        """
        names = [view.name for view in self.views if view.name in self._fixed or not fixed]
        images = self._own.images(names, self._rows[index.numpy()])
        if variant is None or self.variants is None or self._changed is None:
            return images
        rows = self.variants[index, variant.clamp(min=0)].numpy()
        at = np.flatnonzero((variant.numpy() >= 0) & (rows >= 0))
        for name, pixels in self._changed.images(names, rows[at]).items():
            images[name][at] = pixels
        return images


class _Stored:
    """Arrays of views, whose rows it returns as images."""

    def __init__(
        self, arrays: dict[str, npt.NDArray[np.uint8]], present: dict[str, npt.NDArray[np.int64]]
    ) -> None:
        self._arrays = arrays
        self._present = {name: torch.from_numpy(count) for name, count in present.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle for another process: mapped files go by name, not by content."""
        arrays = {name: _mapping(array) or array for name, array in self._arrays.items()}
        return self.__dict__ | {"_arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        arrays = {
            name: np.memmap(mode="r", **found) if isinstance(found, dict) else found
            for name, found in state["_arrays"].items()
        }
        self.__dict__.update(state | {"_arrays": arrays})

    def images(self, names: list[str], rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Copies of some rows by view, uint8 [n, *spec.shape]."""
        images = {}
        for name in names:
            # Indexed by numpy: torch takes no read-only array.
            values = torch.from_numpy(self._arrays[name][rows])
            if name in self._present:
                exists = torch.arange(values.shape[1]) < self._present[name][rows, None]
                values = torch.stack([values, exists.to(torch.uint8)], dim=1)
            images[name] = values
        return images


def _mapping(array: npt.NDArray[np.uint8]) -> dict[str, Any] | None:
    """The arguments that map an array's file again, None if it has no file."""
    mapped = array.base
    if not isinstance(mapped, np.memmap) or mapped.shape != array.shape or not mapped.filename:
        return None
    return {
        "filename": mapped.filename,
        "dtype": array.dtype,
        "shape": array.shape,
        "offset": mapped.offset,
    }


def key(*numbers: int) -> int:
    """A seed for a separate random stream, from numbers such as (seed, epoch, step)."""
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
