"""Chooses the patterns of a rule, and how many of them a file must have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.rules.trial import Elsewhere, most
from maltriage.rules.types import Chosen, Group

MAX_STRINGS = 40
"""Most strings of a group."""
PER_RANGE = 6
"""Strings from one hot range, while other ranges still have some."""
APART = 256
"""Bytes from one byte pattern of a group to the next in the same file. Patterns of one function or
resource lie side by side: a file that has one has the others, so more of them prove no more. Texts
may be as near as they like, since each says something by itself."""
ENOUGH = 2
"""Strings that two files must share to be of one group, and that a single file must have: one may
be chance."""
PART = 1 / 3
"""Share of the strings common to each file of a group that must be found."""
LEAST = 2
"""Least number of strings that must be found. No more are required where they were searched for in
`MANY` clean files and none of them is in any: other files of the family have only some of them."""
MANY = 1000
_DIGITS = 9
"""Of a gain: the order in which it is added up must not decide."""


@dataclass(frozen=True)
class Choice:
    """Groups of the given files, and the files that are in none."""

    groups: tuple[Group, ...]
    left_out: tuple[int, ...]


def choose(found: Sequence[Chosen], count: int, tried: int = 0) -> Choice:
    """Strings for each group of files that share some.

    A family by name is often several by their bytes: files of different groups may have nothing in
    common. A file that shares too little with any other is left out, unless it is the only one:
    strings of one file are its own, or noise.

    Args:
        count: of the given files.
        tried: clean files that have none of the patterns.
    """
    groups, left_out = [], []
    for linked in _together(found, count):
        files = linked
        while files:
            members = frozenset(files)
            shared = [item for item in found if len(item.files & members) >= min(2, count)]
            chosen = _picked(shared, files)
            has = Counter(number for item in chosen for number in item.files & members)
            enough = [number for number in files if has[number] >= ENOUGH]
            if enough == files:
                fewest = min(has.values())
                least = LEAST if tried >= MANY else max(LEAST, round(PART * fewest))
                groups.append(Group(tuple(files), tuple(chosen), fewest, least))
                break
            files = enough
        left_out += [number for number in linked if number not in files]
    groups.sort(key=lambda group: (-len(group.files), group.files))
    return Choice(tuple(groups), tuple(sorted(left_out)))


def choose_against(
    found: Sequence[Chosen],
    count: int,
    tried: int,
    others: Mapping[Chosen, Sequence[Elsewhere]],
    sizes: Mapping[str, int],
) -> Choice:
    """As `choose`, of strings with which a rule matches no more than `OTHERS` of any other family.

    Greedy: while it matches more, the string goes that most of the files have that are too many.

    Args:
        others: the files of other families that have a string.
        sizes: number of files of each of these families.
    """
    left = list(found)
    while True:
        choice = choose(left, count, tried)
        guilty = _guilty(choice, others, sizes)
        if not guilty:
            return choice
        worst = max(guilty, key=lambda item: (guilty[item], -len(item.files)))
        left = [item for item in left if item is not worst]


def _guilty(
    choice: Choice, others: Mapping[Chosen, Sequence[Elsewhere]], sizes: Mapping[str, int]
) -> Counter[Chosen]:
    """How many files each string matches, of families that a rule matches too many files of."""
    matched = dict[Elsewhere, list[Chosen]]()
    for group in choice.groups:
        has = dict[Elsewhere, list[Chosen]]()
        for item in group.strings:
            for file in others.get(item, ()):
                has.setdefault(file, []).append(item)
        for file, items in has.items():
            if len(items) >= group.least:
                matched.setdefault(file, []).extend(items)
    hit = Counter(file.label for file in matched)
    return Counter(
        item
        for file, items in matched.items()
        if hit[file.label] > most(sizes[file.label])
        for item in items
    )


def _together(found: Sequence[Chosen], count: int) -> list[list[int]]:
    """The files in groups: files that share `ENOUGH` strings are linked, also through other
    files."""
    has = _members(found, range(count)).astype(np.int64)
    linked = np.argwhere(np.triu(has.T @ has >= ENOUGH, 1)).tolist()
    group = {number: {number} for number in range(count)}
    for first, second in linked:
        if group[first] is not group[second]:
            joined = group[first] | group[second]
            group.update(dict.fromkeys(joined, joined))
    return [sorted(files) for number, files in group.items() if number == min(files)]


def _members(found: Sequence[Chosen], files: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which files have each pattern, [patterns, files]."""
    return _starts(found, files) >= 0


