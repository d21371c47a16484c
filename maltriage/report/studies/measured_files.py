"""Remarks on the files that the figures of a study are of. They may quote a label: clean them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from maltriage.report import numbers


class Measured(Protocol):
    """A document with figures over labelled files; its fields are described in `Robustness`."""

    @property
    def part(self) -> str: ...

    @property
    def seen(self) -> bool: ...

    @property
    def in_index(self) -> int | None: ...

    @property
    def missing(self) -> int: ...

    @property
    def unreadable(self) -> int: ...

    @property
    def unknown_labels(self) -> dict[str, int]: ...


def remarks(found: Measured, files: int) -> Iterator[str]:
    """What to know of the files behind the figures.

    Args:
        files: their number.
    """
    if found.seen:
        yield "the model was trained on these files: see --folds"
    elif found.part == "all":
        yield overlap(found.in_index, files)
    if found.missing:
        yield f"{numbers.count(found.missing, 'file')} in no fold, or missing"
    if found.unreadable:
        yield f"{numbers.count(found.unreadable, 'file')} could not be measured"
    for label, count in sorted(found.unknown_labels.items()):
        yield f"the model does not know {label}: {numbers.count(count, 'file')} left out"


def overlap(in_index: int | None, files: int) -> str:
    """What the model's index says of an overlap with the training files, not known otherwise."""
    many = numbers.count(files, "file")
    if in_index is None:
        return "the overlap with the training files is not known"
    if in_index:
        are = "is" if in_index == 1 else "are"
        return (
            f"{in_index:,} of {many} {are} in the model's index, usually of its training"
            " files: figures on these measure its memory"
        )
    return f"none of {many} is in the model's index, usually of its training files"
