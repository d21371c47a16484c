"""Views that say what a file holds, wherever it lies: its words, and its bytes by entropy.

Training and scanning call the same functions, as for the views of `maltriage.sample.byteplot`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maltriage.sample import native
from maltriage.sample.byteplot import Bytes, View
from maltriage.sample.geometry import StepGeometry
from maltriage.sample.views.scattered import ScatteredGeometry
from maltriage.sample.views.words import MOST, Offsets, find_words, until_quiet

BLOCK = 256
"""A cell of the view `entropy` is a number of whole blocks of so many bytes."""
LEVELS = 16
"""Levels of entropy, each half a bit per byte wide."""
NIBBLES = 16
_AT_ONCE = 1 << 18


def plot_words(raw: Bytes, slots: int) -> View:
    """The different words of a file, in the order of their first places.

    Shape (3, slots): 24 bits of each word's name, from the lowest byte up, the last of them never
    zero; zero where there is no word. Of a file with more words the first ones are shown.
    """
    found = find_words(raw)
    name = _short(found.name)
    place, different = _numbered(name)
    start, size = found.start, found.size
    if len(different) > slots:
        shown = place < slots
        start, size, place = start[shown], size[shown], place[shown]
    return View(_words(different, slots), ScatteredGeometry.of(len(raw), start, size, place))


def replot_words(raw: Bytes, ranges: Sequence[tuple[int, int]], view: View) -> Bytes:
    """`plot_words(raw, slots).pixels`, from a view of bytes that differ in `ranges` alone."""
    slots, places = view.pixels.shape[1], view.geometry
    assert isinstance(places, ScatteredGeometry)
    start, cell = places.starts_and_cells
    name = _names(view.pixels)[cell]
    same = True
    for low, high in _quiet(raw, ranges):
        before, after = start.searchsorted(low), start.searchsorted(high)
        found = find_words(raw[low:high])
        own = _short(found.name)
        same = same and np.array_equal(own, name[before:after])
        start = np.concatenate((start[:before], found.start + low, start[after:]))
        name = np.concatenate((name[:before], own, name[after:]))
    if same:
        return view.pixels
    if view.pixels[2, -1] or places.count >= MOST or len(start) > MOST:
        return plot_words(raw, slots).pixels  # words move up that the view did not show
    return _words(_numbered(name)[1], slots)


def _short(name: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The 24 bits of names that are shown, the highest byte of them never zero."""
    return np.asarray(name & 0xFFFF | np.maximum(name >> 16 & 0xFF, 1) << 16)


def _numbered(name: npt.NDArray[np.uint32]) -> tuple[Offsets, npt.NDArray[np.uint32]]:
    """Of each name, [n], the number of different ones before its first place, and the different
    ones in the order of these numbers, [m]."""
    if native.kernel is not None:
        number = np.empty(len(name), dtype=np.int64)
        different = np.empty(native.kernel.numbered(name, number), dtype=np.uint32)
        different[number] = name
        return number, different
    different, first, word = np.unique(name, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(first), dtype=np.int64)
    number[order] = np.arange(len(first))
    return number[word], different[order]


def _words(different: npt.NDArray[np.uint32], slots: int) -> Bytes:
    """The image of different names in the order of their places."""
    shown = different[:slots]
    pixels = np.zeros((3, slots), dtype=np.uint8)
    for plane in range(3):
        pixels[plane, : len(shown)] = shown >> 8 * plane & 0xFF
    return pixels


def _names(pixels: Bytes) -> npt.NDArray[np.uint32]:
    low, middle, high = pixels.astype(np.uint32)
    return np.asarray(low | middle << 8 | high << 16)


def _quiet(raw: Bytes, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges as wide as a change in them can matter: to where two bytes in a row are no letters."""
    wide: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        low, high = start - until_quiet(raw[:start][::-1]), end + until_quiet(raw[end:])
        if wide and low <= wide[-1][1]:
            low, high = wide[-1][0], max(high, wide[-1][1])
            wide.pop()
        wide.append((low, high))
    return wide


def plot_entropy(raw: Bytes, cells: int) -> View:
    """The bytes of a file by the entropy of what they lie in (Saxe and Berlin 2015, section III).

    The file is cut into at most `cells` pieces of equal length, a multiple of `BLOCK`. Shape (17,
    cells): of each piece the level of its entropy, 1 to 16, and the share of its bytes with each
    value of the upper four bits, times 255. Zero past the end of the file.
    """
    size = _step(len(raw), cells)
    pixels = np.zeros((1 + NIBBLES, cells), dtype=np.uint8)
    _measure(raw, size, range(-(-len(raw) // size)), pixels)
    return View(pixels, StepGeometry(0, len(raw), size * cells))


def replot_entropy(raw: Bytes, ranges: Sequence[tuple[int, int]], view: View) -> Bytes:
    """`plot_entropy(raw, cells).pixels`, from a view of bytes that differ in `ranges` alone."""
    cells = view.pixels.shape[1]
    size = _step(len(raw), cells)
    touched = sorted({at for start, end in ranges for at in range(start // size, -(-end // size))})
    pixels = view.pixels.copy()
    _measure(raw, size, touched, pixels)
    return pixels


def _step(length: int, cells: int) -> int:
    """Bytes of a piece."""
    return BLOCK * max(1, -(-length // (BLOCK * cells)))


def _measure(raw: Bytes, size: int, pieces: Sequence[int], pixels: Bytes) -> None:
    """Write the columns of some pieces."""
    if not pieces:
        return
    if native.kernel is not None:
        native.kernel.measure(raw, size, np.asarray(pieces, dtype=np.int64), pixels)
        return
    counts = np.stack([_histogram(raw[at * size : (at + 1) * size]) for at in pieces])
    shares = counts / counts.sum(axis=1, keepdims=True)
    bits = -(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0)).sum(axis=1)
    # The nudges keep what lies on an edge from falling to another side on another machine.
    level = np.minimum((bits * (LEVELS / 8) + 1e-9).astype(np.int64), LEVELS - 1)
    nibbles = shares.reshape(len(counts), NIBBLES, -1).sum(axis=2)
    at = np.asarray(pieces)
    pixels[0, at] = 1 + level
    pixels[1:, at] = (nibbles.T * 255.0 + (0.5 + 1e-9)).astype(np.uint8)


def _histogram(piece: Bytes) -> npt.NDArray[np.int64]:
    """How often each value is there; of a long piece a part at a time, since counting takes eight
    bytes for each."""
    parts = [
        np.bincount(piece[at : at + _AT_ONCE], minlength=256)
        for at in range(0, len(piece), _AT_ONCE)
    ]
    return np.asarray(sum(parts))
