"""Chooses the patterns of a rule, and how many of them a file must have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from maltriage.rules.trial import Elsewhere, most
from maltriage.rules.types import Chosen, Group

MAX_STRINGS = 40
"""Most strings of a group."""
PER_RANGE = 6
"""Strings from one hot range, while other ranges still have some."""
ENOUGH = 2
"""Strings that two files must share to be of one group, and that a single file must have: one may
be chance."""
PART = 1 / 3
"""Share of the strings common to each file of a group that must be found."""
LEAST = 2
"""Least number of strings that must be found. No more are required where they were searched for in
`MANY` clean files and none of them is in any: other files of the family have only some of them."""
MANY = 1000


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
    for files in _together(found, count):
        members = frozenset(files)
        shared = [item for item in found if len(item.files & members) >= min(2, count)]
        chosen = _picked(shared, files)
        has = Counter(number for item in chosen for number in item.files & members)
        fewest = min(has[number] for number in files)
        if fewest < ENOUGH:
            left_out += files
        else:
            least = LEAST if tried >= MANY else max(LEAST, round(PART * fewest))
            groups.append(Group(tuple(files), tuple(chosen), fewest, least))
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
    shared: Counter[tuple[int, int]] = Counter()
    for item in found:
        shared.update(combinations(sorted(item.files), 2))
    group = {number: {number} for number in range(count)}
    for (first, second), strings in shared.items():
        if strings >= ENOUGH and group[first] is not group[second]:
            joined = group[first] | group[second]
            group.update(dict.fromkeys(joined, joined))
    return [sorted(files) for number, files in group.items() if number == min(files)]


def _picked(found: Sequence[Chosen], files: Sequence[int]) -> list[Chosen]:
    """At most `MAX_STRINGS` of the patterns, or as many as give each of many files `ENOUGH`.

    Greedy: each step takes the pattern that helps the files with the fewest so far, so patterns
    that all files share come first; at equal gain one of the least used range, then the one with
    most heat.
    """
    limit = max(MAX_STRINGS, ENOUGH * len(files))
    left = list(found)
    has = dict.fromkeys(files, 0)
    of_range: Counter[tuple[int, tuple[int, int]]] = Counter()
    picked: list[Chosen] = []

    def worth(item: Chosen) -> tuple[bool, bool, float, int, float]:
        needed = any(has.get(number, ENOUGH) < ENOUGH for number in item.files)
        gain = sum(1.0 / (1 + has[number]) for number in item.files if number in has)
        taken = of_range[item.evidence.file, item.evidence.range]
        return needed, taken < PER_RANGE, gain, -taken, item.evidence.contribution

    while left and len(picked) < limit:
        best = max(left, key=worth)
        left.remove(best)
        picked.append(best)
        of_range[best.evidence.file, best.evidence.range] += 1
        for number in best.files & has.keys():
            has[number] += 1
    return picked
