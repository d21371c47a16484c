"""Builds an index of what is common among clean programs: see `maltriage.probe.common`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maltriage.errors import MaltriageError
from maltriage.probe.common import (
    COUNT_BITS,
    FORMAT,
    About,
    Counts,
    Keys,
    Prevalence,
    pieces,
    text_key,
    texts,
)
from maltriage.source.files import Found, WalkOptions, read_sample, walk
from maltriage.source.reading import Reading
from maltriage.work.workers import Workers

MAX_PIECES, MAX_TEXTS = 700_000, 300_000
"""Entries of an index, at most: the most common ones. Together they take 8 MB."""
LEAST = 2
"""Packages that an entry is in, at least."""
MERGED = 16_000_000
"""Keys that are held before those of one package are dropped into the sums."""
_IN_FLIGHT = 16


@dataclass(frozen=True)
class Built:
    """An index, and the number of files that could not be read."""

    index: Prevalence
    unread: int


def things_of(path: str, reading: Reading) -> tuple[Keys, Keys]:
    """The different pieces and texts of a file, as hashes; runs in a worker.

    Raises:
        SampleError: it is no program, or cannot be read.
    """
    data = read_sample(path, reading).data
    return np.unique(pieces(data)[1]), np.unique(
        np.array([text_key(t) for t in texts(data)], dtype=np.uint64)
    )


def build(
    folders: Iterable[Path],
    workers: Workers,
    reading: Reading,
    *,
    done: Callable[[int], None] = lambda files: None,
) -> Built:
    """An index of the clean programs below some folders.

    Each folder right below one of them is a package, and a file there is one by itself: what is in
    ten files of a package counts once.

    Args:
        done: called after each file with the number of files so far.

    Raises:
        MaltriageError: a folder is missing, or fewer than two packages hold programs.
    """
    sums = _Sums(MAX_PIECES), _Sums(MAX_TEXTS)
    files = unread = packages = 0
    for package in _packages(folders):
        own: tuple[list[Keys], list[Keys]] = ([], [])
        for answer in _things(package, workers, reading):
            if answer is None:
                unread += 1
                continue
            for kept, keys in zip(own, answer, strict=True):
                kept.append(keys)
            files += 1
            done(files)
        packages += bool(own[0])
        for total, kept in zip(sums, own, strict=True):
            total.add(kept)
    if packages < LEAST:
        raise MaltriageError(
            f"an index takes programs of {LEAST} packages or more; packages found: {packages}"
        )
    (piece_entries, pieces_from), (text_entries, texts_from) = (total.entries() for total in sums)
    about = About(FORMAT, packages, files, pieces_from, texts_from)
    return Built(Prevalence(about, piece_entries, text_entries), unread)


def _packages(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise MaltriageError(f"no folder {folder}")
        yield from sorted(folder.iterdir())


def _things(
    package: Path, workers: Workers, reading: Reading
) -> Iterator[tuple[Keys, Keys] | None]:
    """The things of each file of a package; None: it cannot be read, or takes too long."""
    under_way: deque[Future[tuple[Keys, Keys]]] = deque()

    def oldest() -> tuple[Keys, Keys] | None:
        try:
            return under_way.popleft().result()
        except Exception:
            return None

    for found in walk([str(package)], WalkOptions(max_size=reading.max_size)):
        if isinstance(found, Found):
            under_way.append(workers.submit(things_of, found.path, reading))
            if len(under_way) == _IN_FLIGHT:
                yield oldest()
    while under_way:
        yield oldest()


class _Sums:
    """In how many packages each key is."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys, self._counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        self._waiting: list[Keys] = []

    def add(self, parts: list[Keys]) -> None:
        """Count the keys of one package."""
        if parts:
            self._waiting.append(np.unique(np.concatenate(parts)))
        if sum(map(len, self._waiting)) > MERGED:
            self._merge()

    def _merge(self) -> None:
        if not self._waiting:
            return
        more, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting = []
        every = np.concatenate([self._keys, more])
        self._keys, place = np.unique(every, return_inverse=True)
        weights = np.concatenate([self._counts, counts])
        self._counts = np.bincount(place, weights, minlength=len(self._keys)).astype(np.int64)

    def entries(self) -> tuple[Keys, int]:
        """The entries of the most common keys, and in how many packages each is at least."""
        self._merge()
        counts: Counts = np.minimum(self._counts, (1 << COUNT_BITS) - 1)
        least = LEAST
        while (counts >= least).sum() > self._most:
            least += 1
        kept = counts >= least
        return self._keys[kept] | counts[kept].astype(np.uint64), least
