"""Finds the words in a file: runs of letters, in ASCII or UTF-16, as numbers that name them.

Names of imported functions, texts, paths and names of sections are words, whatever table they lie
in. Importing this costs numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.sample import native

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

SHORTEST, LONGEST = 5, 24
"""Letters of a word. Four letters in a row stand by chance in every kilobyte of noise."""
_AT_ONCE, _FARTHEST = 1 << 20, 1 << 16
"""Bytes that are looked at together, and how much farther for a place that cuts no word."""
MOST = 8192
"""Words of a file that are named, the first ones: it bounds the time."""


def _powers() -> npt.NDArray[np.uint32]:
    """Powers of a large odd number, modulo 2**32."""
    powers = [1]
    for _ in range(LONGEST - 1):
        powers.append(powers[-1] * 0x9E3779B1 % 2**32)
    return np.array(powers, dtype=np.uint32)


_POWERS = _powers()


@dataclass(frozen=True)
class Words:
    """The words of a file in the order of their places.

    `start` and `size`: bytes [start, start + size) of each. `name`: 32 bits that are the same for
    equal words, whatever their case and encoding, and hardly ever for others.
    """

    start: Offsets
    size: Offsets
    name: npt.NDArray[np.uint32]


def are_letters(raw: Bytes) -> npt.NDArray[np.bool_]:
    return np.asarray(((raw | 0x20) - np.uint8(ord("a"))) < 26)


def find_words(raw: Bytes) -> Words:
    """The words in bytes: 5 to 24 letters that no further letter touches."""
    parts: list[Words] = []
    at = count = 0
    while at < len(raw) and count < MOST:
        end = min(at + _AT_ONCE, len(raw))
        end += until_quiet(raw[end : end + _FARTHEST])
        found = _find(raw[at:end])
        parts.append(Words(found.start + at, found.size, found.name))
        at, count = end, count + len(found.start)
    if not parts:
        return _find(raw[:0])
    each = zip(*((part.start, part.size, part.name) for part in parts), strict=True)
    start, size, name = (np.concatenate(values)[:MOST] for values in each)
    return Words(start, size, name)


def until_quiet(raw: Bytes) -> int:
    """Number of bytes ahead of the first two in a row that are no letters, between which no word
    goes on; the length of `raw` where there are none."""
    step = 64
    while True:
        letter = are_letters(raw[:step])
        pairs = np.flatnonzero(~(letter[1:] | letter[:-1]))
        if len(pairs) or step >= len(raw):
            return int(pairs[0]) if len(pairs) else len(raw)
        step *= 16


def _find(raw: Bytes) -> Words:
    if native.kernel is not None:
        start, size = np.empty(MOST, dtype=np.int64), np.empty(MOST, dtype=np.int64)
        name = np.empty(MOST, dtype=np.uint32)
        count = native.kernel.find_words(raw, start, size, name)
        return Words(start[:count], size[:count], name[:count])
    found = are_letters(raw)
    edges = np.flatnonzero(found[1:] != found[:-1]) + 1
    if len(raw) and found[0]:
        edges = np.concatenate(([0], edges))
    if len(edges) % 2:
        edges = np.append(edges, len(raw))
    first, count = edges[::2], np.diff(edges)[::2]
    start, length = _wide(raw, first[count == 1])
    fits = (count >= SHORTEST) & (count <= LONGEST)
    start, length = np.concatenate((first[fits], start)), np.concatenate((count[fits], length))
    step = np.repeat((1, 2), (int(fits.sum()), len(start) - int(fits.sum())))
    order = np.argsort(start, kind="stable")[:MOST]
    start, length, step = start[order], length[order], step[order]
    return _named(raw, start, length, step)


def _wide(raw: Bytes, single: Offsets) -> tuple[Offsets, Offsets]:
    """First byte and letters of each word in UTF-16, from the letters that stand alone."""
    linked = np.zeros(len(single) + 1, dtype=np.bool_)  # whether a letter follows the one before
    if len(single) > 1:
        linked[1:-1] = (np.diff(single) == 2) & (raw[single[:-1] + 1] == 0)
    edges = np.flatnonzero(linked[1:] != linked[:-1])
    first, count = single[edges[::2]], edges[1::2] - edges[::2] + 1
    fits = (count >= SHORTEST) & (count <= LONGEST)
    return first[fits], count[fits]


def _named(raw: Bytes, start: Offsets, length: Offsets, step: Offsets) -> Words:
    """Words with their names."""
    if not len(start):
        return Words(start, start, np.zeros(0, dtype=np.uint32))
    begin = np.concatenate(([0], np.cumsum(length)[:-1]))
    place = np.arange(int(length.sum())) - np.repeat(begin, length)
    letter = raw[np.repeat(start, length) + place * np.repeat(step, length)] & 0x1F
    name = np.add.reduceat(letter * _POWERS[place], begin)  # 64 bits
    name ^= name >> np.uint32(16)
    name *= np.uint32(0x85EBCA6B)
    name ^= name >> np.uint32(13)
    return Words(start, length * step - (step - 1), name.astype(np.uint32))
