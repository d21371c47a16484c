from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.byteplot import View
from maltriage.sample.views import EntropySpec, WordsSpec
from maltriage.sample.views.counted import BLOCK, plot_entropy, plot_words

seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, length: int) -> np.ndarray:
    """Bytes of several kinds: text, noise, zeros, few values."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.integers(*rng.choice([(0, 256), (97, 123), (0, 1), (60, 66)]), rng.integers(1, 900))
        for _ in range(12)
    ]
    return np.resize(np.concatenate(parts).astype(np.uint8), length)


@given(seeds, st.integers(0, 6000), st.integers(1, 12))
def test_pieces_are_measured(seed: int, length: int, cells: int) -> None:
    """Against the definition, piece by piece."""
    raw = noise(seed, length)
    view = plot_entropy(raw, cells)
    size = BLOCK * max(1, -(-length // (BLOCK * cells)))
    for at in range(cells):
        piece = raw[at * size : (at + 1) * size]
        if not len(piece):
            assert not view.pixels[:, at].any()
            continue
        shares = np.bincount(piece, minlength=256) / len(piece)
        bits = -sum(share * np.log2(share) for share in shares if share)
        assert view.pixels[0, at] - 1 == pytest.approx(min(15, int(bits * 2 + 1e-9)))
        nibbles = np.bincount(piece >> 4, minlength=16) / len(piece) * 255
        assert np.abs(view.pixels[1:, at] - nibbles).max() <= 0.5 + 1e-6


@given(seeds, st.integers(1, 6000), st.integers(1, 12))
def test_heat_of_a_piece_is_spread_over_its_blocks(seed: int, length: int, cells: int) -> None:
    view = plot_entropy(noise(seed, length), cells)
    heat = np.random.default_rng(seed).normal(size=(1, cells))
    size = BLOCK * max(1, -(-length // (BLOCK * cells)))
    shares = [min(size, max(0, length - at * size)) / size for at in range(cells)]
    total = view.geometry.integrate(heat, np.array([length]))[0]
    assert total == pytest.approx(heat[0] @ shares, abs=1e-9)


@given(seeds, st.integers(1, 6000), st.data())
def test_what_changes_is_measured_again(seed: int, length: int, data: st.DataObject) -> None:
    raw = noise(seed, length)
    spec = EntropySpec(cells=7)
    view = spec.plot(raw, {})
    start = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(start + 1, length))
    changed = raw.copy()
    changed[start:end] = noise(seed + 1, end - start)
    found = spec.replotted(changed, [(start, end)], view, {})
    assert (found == spec.plot(changed, {}).pixels).all()


texts = st.lists(
    st.one_of(
        st.text("abQ", min_size=1, max_size=30).map(str.encode),
        st.text("abQ", min_size=1, max_size=30).map(lambda text: text.encode("utf-16-le")),
        st.binary(max_size=4),
        st.just(b"\0\0"),
    ),
    max_size=12,
).map(b"".join)


@given(texts, texts, st.integers(1, 40), st.data())
def test_words_near_a_change_are_found_again(
    text: bytes, other: bytes, slots: int, data: st.DataObject
) -> None:
    spec = WordsSpec(slots=slots)
    raw = np.frombuffer(text, dtype=np.uint8)
    changed, ranges = raw.copy(), []
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + len(other))))
        changed[start:end] = np.frombuffer(other[: end - start], dtype=np.uint8)
        ranges.append((start, end))
    found = spec.replotted(changed, ranges, spec.plot(raw, {}), {})
    assert (found == spec.plot(changed, {}).pixels).all()


def names(view: View) -> list[int]:
    low, middle, high = (view.pixels[i].astype(int) for i in range(3))
    return [int(name) for name in (low | middle << 8 | high << 16)[high > 0]]


def test_different_words_are_shown_in_their_order() -> None:
    raw = np.frombuffer(b"apple berry APPLE cherry damson", dtype=np.uint8)
    view = plot_words(raw, 8)
    assert len(names(view)) == 4
    assert [view.geometry.cell_ranges((0, i), (1, 8)) for i in range(5)] == [  # type: ignore[attr-defined]
        [(0, 5), (12, 17)],
        [(6, 11)],
        [(18, 24)],
        [(25, 31)],
        [],
    ]
    assert names(plot_words(raw, 2)) == names(view)[:2]
    other = np.frombuffer(b"..cherry", dtype=np.uint8)
    assert names(plot_words(other, 8)) == names(view)[2:3]


def test_an_empty_file_shows_nothing() -> None:
    for spec in (WordsSpec(), EntropySpec()):
        view = spec.plot(np.zeros(0, dtype=np.uint8), {})
        assert view.pixels.shape == spec.shape
        assert not view.pixels.any()
        heat = np.ones((1, spec.shape[1]))
        assert not view.geometry.integrate(heat, np.array([0, 1])).any()
