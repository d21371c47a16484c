"""The screen of what families look like: a table for each bundle, and one for each pair of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import figures
from maltriage.report.patterns import (
    BundlePatterns,
    FamilyLikeness,
    FamilyPattern,
    Mean,
    PairLikeness,
    PartKind,
    Patterns,
    RecurringRange,
)
from maltriage.report.sanitize import untrusted

COLUMNS: tuple[PartKind, ...] = ("header", "code", "imports", "resources", "data", "overlay")
"""Kinds that have a column of their own; what is on the others is `elsewhere`."""
STRONGEST = 2
"""Ranges of a family in the table."""
DIFFERENT = 2
"""Kinds in which bundles differ most, in the table."""


def render(found: Patterns, console: Console, *, details: bool = False) -> None:
    """Print the patterns.

    Args:
        details: also the views, all recurring ranges and the exemplars of each family.
    """
    for number, bundle in enumerate(found.bundles):
        if number:
            console.print()
        _bundle(bundle, found, console)
        if details:
            for family in bundle.families:
                console.print()
                _family(family, bundle, console)
    for pair in found.pairs:
        console.print()
        _pair(pair, console)


def _table(first: str, *titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column(first)
    for title in titles:
        table.add_column(title, justify="right")
    return table


def _bundle(bundle: BundlePatterns, found: Patterns, console: Console) -> None:
    files = sum(family.samples for family in bundle.families)
    console.print(
        Text.assemble(
            untrusted(bundle.name, "bold"),
            f"  {bundle.model.weights_sha256[:16]}  part {bundle.part}:"
            f" {figures.count(files, 'file')} of ",
            "1 family" if len(bundle.families) == 1 else f"{len(bundle.families)} families",
            f"  ({found.method}; where the heat lies that speaks for the family)",
        )
    )
    for line in _remarks(bundle):
        console.print(line)
    console.print()
    shown = [kind for kind in COLUMNS if any(_on(f, kind) >= 0.0005 for f in bundle.families)]
    table = _table("family", "files", "right", "alike", *shown, "elsewhere")
    table.add_column("recurring", overflow="fold")
    for family in bundle.families:
        shares = [_on(family, kind) for kind in shown]
        total = sum(kind.share.mean for kind in family.kinds)
        table.add_row(
            untrusted(family.family),
            f"{family.samples:,}",
            f"{family.right:,}",
            "-" if family.alike is None else f"{family.alike:.2f}",
            *(figures.share(share) for share in shares),
            figures.share(max(0.0, total - sum(shares))),
            Text("; ").join(_range(each) for each in family.ranges[:STRONGEST]),
        )
    console.print(table)


def _on(family: FamilyPattern, kind: PartKind) -> float:
    return next((each.share.mean for each in family.kinds if each.kind == kind), 0.0)


def _remarks(bundle: BundlePatterns) -> Iterator[Text]:
    if bundle.seen:
        yield Text("the model was trained on these files: see --folds", "yellow")
    elif bundle.part == "all":
        yield Text("whether the model was trained on some of them is not known", "yellow")
    if bundle.missing:
        yield Text(f"{figures.count(bundle.missing, 'file')} of no fold", "yellow")
    if bundle.unreadable:
        yield Text(f"{figures.count(bundle.unreadable, 'file')} could not be read", "yellow")
    for label, count in bundle.unknown_labels.items():
        note = Text.assemble("the model does not know ", untrusted(label), style="yellow")
        yield note.append(f": {figures.count(count, 'file')} left out")
    for family in bundle.families:
        if family.cold:
            note = Text.assemble(untrusted(family.family), ": ", style="yellow")
            yield note.append(f"{figures.count(family.cold, 'file')} without any heat")


def _range(found: RecurringRange) -> Text:
    """`header COFF TimeDateStamp 3.2%`, `code +0x20..0x40 1.1%`, `body 12..25 % of file 4.0%`."""
    return Text.assemble(untrusted(found.view), " ", _place(found), f" {found.heat.mean:.1%}")


def _place(found: RecurringRange) -> str:
    if found.unit == "share":
        return f"{100 * found.start:.0f}..{100 * found.end:.0f} % of file"
    if found.fields:
        first, last = found.fields[0], found.fields[-1]
        return first if first == last else f"{first} to {last}"
    start, end = round(found.start), round(found.end)
    return f"{'-' if start < 0 else '+'}0x{abs(start):x}..{'-' if end < 0 else ''}0x{abs(end):x}"


def _mean(value: Mean, digits: int = 3) -> tuple[str, str]:
    sd = "-" if value.sd is None else f"{value.sd:.{digits}f}"
    return figures.signed(value.mean, digits), sd


def _percent(value: Mean) -> tuple[str, str]:
    return figures.share(value.mean), "-" if value.sd is None else figures.share(value.sd)


def _family(family: FamilyPattern, bundle: BundlePatterns, console: Console) -> None:
    title = Text.assemble(untrusted(family.family, "bold"), " to ", untrusted(bundle.name))
    console.print(title)
    views = _table("view", "files with it", "adds to score", "sd", "share", "sd")
    for view in family.views:
        views.add_row(
            untrusted(view.name),
            f"{view.present:,}",
            *_mean(view.contribution),
            *_percent(view.share),
        )
    console.print(views)
    ranges = _table("recurring range", "heat", "sd", "speaks for it in")
    for each in family.ranges:
        place = Text.assemble(untrusted(each.view), " ", _place(each))
        ranges.add_row(place, *_percent(each.heat), figures.share(each.positive))
    console.print(ranges)
    for example in family.exemplars:
        console.print(
            Text.assemble(
                f"nearest to the mean: {example.likeness:.3f}  {example.sha256}  ",
                untrusted(example.path),
            ),
            soft_wrap=True,
        )


def _pair(pair: PairLikeness, console: Console) -> None:
    names = Text.assemble(untrusted(pair.first, "bold"), " and ", untrusted(pair.second, "bold"))
    if pair.ssim is None:
        console.print(names.append(": no family in common", "yellow"))
        return
    console.print(names.append(f": mean SSIM {pair.ssim:.3f}, the least alike first"))
    if pair.left_out:
        left = Text(", ").join(untrusted(label) for label in pair.left_out)
        console.print(Text.assemble("families of only one of them: ", left, style="yellow"))
    table = _table("family", "SSIM", "of body", "cosine", "other bytes")
    table.add_column("most on the first less on the second")
    for family in pair.families:
        table.add_row(
            untrusted(family.family),
            f"{family.ssim:.3f}",
            "-" if family.body_ssim is None else f"{family.body_ssim:.3f}",
            f"{family.cosine:.3f}",
            figures.share(family.distance),
            _differences(family),
        )
    console.print(table)


def _differences(family: FamilyLikeness) -> str:
    order: Sequence[PartKind] = sorted(family.shares, key=lambda kind: -abs(family.shares[kind]))
    return ", ".join(f"{kind} {family.shares[kind]:+.0%}" for kind in order[:DIFFERENT])
