"""Builds an index of what is common among clean programs: see `maltriage.probe.common`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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
    counts_in,
    hashes,
    pieces,
    text_keys,
    texts,
)
from maltriage.probe.detect_it_easy import detected
from maltriage.sample.errors import SampleError
from maltriage.sample.made_with import made_with
from maltriage.sample.pe import read_headers
from maltriage.source.files import Found, WalkOptions, walk
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample
from maltriage.work.window import in_order
from maltriage.work.workers import Workers

MAX_PIECES, MAX_TEXTS = 2_000_000, 450_000
"""Entries of an index, at most: the most common ones. Together they take 8 MB."""
EXTENDED = 3
"""Times as many has an index that is extended: it need not be as small as one that ships."""
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


Things = tuple[Keys, Keys, tuple[str, ...]]
"""The different pieces and texts of a file, as hashes, and what it was made with."""


def things_of(path: str, reading: Reading) -> Things:
    """What a file has; runs in a worker.

    Raises:
        SampleError: it is no program, or cannot be read.
    """
    data = read_sample(path, reading).data
    found = text_keys(texts(data))
    return np.unique(pieces(data)[1]), np.unique(found), makers_of(data)


def makers_of(data: bytes) -> tuple[str, ...]:
    """The compilers and installers that a program names, by Detect It Easy where it is installed;
    of Visual C++ with the version of its linker, which tells its runtime."""
    headers = read_headers(data, bare=True)
    if headers is None:
        return ()
    tools = made_with(data, headers, None)
    names = [tool.text for tool in tools if tool.kind in ("compiler", "installer", "language")]
    asked = [t.name for t in detected(data) if t.kind in ("compiler", "installer", "language")]
    names += [name for name in asked if not name.startswith("Microsoft")]
    return tuple(dict.fromkeys(name.removeprefix("Microsoft ") for name in names))


def build(
    folders: Iterable[Path],
    workers: Workers,
    reading: Reading,
    *,
    onto: Prevalence | None = None,
    done: Callable[[int, int], None] = lambda packages, total: None,
) -> Built:
    """An index of the clean programs below some folders.

    Each folder right below one of them is a package, and a file there is one by itself: what is in
    ten files of a package counts once.

    Args:
        onto: an index that is extended: counts are added to those in it.
        done: called after each package with the number of packages so far, and of all.

    Raises:
        MaltriageError: a folder is missing, or fewer than two packages hold programs.
    """
    sums = _Sums(MAX_PIECES), _Sums(MAX_TEXTS)
    files = unread = packages = 0
    makers = Counter[str]()
    if onto is not None:
        sums = _Sums(EXTENDED * MAX_PIECES, onto.pieces), _Sums(EXTENDED * MAX_TEXTS, onto.texts)
        files, packages = onto.about.files, onto.about.packages
        makers.update(onto.about.makers)
    waiting = list(_packages(folders))
    for number, package in enumerate(waiting, 1):
        own: tuple[list[Keys], list[Keys]] = ([], [])
        built = set[str]()
        for answer in _things(package, workers, reading):
            if answer is None:
                unread += 1
                continue
            for kept, keys in zip(own, answer[:2], strict=True):
                kept.append(keys)
            built.update(answer[2])
            files += 1
        packages += bool(own[0])
        makers.update(built)
        for total, kept in zip(sums, own, strict=True):
            total.add(kept)
        done(number, len(waiting))
    if packages < LEAST:
        raise MaltriageError(
            f"an index takes programs of {LEAST} packages or more; packages found: {packages}"
        )
    (piece_entries, pieces_from), (text_entries, texts_from) = (total.entries() for total in sums)
    about = About(FORMAT, packages, files, pieces_from, texts_from, dict(makers.most_common()))
    return Built(Prevalence(about, piece_entries, text_entries), unread)


def _packages(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise MaltriageError(f"no folder {folder}")
        yield from sorted(folder.iterdir())


def _things(package: Path, workers: Workers, reading: Reading) -> Iterator[Things | None]:
    """The things of each file of a package; None: it cannot be read, or takes too long."""
    found = walk([str(package)], WalkOptions(max_size=reading.max_size))
    jobs = (
        (item.path, workers.submit(things_of, item.path, reading))
        for item in found
        if isinstance(item, Found)
    )
    for _, answer in in_order(jobs, _IN_FLIGHT, workers.timeout):
        yield None if isinstance(answer, SampleError) else answer


class _Sums:
    """In how many packages each key is."""

    def __init__(self, most: int, entries: Keys | None = None) -> None:
        self._most = most
        entries = np.zeros(0, np.uint64) if entries is None else entries
        self._keys, self._counts = hashes(entries), counts_in(entries)
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
