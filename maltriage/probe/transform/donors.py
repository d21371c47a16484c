"""Sources of bytes for transformations: a random generator, and benign files."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from maltriage.probe.transform.program import NotApplicableError
from maltriage.sample.byteplot import trimmed_length
from maltriage.sample.errors import SampleError
from maltriage.sample.views.words import find_words
from maltriage.source.samples import read_sample

MAX_DONOR_BYTES = 1 << 20
"""Most bytes taken of one benign file, from its end."""
DONORS_OF_WORDS = 32
"""Benign files whose common words are taken."""
MAX_TRIES = 1000
"""Most benign files opened for one sample."""


class Draw:
    """All random choices for one transformation of one file, the same for the same seed.

    Args:
        seed: of the whole measurement.
        sha256: of the file.
        name: of the transformation.
        donors: paths of benign files.
    """

    def __init__(self, seed: int, sha256: str, name: str, donors: Sequence[str] = ()) -> None:
        own = int(sha256[:16], 16), zlib.crc32(name.encode())
        self.generator = np.random.default_rng([seed, *own])
        self._donors = donors

    def benign(self, count: int) -> bytes:
        """`count` bytes from the ends of as many benign files as needed.

        Raises:
            NotApplicableError: there are none, or too few that can be read.
        """
        if not self._donors:
            raise NotApplicableError("no benign files to take bytes from")
        found: list[bytes] = []
        lacking = count
        for at in self.generator.integers(0, len(self._donors), MAX_TRIES):
            part = donor_tail(self._donors[at])[-lacking:]
            found.append(part)
            lacking -= len(part)
            if not lacking:
                return b"".join(found)
        raise NotApplicableError("too few bytes of benign files")

    def benign_words(self, count: int) -> bytes:
        """The `count` words that most of `DONORS_OF_WORDS` benign files have, in one line.

        Raises:
            NotApplicableError: there are no such files, or too few words.
        """
        if not self._donors:
            raise NotApplicableError("no benign files to take words from")
        chosen = self.generator.permutation(len(self._donors))[:DONORS_OF_WORDS]
        files = Counter(word for at in sorted(chosen) for word in donor_words(self._donors[at]))
        most = sorted(files, key=lambda word: (-files[word], word))[:count]
        if len(most) < count:
            raise NotApplicableError("too few words of benign files")
        return b" ".join(most)


@lru_cache(maxsize=4096)
def donor_words(path: str) -> frozenset[bytes]:
    """The different words of a benign file, in lower case; none if it cannot be read."""
    try:
        data = read_sample(path).data
    except SampleError:
        return frozenset()
    found = find_words(np.frombuffer(data, dtype=np.uint8))
    places = zip(found.start.tolist(), found.size.tolist(), strict=True)
    return frozenset(data[at : at + size].replace(b"\0", b"").lower() for at, size in places)


@lru_cache(maxsize=64)
def donor_tail(path: str) -> bytes:
    """The last bytes of a benign file without trailing zeros; empty if it cannot be read."""
    try:
        data = read_sample(path).data
    except SampleError:
        return b""
    end = trimmed_length(np.frombuffer(data, dtype=np.uint8))
    return data[max(0, end - MAX_DONOR_BYTES) : end]