def _starts(found: Sequence[Chosen], files: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where each pattern starts in each file, [patterns, files]; -1: the file lacks it."""
    place = {number: i for i, number in enumerate(files)}
    starts = np.full((len(found), len(files)), -1, dtype=np.int64)
    for row, item in enumerate(found):
        for number in item.offsets.keys() & place.keys():
            starts[row, place[number]] = item.offsets[number]
    return starts


class _Gaps:
    """The bytes between patterns, by where each starts in each file."""

    def __init__(self, found: Sequence[Chosen], starts: npt.NDArray[np.int64]) -> None:
        lengths = np.array([len(item.candidate.pattern.data) for item in found], dtype=np.int64)
        self._starts, self._ends = starts, starts + lengths[:, None]
        self._there = starts >= 0
        self._hex = np.array([item.candidate.pattern.form == "hex" for item in found])

    def around(self, row: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """In which files each pattern overlaps one of them, and in which it is too near to it,
        [patterns, files] both."""
        before = self._starts[row] - self._ends
        gaps = np.maximum(before, self._starts - self._ends[row])
        both = self._there & self._there[row]
        overlap = both & (gaps < 0)
        sides = self._hex[:, None] & self._hex[row]
        return overlap, overlap | (both & (gaps < APART) & sides)


def _picked(found: Sequence[Chosen], files: Sequence[int]) -> list[Chosen]:
    """At most `MAX_STRINGS` of the patterns, or as many as give each of many files `ENOUGH`.

    Greedy: each step takes the pattern that helps the files with the fewest so far, so patterns
    that all files share come first; at equal gain one of the least used range, then the one with
    most heat. No two of them overlap in any of the files, and byte patterns are `APART` in each,
    unless a file would have fewer than `ENOUGH`: then in that one, or they do not overlap there.
    """
    limit = max(MAX_STRINGS, ENOUGH * len(files))
    starts = _starts(found, files)
    members, gaps = starts >= 0, _Gaps(found, starts)
    heat = np.array([item.evidence.heat for item in found])
    ranges = {(item.evidence.file, item.evidence.range) for item in found}
    place = {at: i for i, at in enumerate(ranges)}
    of = np.array([place[item.evidence.file, item.evidence.range] for item in found], dtype=int)
    has, taken = np.zeros(len(files), dtype=int), np.zeros(len(ranges), dtype=int)
    left = np.ones(len(found), dtype=np.bool_)
    clear, apart = members.copy(), members.copy()
    picked: list[Chosen] = []
    while len(picked) < limit:
        poor = has < ENOUGH
        able = left & (apart == members).all(axis=1)
        for there in (apart, clear):  # what would do in a file that would have too few
            stuck = poor & ~members[able].any(axis=0)
            able |= left & there[:, stuck].any(axis=1)
        best = np.flatnonzero(able)
        if not len(best):
            break
        needed = np.asarray(members[:, poor].any(axis=1))
        gain = np.round((members / (1 + has)).sum(axis=1), _DIGITS)
        used = taken[of]
        for worth in (needed, used < PER_RANGE, gain, -used, heat):
            best = best[worth[best] == worth[best].max()]
        row = int(best[0])
        overlap, near = gaps.around(row)
        clear &= ~overlap
        apart &= ~near
        left[row] = False
        picked.append(found[row])
        taken[of[row]] += 1
        has += members[row]
    return picked
