"""Sorted hashes come back as they were, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.probe.sorted_hashes import Keys, packed, unpacked

BITS = 40


def some(count: int) -> Keys:
    made = np.random.default_rng(7).integers(0, 1 << BITS, count, dtype=np.uint64)
    return np.unique(made)


@given(st.sets(st.integers(0, (1 << BITS) - 1), max_size=300))
def test_they_come_back(values: set[int]) -> None:
    hashes = np.array(sorted(values), dtype=np.uint64)
    np.testing.assert_array_equal(unpacked(packed(hashes, BITS), len(hashes), BITS), hashes)


@pytest.mark.parametrize("bits", [4, 10, 24, 33, 64])
def test_hashes_of_other_lengths(bits: int) -> None:
    hashes = np.unique(some(1000) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - bits))
    np.testing.assert_array_equal(unpacked(packed(hashes, bits), len(hashes), bits), hashes)


def test_an_entry_takes_two_bits_more_than_it_must() -> None:
    hashes = some(50_000)
    size = sum(array.nbytes for array in packed(hashes, BITS).values())
    assert 8 * size / len(hashes) < BITS - np.log2(len(hashes)) + 3


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("high", lambda a: a[:-1]),
        ("high", lambda a: np.concatenate((a, np.full(1, 1, np.uint8)))),
        ("high", lambda a: a.astype(np.uint16)),
        ("high", lambda a: a[None]),
        ("high", lambda a: np.concatenate((np.zeros(4096, np.uint8), a))),
        ("high", lambda a: np.concatenate((a, np.zeros(1 << 20, np.uint8)))),
        ("low", lambda a: a[:, :-1]),
        ("low", lambda a: a[:, ::-1]),
        ("low", lambda a: a[:-1]),
        ("rest", lambda a: a[:, :-1]),
        ("rest", lambda a: np.concatenate((a, a))),
    ],
)
def test_what_is_damaged_is_refused(name: str, change) -> None:  # type: ignore[no-untyped-def]
    parts = packed(some(3000), BITS)
    parts[name] = change(parts[name])
    with pytest.raises(ValueError, match=r"other arrays|number of entries|not in order"):
        unpacked(parts, len(some(3000)), BITS)


def test_hashes_that_are_not_in_order_are_not_packed() -> None:
    with pytest.raises(ValueError, match="not in order"):
        packed(some(10)[::-1], BITS)
    with pytest.raises(ValueError, match="not in order"):
        packed(np.array([3, 3], dtype=np.uint64), BITS)
