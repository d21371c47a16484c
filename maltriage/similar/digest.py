"""Similarity digests of embeddings: few bits that tell how alike two files are to a model.

Each bit says on which side of a random plane an embedding lies (Charikar 2002, "Similarity
Estimation Techniques from Rounding Algorithms"): the share of bits that differ estimates the
angle between two embeddings, as a share of 180 degrees.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

BITS = 256


def embedding_digest(embedding: npt.NDArray[np.float32]) -> str:
    """The digest of one embedding, [D], as 64 hex digits."""
    # One by one: the product of a batch has other last digits for each size of it.
    sides = np.asarray(embedding, dtype=np.float64) @ _planes(len(embedding)) > 0
    return np.packbits(sides).tobytes().hex()


@lru_cache(maxsize=4)
def _planes(dimensions: int) -> npt.NDArray[np.float64]:
    """Normals of the planes, [D, BITS]: the same in every release of NumPy."""
    return np.random.RandomState(0).standard_normal((dimensions, BITS))
