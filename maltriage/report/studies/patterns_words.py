"""Texts that the screen and the page of patterns share. They may quote a label: clean them."""

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
from maltriage.report.studies import measured_files

COLUMNS: tuple[PartKind, ...] = ("header", "code", "imports", "resources", "data", "overlay")
"""Kinds with a column of their own; the others are summed as `elsewhere`."""
STRONGEST = 2
"""Most ranges of a family in the table."""
DIFFERENT = 2
"""Most kinds in the table in which bundles differ."""
_LEAST = 0.0005
"""Smallest share that is not printed as 0.0%."""


def on(family: FamilyPattern, kind: PartKind) -> float:
    """Mean share of the heat for a family on one kind of bytes."""
    return next((each.share.mean for each in family.kinds if each.kind == kind), 0.0)


def elsewhere(family: FamilyPattern) -> float:
    """Mean share on the kinds without a column."""
    return sum(each.share.mean for each in family.kinds if each.kind not in COLUMNS)


def columns(bundle: BundlePatterns) -> list[PartKind]:
    """The kinds with a column: those on which any family has heat."""
    return [kind for kind in COLUMNS if any(on(f, kind) >= _LEAST for f in bundle.families)]


def subject(bundle: BundlePatterns) -> str:
    """`part all: 972 files of 14 families`."""
    files = sum(family.samples for family in bundle.families)
    count = len(bundle.families)
    families = "1 family" if count == 1 else f"{count} families"
    return f"part {bundle.part}: {numbers.count(files, 'file')} of {families}"


def remarks(bundle: BundlePatterns) -> Iterator[str]:
    """Remarks above the figures."""
    files = sum(family.samples for family in bundle.families) + bundle.unreadable
    yield from measured_files.remarks(bundle, files)
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
    """`code +31%, header -20%`: the first bundle's shares minus the second's."""
    order: list[PartKind] = sorted(family.shares, key=lambda kind: -abs(family.shares[kind]))
    return ", ".join(f"{kind} {family.shares[kind]:+.0%}" for kind in order[:DIFFERENT])
