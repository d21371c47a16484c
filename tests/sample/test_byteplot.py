from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sample.chosen import default_views

from maltriage.sample.byteplot import View, make_views, neutralize, trimmed_length
from maltriage.sample.geometry import BodyGeometry, WindowGeometry, width_for
from maltriage.sample.views import (
    BODY_CHANNELS,
    BodySpec,
    EntropySpec,
    WindowSpec,
    WordsSpec,
)

sizes = st.one_of(
    st.integers(0, 64 * 1024 * 1024),
    st.integers(0, 5000),
    st.sampled_from([0, 1, 31, 32, 33, 1023, 1024, 10 * 1024, 10 * 1024 - 1, 64 * 1024 * 1024]),
)
seeds = st.integers(0, 2**32 - 1)


@given(sizes, st.integers(1, 70), st.integers(1, 70), seeds)
@example(0, 8, 8, 0)
@example(64 * 1024 * 1024, 8, 8, 0)
def test_a_full_plot_has_all_heat_of_the_body(size: int, h: int, w: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = BodyGeometry(size, width_for(size)).plotted
    heat = rng.normal(size=(h, w)) * 10.0 ** rng.integers(-6, 6)
    nothing, everything = BodyGeometry(full, width_for(size)).integrate(heat, np.array([0, full]))
    assert nothing == 0.0
    assert abs(everything - heat.sum()) <= 1e-6 * np.abs(heat).sum()


def overlaps(cells: int, units: int) -> np.ndarray:
    """The share of each cell that lies on each unit, [cells, units]."""
    edges = np.arange(cells + 1) * units / cells
    at = np.arange(units)
    low = np.maximum(edges[:-1, None], at)
    return np.clip(np.minimum(edges[1:, None], at + 1) - low, 0, None) * (cells / units)


@given(st.integers(0, 3000), st.sampled_from([32, 64, 128, 384]), seeds)
def test_body_integral_is_the_sum_over_single_bytes(size: int, width: int, seed: int) -> None:
    """Against the definition: a cell spreads its heat evenly over the area it covers."""
    rng = np.random.default_rng(seed)
    h, w = rng.integers(1, 20, 2)
    heat = rng.normal(size=(h, w))
    geometry = BodyGeometry(size, width)
    by_byte = overlaps(h, geometry.rows).T @ heat @ overlaps(w, width)
    expected = np.concatenate(([0.0], by_byte.ravel().cumsum()))[: size + 1]
    got = geometry.integrate(heat, np.arange(size + 1))
    np.testing.assert_allclose(got, expected, atol=1e-9 * np.abs(heat).sum())


@given(
    st.integers(1, 3_000_000),
    st.sampled_from([32, 37, 64, 128, 256, 384, 512, 768, 1024]),
    st.integers(0, 4096),
    st.sampled_from([64, 256]),
    seeds,
)
def test_integrals_at_regular_offsets_are_those_at_any(
    size: int, width: int, present: int, step: int, seed: int
) -> None:
    """In a body whose plotted bytes end before the file does, and in a window anywhere in it."""
    rng = np.random.default_rng(seed)
    body = BodyGeometry(int(rng.integers(0, size + 1)), width)
    window = WindowGeometry(int(rng.integers(0, size)), present, 4096)
    count = (size - 1) // step
    others = [size, *rng.integers(0, size + 1, 3).tolist()]
    offsets = np.array([*range(0, (count + 1) * step, step), *others])
    order = offsets.argsort(kind="stable")
    for geometry, shape in ((body, rng.integers(1, 70, 2)), (window, (1, rng.integers(1, 200)))):
        heat = rng.normal(size=tuple(shape))
        expected = np.empty(len(offsets))
        expected[order] = geometry.integrate(heat, offsets[order])
        got = geometry.integrate_steps(heat, step, count, np.array(others))
        np.testing.assert_allclose(got, expected, atol=1e-9 * np.abs(heat).sum())


@given(st.integers(0, 1000), st.integers(0, 256), st.integers(1, 300), seeds)
def test_window_integral_is_the_sum_over_single_bytes(
    start: int, present: int, cells: int, seed: int
) -> None:
    heat = np.random.default_rng(seed).normal(size=(1, cells))
    by_byte = np.zeros(start + 300)
    by_byte[start : start + present] = (heat @ overlaps(cells, 256))[0, :present]
    got = WindowGeometry(start, present, 256).integrate(heat, np.arange(start + 301))
    expected = np.concatenate(([0.0], by_byte.cumsum()))
    np.testing.assert_allclose(got, expected, atol=1e-9 * np.abs(heat).sum())


@given(st.integers(0, 5000), st.integers(1, 4096), st.sampled_from([1, 64, 128, 256]))
def test_every_byte_of_a_window_belongs_to_one_cell(start: int, present: int, cells: int) -> None:
    geometry = WindowGeometry(start, present, 4096)
    owners = np.zeros(present, dtype=int)
    for cell in range(cells):
        for low, high in geometry.cell_ranges((0, cell), (1, cells)):
            owners[low - start : high - start] += 1
    assert (owners == 1).all()


@given(st.integers(1, 200_000), st.sampled_from([8, 16, 64]), seeds)
def test_the_heat_of_a_cell_is_on_the_bytes_of_its_ranges(size: int, cells: int, seed: int) -> None:
    geometry = BodyGeometry(size, width_for(size))
    row, column = np.random.default_rng(seed).integers(0, cells, 2).tolist()
    heat = np.zeros((cells, cells))
    heat[row, column] = 1.0
    ranges = geometry.cell_ranges((row, column), (cells, cells))
    edges = np.array(sorted(edge for edges in ranges for edge in edges), dtype=np.int64)
    on_bytes = np.diff(geometry.integrate(heat, edges))[::2].sum() if len(edges) else 0.0
    assert on_bytes == pytest.approx(geometry.integrate(heat, np.array([size]))[0], abs=1e-9)


def area_means(raw: np.ndarray, side: int) -> np.ndarray:
    """The body by a slow, plain reading of the definition, before rounding."""
    width = width_for(len(raw))
    rows = max(1, -(-len(raw) // width))
    plot, there = np.zeros(rows * width), np.zeros(rows * width)
    plot[: len(raw)], there[: len(raw)] = raw, 1.0

    def weights(units: int) -> np.ndarray:
        edges = np.arange(side + 1) * units / side
        low = np.maximum(edges[:-1, None], np.arange(units))
        high = np.minimum(edges[1:, None], np.arange(units) + 1)
        return np.clip(high - low, 0, None) * (side / units)

    def mean(values: np.ndarray) -> np.ndarray:
        return weights(rows) @ values.reshape(rows, width) @ weights(width).T

    average = mean(plot)
    return np.stack(
        [
            average,
            2 * np.sqrt(np.maximum(mean(plot**2) - average**2, 0)),
            255 * mean(there * (plot == 0)),
            255 * mean((plot >= 0x20) & (plot <= 0x7E)),
            255 * mean(plot >= 0x80),
        ]
    )


def noise(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, size, dtype=np.uint8)
    raw[rng.random(size) < 0.3] = 0
    return raw


@given(st.integers(0, 60_000), st.sampled_from([8, 48, 64, 96]), seeds)
@example(0, 64, 0)
@example(1, 64, 0)
@example(6739, 96, 0)
@example(20 * 1024, 64, 1)
@example(20 * 1024 + 1, 64, 1)
def test_body_is_the_area_mean(size: int, side: int, seed: int) -> None:
    raw = noise(size, seed)
    expected = area_means(raw, side)
    assert len(BODY_CHANNELS) == len(expected)
    assert np.abs(BodySpec(size=side).plot(raw, {}).pixels - expected).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("side", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [600_001, 3_000_001])
def test_sums_over_large_cells_do_not_overflow(size: int, full: bool, side: int) -> None:
    raw = np.full(size, 0xFF, dtype=np.uint8) if full else noise(size, side)
    expected = area_means(raw, side)
    assert np.abs(BodySpec(size=side).plot(raw, {}).pixels - expected).max() <= 0.5 + 1e-4


def test_one_body_does_not_change_another() -> None:
    """Memory is kept from file to file, and threads may plot at once."""
    raws = [noise(size, size) for size in (0, 5_000, 24_653, 900_000, 70_000)] * 4
    alone = [BodySpec().plot(raw, {}).pixels.tobytes() for raw in raws]
    with ThreadPoolExecutor(4) as pool:
        views = list(pool.map(lambda raw: BodySpec().plot(raw, {}), raws))
    assert [view.pixels.tobytes() for view in views] == alone


def test_channels_are_those_of_the_spec() -> None:
    raw = noise(30_000, 1)
    every = BodySpec().plot(raw, {}).pixels
    some = BodySpec(channels=("high", "mean")).plot(raw, {}).pixels
    assert (some == every[[4, 0]]).all()


@pytest.mark.parametrize(
    ("size", "width"),
    [(0, 32), (10 * 1024 - 1, 32), (10 * 1024, 64), (99 * 1024, 256), (1 << 20, 1024)],
)
def test_width_follows_nataraj(size: int, width: int) -> None:
    assert width_for(size) == width


@given(st.binary(max_size=300), st.integers(0, 200_000))
def test_trailing_zeros_change_nothing(data: bytes, zeros: int) -> None:
    anchors = {"entry": 40, "import": 10}
    specs = default_views(16)
    plain, padded = (
        make_views(data, anchors, specs),
        make_views(data + bytes(zeros), anchors, specs),
    )
    for name, view in plain.items():
        assert (view.pixels == padded[name].pixels).all()
        assert view.geometry == padded[name].geometry


@given(st.binary(max_size=200), st.integers(0, 1 << 17))
def test_trimmed_length(data: bytes, zeros: int) -> None:
    raw = np.frombuffer(data + bytes(zeros), dtype=np.uint8)
    assert trimmed_length(raw) == len(data.rstrip(b"\0"))


@given(st.binary(max_size=3000), st.integers(-9, 3000))
def test_a_view_is_sent_in_short_and_is_the_same(data: bytes, at: int) -> None:
    raw = np.frombuffer(data.rstrip(b"\0"), np.uint8)
    specs = [WordsSpec(slots=9), EntropySpec(cells=5), BodySpec(size=8), WindowSpec("x", "code")]
    for spec in specs:
        view = spec.plot(raw, {"code": at})
        sent = pickle.loads(pickle.dumps(view))
        assert np.array_equal(sent.pixels, view.pixels)
        assert sent.pixels.flags.writeable
        assert sent.geometry == view.geometry


def test_a_window_without_its_bytes_is_sent_as_it_is() -> None:
    view = WindowSpec("x", "head").plot(np.frombuffer(b"abc", np.uint8), {})
    for row, column in ((0, 2), (1, 2), (1, 7)):
        pixels = view.pixels.copy()
        pixels[row, column] ^= 1
        sent = pickle.loads(pickle.dumps(View(pixels, view.geometry)))
        assert np.array_equal(sent.pixels, pixels)


def test_a_window_stays_inside_the_file() -> None:
    raw = np.arange(1, 101, dtype=np.uint8)
    view = WindowSpec("entry", "entry", before=20, length=64).plot(raw, {"entry": 90})
    assert view.geometry == WindowGeometry(70, 30, 64)
    assert view.pixels[0, :30].tolist() == list(range(71, 101))
    assert view.pixels[1].sum() == 30
    early = WindowSpec("entry", "entry", before=20, length=64).plot(raw, {"entry": 5})
    assert early.geometry == WindowGeometry(0, 64, 64)


@pytest.mark.parametrize("anchor", [None, -1, 100, 10**9])
def test_a_missing_anchor_is_an_empty_window(anchor: int | None) -> None:
    raw = np.ones(100, dtype=np.uint8)
    anchors = {} if anchor is None else {"entry": anchor}
    view = WindowSpec("entry", "entry").plot(raw, anchors)
    assert not view.pixels.any()
    assert view.geometry == WindowGeometry(0, 0, 4096)


def test_the_fields_that_disarm_a_file_are_never_seen(samples_dir: Path) -> None:
    data = (samples_dir / "console-x64.exe").read_bytes()
    pe = int.from_bytes(data[60:64], "little")
    disarmed = bytearray(data)
    disarmed[pe + 4 : pe + 6] = disarmed[pe + 24 + 68 : pe + 24 + 70] = b"\0\0"
    disarmed[pe + 24 + 16 : pe + 24 + 20] = bytes(4)
    assert neutralize(data) == neutralize(bytes(disarmed)) == bytes(disarmed)
    assert data != bytes(disarmed)
    assert neutralize(b"MZ") == b"MZ"
