"""The compiled kernel gives what NumPy gives, bit by bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maltriage.sample import native
from maltriage.sample.byteplot import Bytes, View, make_views
from maltriage.sample.cell_sums import cell_sums
from maltriage.sample.errors import SampleError
from maltriage.sample.geometry import BodyGeometry, WindowGeometry, width_for
from maltriage.sample.layout import entropy, make_layout
from maltriage.sample.pe import read_headers
from maltriage.sample.types import Layout
from maltriage.sample.views import known_views
from maltriage.sample.views.counted import plot_entropy, plot_words
from maltriage.sample.views.scattered import ScatteredGeometry
from maltriage.sample.views.words import MOST, find_words
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.source.samples import read_sample

ROOT = Path(__file__).resolve().parents[2]
KERNEL = native.kernel
pytestmark = pytest.mark.skipif(KERNEL is None, reason="no kernel was compiled")
T = TypeVar("T")
_NAMES = ("MALTRIAGE_GOODWARE", "MALTRIAGE_VX_MINI", "MALTRIAGE_WIDE")
_AT_HAND = [os.environ[name] for name in _NAMES if os.environ.get(name)]

pieces = st.one_of(
    st.binary(max_size=90),
    st.integers(0, 400).map(bytes),
    st.integers(0, 40).map(lambda n: b"Kernel32" * n),
    st.text("aZx", max_size=60).map(lambda text: text.encode("utf-16-le")),
    st.text("aZ@", max_size=40).map(str.encode),
    st.tuples(st.integers(0, 255), st.integers(0, 700)).map(
        lambda both: bytes([both[0]]) * both[1]
    ),
)
contents = st.lists(pieces, max_size=30).map(b"".join)


def by_numpy(function: Callable[..., T], *arguments: object) -> T:
    native.kernel = None
    try:
        return function(*arguments)
    finally:
        native.kernel = KERNEL


def array(data: bytes) -> Bytes:
    return np.frombuffer(data, dtype=np.uint8)


def equal(one: View, other: View) -> bool:
    return np.array_equal(one.pixels, other.pixels) and one.geometry == other.geometry


@given(contents, st.integers(0, 3))
def test_words(data: bytes, skip: int) -> None:
    raw = array(data)[skip:]  # also where they do not lie at a multiple of 16
    own, theirs = find_words(raw), by_numpy(find_words, raw)
    for name in ("start", "size", "name"):
        assert np.array_equal(getattr(own, name), getattr(theirs, name)), name
    assert own.name.dtype == theirs.name.dtype
    for slots in (3, 2048):
        assert equal(plot_words(raw, slots), by_numpy(plot_words, raw, slots))


@settings(max_examples=25, deadline=None)
@given(contents, st.integers(-80, 80), st.integers(1, 3))
def test_words_at_edges_of_tiles(data: bytes, by: int, tiles: int) -> None:
    raw = array(bytes(max(0, 64 * 512 * tiles + by)) + data + b"\xff" * 200 + data)
    assert equal(plot_words(raw, 2048), by_numpy(plot_words, raw, 2048))


def test_more_words_than_are_named_and_letters_without_end() -> None:
    rng = np.random.default_rng(0)
    letters = rng.choice(np.frombuffer(b"abcdefgh    \0", dtype=np.uint8), 400_000)
    many = np.concatenate((letters, np.full(1 << 17, ord("x"), np.uint8), letters))
    assert len(find_words(many).start) == MOST
    for raw in (many, many[399_000:], np.full((1 << 20) + (1 << 17), ord("y"), np.uint8)):
        assert equal(plot_words(raw, 2048), by_numpy(plot_words, raw, 2048))


@given(contents, st.integers(1, 9))
def test_entropy(data: bytes, cells: int) -> None:
    raw = array(data)
    assert equal(plot_entropy(raw, cells), by_numpy(plot_entropy, raw, cells))
    assert entropy(memoryview(data)) == by_numpy(entropy, memoryview(data))


@settings(deadline=None)
@given(contents, st.sampled_from((16, 32, 48, 64, 96, 384, 768)), st.data())
def test_cells(data: bytes, width: int, drawn: st.DataObject) -> None:
    """Of plots lower and narrower than the map, too, of parts of it, and with widths that are no
    multiple of it, which NumPy sums in either case."""
    raw = array(data * drawn.draw(st.integers(1, 40)))
    size = drawn.draw(st.sampled_from((8, 16, 64)))
    begin = drawn.draw(st.integers(0, size - 1))
    bands = drawn.draw(st.sampled_from((None, (begin, size), (begin, begin + 1))))
    arguments = (raw, max(1, -(-len(raw) // width)), width, size, bands)
    own = cell_sums(*arguments).copy()
    assert np.array_equal(own, by_numpy(cell_sums, *arguments))


def test_cells_of_many_rows() -> None:
    """Whose sums pass what one step may hold."""
    raw = np.full(64 * 700 * 5 + 17, 255, np.uint8)
    for width in (64, 128):
        arguments = (raw, -(-len(raw) // width), width, 8)
        own = cell_sums(*arguments).copy()
        assert np.array_equal(own, by_numpy(cell_sums, *arguments))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9000), st.sampled_from((32, 64, 128, 384, 100, 7)))
def test_heat_on_bytes(seed: int, length: int, width: int) -> None:
    """Of maps coarser and finer than bytes, for steps that end in a row and at its end, and for
    bytes behind the plotted ones."""
    rng = np.random.default_rng(seed)
    places = rng.choice(length, 2 * int(rng.integers(0, min(length, 200) // 2 + 1)), replace=False)
    start, end = np.sort(places).reshape(-1, 2).T
    end = np.minimum(np.where(rng.random() < 0.5, end, np.append(start[1:], length)), start + 255)
    cells = int(rng.integers(1, 40))
    scattered = ScatteredGeometry.of(length, start, end - start, rng.integers(0, cells, len(start)))
    at, across = int(rng.integers(0, length)), int(rng.integers(1, 600))
    window = WindowGeometry(at, int(rng.integers(0, min(across, length - at) + 1)), across)
    step = int(rng.choice((256, 64, 48, 1, 5000)))
    count = int(rng.integers(0, length // step + 3))
    others = rng.integers(0, length + 300, 4)
    for geometry, shape in (
        (BodyGeometry(length, width), tuple(rng.integers(1, 20, 2))),
        (window, (1, int(rng.integers(1, 2 * across)))),
        (scattered, (1, cells)),
    ):
        heat = rng.normal(size=shape)
        heat[rng.random(shape) < 0.3] = 0.0
        own = geometry.integrate_steps(heat, step, count, others)
        theirs = by_numpy(geometry.integrate_steps, heat, step, count, others)
        assert np.array_equal(own, theirs), geometry


def test_heat_of_sizes_that_do_not_fit() -> None:
    assert KERNEL is not None
    heat, others, out = np.zeros(4), np.array([5]), np.zeros(4)
    three = (np.zeros(3, np.uint32), np.zeros(3, np.uint8), np.zeros(3, np.uint16))
    KERNEL.window_heat(heat, 0, 4, 4, 2, 2, others, out)
    KERNEL.scattered_heat(heat, *three, 2, 2, others, out)
    KERNEL.body_heat(heat, 2, 2, 2, 4, 2, 2, others, out)
    for call, arguments in (
        (KERNEL.window_heat, (heat, 0, 4, 4, 0, 2, others, out)),
        (KERNEL.window_heat, (heat, 0, 4, 4, 2, 3, others, out)),
        (KERNEL.window_heat, (heat, 0, 4, 4, 1 << 62, 2, others, out)),
        (KERNEL.window_heat, (heat, -1, 4, 4, 2, 2, others, out)),
        (KERNEL.window_heat, (heat, 0, 4, 0, 2, 2, others, out)),
        (KERNEL.scattered_heat, (heat, *three[:2], np.full(3, 4, np.uint16), 2, 2, others, out)),
        (KERNEL.scattered_heat, (heat, three[0], *three[:0:-1], 2, 2, others, out)),
        (KERNEL.scattered_heat, (heat, *three, 2, 2, others, out[1:])),
        (KERNEL.body_heat, (heat, 3, 2, 2, 4, 2, 2, others, out)),
        (KERNEL.body_heat, (heat, 0, 2, 2, 4, 2, 2, others, out)),
        (KERNEL.body_heat, (heat, 2, 2, 2, 5, 2, 2, others, out)),
        (KERNEL.body_heat, (heat, 2, 1 << 40, 2, 4, 2, 2, others, out)),
        (KERNEL.body_heat, (heat, 2, 2, 2, 4, 2, 2, -others, out)),
    ):
        with pytest.raises(ValueError, match=r"no such|wrong size"):
            call(*arguments)


def _read(data: bytes) -> tuple[Layout, dict[str, View]]:
    layout, _ = make_layout(data, read_headers(data))
    return layout, make_views(data, layout.anchors, known_views(64))


def _programs() -> Iterator[str]:
    """The programs of samples/, and of the collections at hand one in ten files."""
    for folder, step in [(ROOT / "samples", 1), *((Path(name), 10) for name in _AT_HAND)]:
        found = walk([str(folder)], WalkOptions())
        yield from [file.path for file in found if isinstance(file, Found)][::step]


def test_real_programs() -> None:
    paths = list(_programs())
    assert paths
    for path in paths:
        try:
            data = read_sample(path).data
        except SampleError:
            continue
        (layout, views), (theirs, others) = _read(data), by_numpy(_read, data)
        assert layout == theirs, path
        assert all(equal(views[name], others[name]) for name in others), path


def test_wrong_sizes_are_refused() -> None:
    kernel = KERNEL
    assert kernel is not None
    data, counts = bytes(100), np.zeros(256, np.int64)
    row, cut, out = np.zeros(9, np.int64), np.zeros(9), np.zeros((5, 8, 8))
    long, short = np.zeros(4, np.int64), np.zeros(3, np.uint32)
    wrong: list[Callable[[], object]] = [
        lambda: kernel.histograms(data, np.array([0, 101]), counts),
        lambda: kernel.histograms(data, np.array([9, 3]), counts),
        lambda: kernel.histograms(data, np.array([-1, 3]), counts),
        lambda: kernel.histograms(data, np.array([0, 1, 2]), counts),
        lambda: kernel.histograms(data, np.zeros(0, np.int64), counts),
        lambda: kernel.measure(data, 50, np.array([2]), np.zeros((17, 4), np.uint8)),
        lambda: kernel.measure(data, 50, np.array([1]), np.zeros((17, 1), np.uint8)),
        lambda: kernel.measure(b"", 50, np.array([0]), np.zeros((17, 1), np.uint8)),
        lambda: kernel.measure(data, (1 << 63) - 1, np.array([1]), np.zeros((17, 4), np.uint8)),
        lambda: kernel.measure(data, 0, np.array([0]), np.zeros((17, 1), np.uint8)),
        lambda: kernel.cell_sums(data, 8, 8, row + 13, cut, 0, 8, out),
        lambda: kernel.cell_sums(data, 8, 8, row[::-1] - 1, cut, 0, 8, out),
        lambda: kernel.cell_sums(data, 8, 8, row + 12, cut + 0.5, 0, 8, out),
        lambda: kernel.cell_sums(data, 8, 8, row, cut, 0, 9, out),
        lambda: kernel.cell_sums(data, 8, 8, row, cut, 0, 7, out),
        lambda: kernel.cell_sums(data, 12, 8, row, cut, 0, 8, out),
        lambda: kernel.find_words(data, long, long, short),
        lambda: kernel.numbered(short, np.zeros(2, np.int64)),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match=r"size|order|piece|rows|width"):
            call()
    with pytest.raises((TypeError, BufferError)):
        kernel.histograms(data, np.array([0, 1]), bytes(2048))  # which cannot be written


def test_calls_give_no_reference_away() -> None:
    """Python 3.11 counts those to None, and ends where there are none left."""
    data, calls = array(b"MZ Kernel32 " * 100), 100
    before = sys.getrefcount(None)
    for _ in range(calls):
        entropy(data.tobytes())
        plot_entropy(data, 8)
        cell_sums(data, 40, 30, 64)
        plot_words(data, 16)
    assert abs(sys.getrefcount(None) - before) < calls
    # By the headers of 3.12 and later these macros take no reference, for 3.11 neither.
    source = (ROOT / "maltriage/sample/_kernel.c").read_text()
    assert not re.search(r"Py_RETURN_(NONE|TRUE|FALSE);", source)


def test_sizes_of_the_literature_are_the_kernels() -> None:
    """At the width of any file, for the map of the net that ships."""
    from maltriage.sample.cell_sums import _any_order

    assert all(_any_order(width_for(1 << power), 64) for power in range(8, 32))


def test_it_can_be_left_out() -> None:
    command = "from maltriage.sample import native; print(native.kernel)"
    environment = {**os.environ, native.OFF: "1"}
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "None\n"


def test_an_old_one_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "VERSION", native.VERSION + 1)
    assert native._built() is None
