"""Folds of the values of a column: one of each value, or of several values held back together.

Such a split is named `COLUMN`, or `COLUMN=A+B,C+D`: then the values A and B are one fold, called
`A+B`, C and D another, and every other value is one of its own. With a source of malware and one
of clean files in a fold, one net that has seen neither answers for both. A value may itself have a
`+` in its name: of `A+B` and `A`, the longer is meant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from maltriage.errors import MaltriageError


def column_of(split: str) -> str:
    """The column of a split by one."""
    return split.partition("=")[0]


def fold_names(split: str, values: Sequence[str]) -> tuple[str, ...]:
    """The name of the fold of each sample, by its value in the column; empty: none.

    Raises:
        MaltriageError: a joined value is none of the column, or is named twice.
    """
    column, _, joined = split.partition("=")
    name = {value: value for value in set(values)}
    seen = set[str]()
    for group in filter(None, joined.split(",")):
        for member in _members(group, name):
            if member in seen or not member or member not in name:
                why = "named twice" if member in seen else f"no value of {column}"
                raise MaltriageError(f"--split {split}: {member!r} is {why}")
            seen.add(member)
            name[member] = group
    return tuple(name[value] for value in values)


def _members(group: str, known: Collection[str]) -> Iterator[str]:
    """The values that are joined, each the longest of which there is one."""
    parts = group.split("+")
    while parts:
        ends = range(len(parts), 0, -1)
        end = next((end for end in ends if "+".join(parts[:end]) in known), 1)
        yield "+".join(parts[:end])
        del parts[:end]
