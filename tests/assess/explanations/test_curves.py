"""Orders of blocks, and areas under curves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.assess.explanations.curves import FRACTIONS, Blocks, area
from maltriage.sample.types import Layout, Region
from maltriage.triage.evidence import HOT_BLOCK
from maltriage.triage.occlusion import RangeGeometry

SIZES = st.integers(1, 60_000)


def layout_of(*sizes: int) -> Layout:
    edges = np.concatenate(([0], np.cumsum(sizes)))
    regions = [
        Region(f"r{i}", "section", int(edges[i]), int(edges[i + 1])) for i in range(len(sizes))
    ]
    return Layout("none", None, None, False, None, regions, {})


@given(SIZES, st.integers(0, 2**32), st.floats(0, 1))
def test_a_share_of_the_bytes_and_the_rest_are_the_file(
    size: int, seed: int, fraction: float
) -> None:
    blocks = Blocks.of(size)
    order = np.random.default_rng(seed).permutation(len(blocks.sizes))
    first, rest = blocks.divided(order, fraction)
    seen = np.zeros(size, dtype=np.int64)
    for ranges in (first, rest):
        flat = [edge for part in ranges for edge in part]
        assert all(a < b for a, b in pairwise(flat))  # ascending, joined
        for start, end in ranges:
            seen[start:end] += 1
    assert (seen == 1).all()
    assert abs(sum(end - start for start, end in first) - fraction * size) <= HOT_BLOCK / 2


@given(SIZES, st.integers(0, 2**32))
def test_more_takes_what_less_takes(size: int, seed: int) -> None:
    blocks = Blocks.of(size)
    order = np.random.default_rng(seed).permutation(len(blocks.sizes))
    before: set[int] = set()
    for fraction in FRACTIONS:
        first, _ = blocks.divided(order, fraction)
        taken = {start for a, b in first for start in range(a, b, HOT_BLOCK)}
        assert before <= taken
        before = taken
    assert len(before) == len(blocks.sizes)


@given(st.integers(2, 40_000), st.integers(0, 2**32), st.integers(0, 200))
def test_an_order_elsewhere_has_the_same_blocks_as_far_apart(size: int, seed: int, by: int) -> None:
    blocks = Blocks.of(size)
    count = len(blocks.sizes)
    order = np.random.default_rng(seed).permutation(count)
    moved = blocks.moved(order, by)
    assert sorted(moved) == list(range(count))
    assert ((moved - order) % count == by % count).all()


def test_the_hottest_per_byte_come_first() -> None:
    blocks = Blocks.of(3 * HOT_BLOCK + 16)  # the last block has 16 bytes
    assert blocks.by_heat(np.array([1.0, -3.0, 2.0, 0.5])).tolist() == [3, 2, 0, 1]
    assert blocks.by_heat(np.zeros(4)).tolist() == [0, 1, 2, 3]


def test_regions_by_size() -> None:
    size = HOT_BLOCK
    blocks = Blocks.of(6 * size)
    layout = layout_of(size, 3 * size, 0, 2 * size)
    assert blocks.by_region(layout).tolist() == [1, 2, 3, 4, 5, 0]


@given(SIZES, st.integers(0, 2**32))
def test_heat_of_blocks_is_all_heat(size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    edges = np.unique([0, size, *generator.integers(0, size + 1, 9)])
    heat = generator.normal(size=len(edges) - 1)
    blocks = Blocks.of(size)
    found = blocks.heat([(RangeGeometry(edges), heat), (RangeGeometry(edges), heat)])
    assert found.sum() == pytest.approx(2 * heat.sum(), abs=1e-9 * np.abs(heat).sum())
    assert len(found) == len(blocks.sizes)


def test_areas() -> None:
    assert area([1.0] * len(FRACTIONS)) == pytest.approx(1.0)
    assert area(FRACTIONS) == pytest.approx(0.5)
    assert area([1.0, *[0.0] * (len(FRACTIONS) - 1)]) == pytest.approx(FRACTIONS[1] / 2)
