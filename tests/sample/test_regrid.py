"""Heat on another grid stays where its bytes are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.geometry import BodyGeometry, WindowGeometry
from maltriage.sample.regrid import onto_plane, overlap, regrid

SIDES = st.integers(1, 12)


@given(SIDES, SIDES, st.data())
def test_some_old_cells_are_as_among_all(before: int, after: int, data: st.DataObject) -> None:
    whole = overlap(before, after)
    np.testing.assert_allclose(whole.sum(axis=0), 1.0)
    first = data.draw(st.integers(0, before - 1))
    last = data.draw(st.integers(first, before))
    np.testing.assert_allclose(overlap(before, after, first, last), whole[:, first:last])


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 1000))
def test_the_sum_stays(h: int, w: int, height: int, width: int, seed: int) -> None:
    heat = np.random.default_rng(seed).normal(size=(h, w))
    found = regrid(heat, (height, width))
    assert found.shape == (height, width)
    assert found.sum() == pytest.approx(heat.sum())


@given(
    st.integers(1, 5000),
    st.sampled_from([32, 64]),
    st.integers(0, 5000),
    st.integers(1, 600),
    st.integers(1, 40),
    st.integers(0, 1000),
)
def test_a_window_on_the_plane(
    length: int, width: int, start: int, size: int, cells: int, seed: int
) -> None:
    """Each cell has what the window says of the bytes that the cell shows, byte by byte."""
    plane = BodyGeometry(length, width)
    window = WindowGeometry(start, max(0, min(size, length - start)), size)
    heat = np.random.default_rng(seed).normal(size=(1, cells))
    found = onto_plane(heat, window, plane, (4, 16))
    wanted = np.zeros((4, 16))
    each = np.diff(
        window.integrate(heat, np.arange(window.start, window.start + window.present + 1))
    )
    for byte, value in enumerate(each, window.start):
        row, column = divmod(byte, width)
        for i in range(4):
            top, bottom = i * plane.rows / 4, (i + 1) * plane.rows / 4
            part = max(0.0, min(row + 1, bottom) - max(row, top))
            wanted[i, column * 16 // width] += part * value
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_no_window_no_heat() -> None:
    absent = WindowGeometry(0, 0, 4096)
    assert not onto_plane(np.ones((1, 8)), absent, BodyGeometry(4000, 32), (16, 16)).any()
