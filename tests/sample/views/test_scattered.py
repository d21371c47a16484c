from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.byteplot import View
from maltriage.sample.views.scattered import ScatteredGeometry

seeds = st.integers(0, 2**32 - 1)


def made(seed: int, cells: int, places: int) -> ScatteredGeometry:
    """Disjoint places; each of the first cells has one, if there are as many."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 50, places)
    start = np.cumsum(rng.integers(0, 20, places) + np.concatenate(([0], size[:-1])))
    cell = np.concatenate((np.arange(min(cells, places)), rng.integers(0, cells, places)))[:places]
    length = int(start[-1] + size[-1] + rng.integers(0, 9)) if places else 0
    return ScatteredGeometry.of(length, start, size, cell)


@given(seeds, st.integers(1, 8), st.integers(0, 20))
def test_heat_is_spread_over_the_bytes_of_a_cell(seed: int, cells: int, places: int) -> None:
    """Against the definition, byte by byte."""
    geometry = made(seed, cells, places)
    heat = np.random.default_rng(seed).normal(size=(1, cells))
    by_byte = np.zeros(geometry.length)
    for cell in range(cells):
        ranges = geometry.cell_ranges((0, cell), (1, cells))
        for start, end in ranges:
            by_byte[start:end] += heat[0, cell] / len(ranges) / (end - start)
    wanted = np.concatenate(([0.0], by_byte.cumsum()))
    got = geometry.integrate(heat, np.arange(geometry.length + 1))
    np.testing.assert_allclose(got, wanted, atol=1e-9)
    steps = geometry.integrate_steps(heat, 7, geometry.length // 7, np.array([geometry.length, 1]))
    wanted = np.concatenate((wanted[::7], [wanted[-1], np.interp(1, range(len(wanted)), wanted)]))
    np.testing.assert_allclose(steps, wanted, atol=1e-9)


@given(seeds, st.integers(1, 8), st.integers(8, 20))
def test_no_heat_is_lost(seed: int, cells: int, places: int) -> None:
    geometry = made(seed, cells, places)
    heat = np.random.default_rng(seed).normal(size=(1, cells))
    total = geometry.integrate(heat, np.array([geometry.length]))[0]
    assert total == pytest.approx(heat.sum(), abs=1e-9)


def test_a_view_of_places_can_be_sent() -> None:
    geometry = made(1, 4, 9)
    view = View(np.ones((3, 4), dtype=np.uint8), geometry)
    sent = pickle.loads(pickle.dumps(view))
    assert sent.geometry == geometry
    assert (sent.pixels == view.pixels).all()


@pytest.mark.parametrize(
    "values",
    [
        (9, b"", b"\1", b""),
        (9, (5).to_bytes(8, "little") * 2, b"\3\3", bytes(4)),
        (9, (8).to_bytes(8, "little"), b"\3", bytes(2)),
        (9, (1 << 63).to_bytes(8, "little"), b"\3", bytes(2)),
    ],
)
def test_places_that_cannot_be_are_refused(values: tuple[int, bytes, bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="places"):
        ScatteredGeometry(*values)


def test_a_place_of_a_cell_that_is_not_there_is_refused() -> None:
    lying = View(np.ones((3, 2), dtype=np.uint8), made(1, 4, 9))
    with pytest.raises(ValueError, match="not there"):
        pickle.loads(pickle.dumps(lying))
