"""Heat on another grid, and as shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from maltriage.learn.heat.heatmaps import regrid, shares  # noqa: E402
from maltriage.sample.geometry import BodyGeometry, WindowGeometry  # noqa: E402

SIDES = st.integers(1, 12)


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 1000))
def test_heat_stays_where_its_bytes_are(h: int, w: int, height: int, width: int, seed: int) -> None:
    """Each new cell has what the geometry says lies on its area of the file."""
    heat = torch.from_numpy(np.random.default_rng(seed).normal(size=(h, w)))
    found = regrid(heat, (height, width))
    assert found.shape == (height, width)
    # A plot of whose rows and columns every cell of both grids has whole ones.
    geometry = BodyGeometry(h * height * w * width, w * width)
    for i in range(height):
        for j in range(width):
            total = 0.0
            for start, end in geometry.cell_ranges((i, j), (height, width)):
                low, high = geometry.integrate(heat.numpy(), np.array([start, end]))
                total += high - low
            assert float(found[i, j]) == pytest.approx(total, abs=1e-9)


@given(SIDES, SIDES, st.integers(0, 1000))
def test_a_window_is_read_along_its_bytes(before: int, after: int, seed: int) -> None:
    heat = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, before)))
    length = before * after
    geometry = WindowGeometry(100, length, length)
    edges = 100 + np.arange(after + 1) * before
    wanted = np.diff(geometry.integrate(heat.numpy(), edges))
    np.testing.assert_allclose(regrid(heat, (1, after))[0].numpy(), wanted, atol=1e-9)


def test_shares_of_an_image_over_all_its_views() -> None:
    maps = {
        "a": torch.tensor([[[3.0, -2.0]], [[0.0, -1.0]]]),
        "b": torch.tensor([[[1.0]], [[0.0]]]),
    }
    found = shares(maps)
    assert found["a"].tolist() == [[[0.75, 0.0]], [[0.0, 0.0]]]
    assert found["b"].tolist() == [[[0.25]], [[0.0]]]
    signed = shares(maps, positive=False)
    torch.testing.assert_close(signed["a"][0], torch.tensor([[3 / 6, -2 / 6]]))
    torch.testing.assert_close(signed["a"][1], torch.tensor([[0.0, -1.0]]))
