"""Distances between TLSH digests (Oliver, Cheng and Chen 2013, "TLSH - A Locality Sensitive
Hash"), of one digest to many, without the library that makes them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

LENGTH = 35
"""Bytes: a checksum, the length, two ratios of quartiles, and 128 buckets of two bits each."""
_STEP = 12
"""What a difference of the length or of a ratio counts for, from the second step on."""
_DIGEST = re.compile(r"(?:T1)?([0-9A-Fa-f]{70})")


def parsed(digest: str | None) -> Bytes | None:
    """The bytes of a digest, [LENGTH]; None for anything else."""
    found = _DIGEST.fullmatch(digest or "")
    if found is None:
        return None
    data = np.frombuffer(bytes.fromhex(found[1]), dtype=np.uint8).copy()
    data[:3] = data[:3] << 4 | data[:3] >> 4  # written with their nibbles swapped
    return data


def distances(one: Bytes, others: Bytes) -> Integers:
    """The distances of a digest, [LENGTH], to others, [n, LENGTH]: [n], 0 for equal ones."""
    found: Integers = (others[:, 0] != one[0]).astype(np.int64)
    length = _around(others[:, 1], int(one[1]), 256)
    found += np.where(length <= 1, length, length * _STEP)
    for shift in (0, 4):
        ratio = _around(others[:, 2] >> shift & 15, int(one[2]) >> shift & 15, 16)
        found += np.where(ratio <= 1, ratio, (ratio - 1) * _STEP)
    table = _buckets()
    for at in range(3, LENGTH):
        found += table[one[at]][others[:, at]]
    return found


def _around(values: npt.NDArray[Any], value: int, size: int) -> Integers:
    """The distances on a circle of `size` steps."""
    apart = np.abs(values.astype(np.int64) - value)
    return np.asarray(np.minimum(apart, size - apart), dtype=np.int64)


@lru_cache(maxsize=1)
def _buckets() -> Integers:
    """The distance of two bytes, each of four buckets: [256, 256]. Buckets that are three apart
    count for six."""
    codes = np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3
    apart = np.abs(codes[:, None, :] - codes[None, :, :])
    return np.asarray(np.where(apart == 3, 6, apart).sum(axis=2), dtype=np.int64)
