"""What screen and page of patterns say alike, as strings that may quote a label: clean them."""

from __future__ import annotations

from collections.abc import Iterator

from maltriage.report import numbers
from maltriage.report.documents.patterns import (
    BundlePatterns,
    FamilyLikeness,
    FamilyPattern,
    PartKind,
    RecurringRange,
)

COLUMNS: tuple[PartKind, ...] = ("header", "code", "imports", "resources", "data", "overlay")
"""Kinds that have a column of their own; what is on the others is `elsewhere`."""
STRONGEST = 2
"""Ranges of a family in the table."""
DIFFERENT = 2
"""Kinds in which bundles differ most, in the table."""
_LEAST = 0.0005
"""A share that is not printed as 0.0%."""


def on(family: FamilyPattern, kind: PartKind) -> float:
    """Mean share of the heat that speaks for a family on one kind of bytes."""
    return next((each.share.mean for each in family.kinds if each.kind == kind), 0.0)


def elsewhere(family: FamilyPattern) -> float:
    """Mean share on the kinds that have no column."""
    return sum(each.share.mean for each in family.kinds if each.kind not in COLUMNS)


def columns(bundle: BundlePatterns) -> list[PartKind]:
    """The kinds that get a column: those that any family has heat on."""
    return [kind for kind in COLUMNS if any(on(f, kind) >= _LEAST for f in bundle.families)]


def subject(bundle: BundlePatterns) -> str:
    """`part all: 972 files of 14 families`."""
    files = sum(family.samples for family in bundle.families)
    count = len(bundle.families)
    families = "1 family" if count == 1 else f"{count} families"
    return f"part {bundle.part}: {numbers.count(files, 'file')} of {families}"


def remarks(bundle: BundlePatterns) -> Iterator[str]:
    """What to know before the figures are believed."""
    if bundle.seen:
        yield "the model was trained on these files: see --folds"
    elif bundle.part == "all":
        yield "whether the model was trained on some of them is not known"
    if bundle.missing:
        yield f"{numbers.count(bundle.missing, 'file')} of no fold left out"
    if bundle.unreadable:
        yield f"{numbers.count(bundle.unreadable, 'file')} could not be read"
    for label, count in bundle.unknown_labels.items():
        yield f"the model does not know {label}: {numbers.count(count, 'file')} left out"
    for family in bundle.families:
        if family.cold:
            yield f"{family.family}: {numbers.count(family.cold, 'file')} without any heat"


def place(found: RecurringRange) -> str:
    """`COFF TimeDateStamp`, `+0x20..0x40` from the anchor, `12..25 % of file`."""
    if found.unit == "share":
        return f"{100 * found.start:.0f}..{100 * found.end:.0f} % of file"
    if found.fields:
        first, last = found.fields[0], found.fields[-1]
        return first if first == last else f"{first} to {last}"
    start, end = round(found.start), round(found.end)
    return f"{'-' if start < 0 else '+'}0x{abs(start):x}..{'-' if end < 0 else ''}0x{abs(end):x}"


def strongest(family: FamilyPattern) -> str:
    """`header COFF TimeDateStamp 3.2%; body 12..25 % of file 1.1%`."""
    return "; ".join(
        f"{each.view} {place(each)} {each.heat.mean:.1%}" for each in family.ranges[:STRONGEST]
    )


def differences(family: FamilyLikeness) -> str:
    """`code +31%, header -20%`: the first bundle's shares less the second's."""
    order: list[PartKind] = sorted(family.shares, key=lambda kind: -abs(family.shares[kind]))
    return ", ".join(f"{kind} {family.shares[kind]:+.0%}" for kind in order[:DIFFERENT])
