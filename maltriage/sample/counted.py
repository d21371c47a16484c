"""Views that say what a file holds, wherever it lies: its words, and its bytes by entropy.

Training and scanning call the same functions, as for the views of `maltriage.sample.byteplot`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maltriage.sample.byteplot import Bytes, View
from maltriage.sample.geometry import StepGeometry
from maltriage.sample.scattered import ScatteredGeometry
from maltriage.sample.words import find_words

BLOCK = 256
"""A cell of the view `entropy` is a number of whole blocks of so many bytes."""
LEVELS = 16
"""Levels of entropy, each half a bit per byte wide."""
NIBBLES = 16


def plot_words(raw: Bytes, slots: int) -> View:
    """The different words of a file, in the order of their first places.

    Shape (3, slots): 24 bits of each word's name, from the lowest byte up, the last of them never
    zero; zero where there is no word. Of a file with more words the first ones are shown.
    """
    found = find_words(raw)
    _, first, word = np.unique(found.name, return_index=True, return_inverse=True)
    order = np.argsort(first)
    slot = np.empty(len(order), dtype=np.int64)
    slot[order] = np.arange(len(order))
    place = slot[word]
    shown = place < slots
    geometry = ScatteredGeometry.of(len(raw), found.start[shown], found.size[shown], place[shown])
    name = found.name[first[order[:slots]]]
    pixels = np.zeros((3, slots), dtype=np.uint8)
    pixels[0, : len(name)] = name & 0xFF
    pixels[1, : len(name)] = name >> 8 & 0xFF
    pixels[2, : len(name)] = np.maximum(name >> 16 & 0xFF, 1)
    return View(pixels, geometry)


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
    counts = np.stack(
        [np.bincount(raw[at * size : (at + 1) * size], minlength=256) for at in pieces]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    bits = -(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0)).sum(axis=1)
    # The nudges keep what lies on an edge from falling to another side on another machine.
    level = np.minimum((bits * (LEVELS / 8) + 1e-9).astype(np.int64), LEVELS - 1)
    nibbles = shares.reshape(len(counts), NIBBLES, -1).sum(axis=2)
    at = np.asarray(pieces)
    pixels[0, at] = 1 + level
    pixels[1:, at] = (nibbles.T * 255.0 + (0.5 + 1e-9)).astype(np.uint8)
