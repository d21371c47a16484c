"""A corpus as tensors: batches of it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maltriage.corpus.cache import Corpus
from maltriage.sample.views import ViewSpec, WindowSpec


class Images:
    """The images of all samples of a corpus; a batch is made from the numbers of its rows.

    They stay where the corpus has them, which is a file where it is cached: batches alone
    are copied into memory. Windows are kept without their presence channel, which is made
    for each batch: that halves the size (about 45 KB a sample with the usual views).
    """

    def __init__(self, corpus: Corpus) -> None:
        self.views: tuple[ViewSpec, ...] = corpus.views
        self.labels = torch.from_numpy(corpus.label)
        own = len(corpus) - corpus.goodware_samples
        self.added = torch.arange(len(corpus)) >= own
        """Whether a sample is a clean file that was added to the dataset."""
        self._rows = corpus.rows
        self._arrays = corpus.arrays
        self._fixed = {v.name for v in corpus.views if isinstance(v, WindowSpec) and v.fixed}
        self._present = {name: torch.from_numpy(count) for name, count in corpus.present.items()}

    def __getstate__(self) -> dict[str, Any]:
        """For another process: a file that is mapped goes by its name, not with what is in it."""
        arrays = {name: _mapping(array) or array for name, array in self._arrays.items()}
        return self.__dict__ | {"_arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        arrays = {
            name: np.memmap(mode="r", **found) if isinstance(found, dict) else found
            for name, found in state["_arrays"].items()
        }
        self.__dict__.update(state | {"_arrays": arrays})

    def batch(self, index: Tensor, *, fixed: bool = False) -> dict[str, Tensor]:
        """Images of some samples by view, uint8 [n, *spec.shape]; `fixed`: such windows alone."""
        rows = self._rows[index.numpy()]
        images = {}
        for name, array in self._arrays.items():
            if fixed and name not in self._fixed:
                continue
            # Indexed by numpy: torch takes no array that cannot be written to.
            values = torch.from_numpy(array[rows])
            if name in self._present:
                exists = torch.arange(values.shape[1]) < self._present[name][rows, None]
                values = torch.stack([values, exists.to(torch.uint8)], dim=1)
            images[name] = values
        return images


def _mapping(array: npt.NDArray[np.uint8]) -> dict[str, Any] | None:
    """What maps the file of an array again, None where there is none."""
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
    """A seed from numbers, for a random stream of its own: (seed, epoch, step), say."""
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
