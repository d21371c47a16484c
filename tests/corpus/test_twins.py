"""Near duplicates: each rule alone, and what follows from them together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.corpus.twins import VIEWS, Signs, entry_sign, near_twins
from maltriage.sample.byteplot import View
from maltriage.sample.geometry import WindowGeometry


def signs(count: int, **other: object) -> Signs:
    """Samples that have nothing in common."""
    generator = np.random.default_rng(0)
    values: dict[str, object] = {
        "sha256": tuple(f"{i:064x}" for i in range(count)),
        "entry": tuple(f"{i:032x}" for i in range(count)),
        "width": np.full(count, 64),
        "plane": generator.integers(0, 256, (count, 64, 64), dtype=np.uint8),
    }
    return Signs(**(values | other))  # type: ignore[arg-type]


def test_strangers() -> None:
    assert near_twins(signs(5)).tolist() == [0, 1, 2, 3, 4]


def test_same_bytes() -> None:
    assert near_twins(signs(4, sha256=("a", "b", "a", "c"))).tolist() == [0, 1, 0, 2]


def test_same_entry_point_but_not_the_absence_of_one() -> None:
    assert near_twins(signs(5, entry=("x", "", "y", "", "x"))).tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(("levels", "alike"), [(3, True), (5, False)])
def test_alike_byteplots(levels: int, alike: bool) -> None:
    plane = np.full((3, 64, 64), 100, dtype=np.uint8)
    plane[1] += np.uint8(levels)
    plane[2] += np.uint8(100)
    assert near_twins(signs(3, plane=plane)).tolist() == ([0, 0, 1] if alike else [0, 1, 2])


def test_byteplots_of_another_width_are_not_alike() -> None:
    plane = np.full((2, 64, 64), 100, dtype=np.uint8)
    assert near_twins(signs(2, plane=plane, width=np.array([64, 128]))).tolist() == [0, 1]


def test_groups_are_transitive() -> None:
    found = near_twins(signs(5, sha256=("a", "b", "b", "c", "d"), entry=("x", "x", "1", "2", "3")))
    assert found.tolist() == [0, 0, 0, 1, 2]


@given(
    # Not on the threshold itself, where rounding decides.
    values=st.lists(st.integers(0, 20).map(lambda n: 3 * n), min_size=1, max_size=30),
    widths=st.lists(st.sampled_from([32, 64]), min_size=30, max_size=30),
)
def test_like_comparing_each_with_each(values: list[int], widths: list[int]) -> None:
    count = len(values)
    plane = np.array(values, dtype=np.uint8)[:, None, None].repeat(64, 1).repeat(64, 2)
    found = near_twins(signs(count, plane=plane, width=np.array(widths[:count])))
    group = list(range(count))
    for i in range(count):
        for j in range(i):
            if widths[i] == widths[j] and abs(values[i] - values[j]) < 4:
                a, b = group[i], group[j]
                group = [a if g == b else g for g in group]
    same = np.equal.outer(found, found)
    np.testing.assert_array_equal(same, np.equal.outer(group, group))


def test_more_samples_than_a_block() -> None:
    plane = np.zeros((2100, 64, 64), dtype=np.uint8)
    plane[:, 0, 0] = np.arange(2100) % 256
    plane[:, 1:] = (np.arange(2100) % 7 * 20)[:, None, None]
    found = near_twins(signs(2100, plane=plane))
    assert found.tolist() == (np.arange(2100) % 7).tolist()


def test_like_comparing_all_cells_of_all_pairs() -> None:
    """Families of planes with noise about as large as the limit, so that some pairs are close in
    their parts and not cell by cell."""
    generator = np.random.default_rng(3)
    base = generator.integers(60, 190, (9, 8, 8)).repeat(8, 1).repeat(8, 2)
    family = generator.integers(0, 9, 700)
    noise = generator.normal(0.0, generator.uniform(1.0, 6.0, (700, 1, 1)), (700, 64, 64))
    plane = np.clip(base[family] + noise, 0, 255).astype(np.uint8)
    width = generator.choice([64, 128], 700)
    found = near_twins(signs(700, plane=plane, width=width))
    flat = plane.reshape(700, -1).astype(np.float64)
    squares = np.square(flat).mean(axis=1)
    distance = squares[:, None] + squares - 2.0 * flat @ flat.T / 4096
    joined = (distance < 16.0) & np.equal.outer(width, width)
    group = np.arange(700)
    while ((further := np.where(joined, group, 700).min(axis=1)) != group).any():
        group = np.minimum(group, further)[group]
    assert 9 * 2 < len(np.unique(group)) < 650
    np.testing.assert_array_equal(np.equal.outer(found, found), np.equal.outer(group, group))


def window(data: bytes) -> View:
    spec = VIEWS[1]
    pixels = np.zeros(spec.shape, dtype=np.uint8)
    pixels[0, : len(data)] = np.frombuffer(data, dtype=np.uint8)
    pixels[1, : len(data)] = 1
    return View(pixels, WindowGeometry(0, len(data), spec.length))


def test_entry_points_that_say_nothing() -> None:
    code = bytes(range(256)) * 4
    assert len(entry_sign(window(code))) == 32
    assert entry_sign(window(code)) != entry_sign(window(code + b"\0"))
    assert entry_sign(window(b"")) == ""
    assert entry_sign(window(code[:511])) == ""
    assert entry_sign(window(b"\xcc" * 4096)) == ""
