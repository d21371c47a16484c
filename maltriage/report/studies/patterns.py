"""The screen of `maltriage patterns`: a table for each bundle, and one for each pair of them."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.patterns import (
    BundlePatterns,
    FamilyPattern,
    Mean,
    PairLikeness,
    Patterns,
)
from maltriage.report.sanitize import untrusted
from maltriage.report.studies import patterns_words
from maltriage.report.tabular import figure_table


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


def _bundle(bundle: BundlePatterns, found: Patterns, console: Console) -> None:
    console.print(
        Text.assemble(
            untrusted(bundle.name, "bold"),
            f"  {bundle.model.weights_sha256[:16]}  {patterns_words.subject(bundle)}"
            f"  ({found.method}; shares of the heat for the family)",
        )
    )
    for remark in patterns_words.remarks(bundle):
        console.print(untrusted(remark, "yellow"))
    console.print()
    kinds = patterns_words.columns(bundle)
    table = figure_table("family", "files", "right", "alike", *kinds, "elsewhere")
    table.add_column("recurring", overflow="fold")
    for family in bundle.families:
        recurring = untrusted(patterns_words.strongest(family))
        recurring.no_wrap = False
        table.add_row(
            untrusted(family.family),
            f"{family.samples:,}",
            f"{family.right:,}",
            "-" if family.alike is None else f"{family.alike:.2f}",
            *(numbers.share(patterns_words.on(family, kind)) for kind in kinds),
            numbers.share(patterns_words.elsewhere(family)),
            recurring,
        )
    console.print(table)


def _mean(value: Mean) -> tuple[str, str]:
    return numbers.signed(value.mean), "-" if value.sd is None else f"{value.sd:.3f}"


def _percent(value: Mean) -> tuple[str, str]:
    return numbers.share(value.mean), "-" if value.sd is None else numbers.share(value.sd)


def _family(family: FamilyPattern, bundle: BundlePatterns, console: Console) -> None:
    console.print(Text.assemble(untrusted(family.family, "bold"), " to ", untrusted(bundle.name)))
    views = figure_table("view", "files with it", "adds to score", "sd", "share", "sd")
    for view in family.views:
        views.add_row(
            untrusted(view.name),
            f"{view.present:,}",
            *_mean(view.contribution),
            *_percent(view.share),
        )
    console.print(views)
    ranges = figure_table("recurring range", "heat", "sd", "speaks for it in")
    for each in family.ranges:
        place = Text.assemble(untrusted(each.view), " ", untrusted(patterns_words.place(each)))
        ranges.add_row(place, *_percent(each.heat), numbers.share(each.positive))
    console.print(ranges)
    for example in family.exemplars:
        line = f"nearest to the mean: {example.likeness:.3f}  {example.sha256}  "
        console.print(Text.assemble(line, untrusted(example.path)), soft_wrap=True)


def _pair(pair: PairLikeness, console: Console) -> None:
    names = Text.assemble(untrusted(pair.first, "bold"), " and ", untrusted(pair.second, "bold"))
    if pair.ssim is None:
        console.print(names.append(": no family in common", "yellow"))
        return
    console.print(names.append(f": mean SSIM {pair.ssim:.3f}, the least alike first"))
    if pair.left_out:
        left = Text(", ").join(untrusted(label) for label in pair.left_out)
        console.print(Text.assemble("families of only one of them: ", left, style="yellow"))
    table = figure_table("family", "SSIM", "of body", "cosine", "other bytes")
    table.add_column("most on the first less on the second")
    for family in pair.families:
        table.add_row(
            untrusted(family.family),
            f"{family.ssim:.3f}",
            "-" if family.body_ssim is None else f"{family.body_ssim:.3f}",
            f"{family.cosine:.3f}",
            numbers.share(family.distance),
            untrusted(patterns_words.differences(family)),
        )
    console.print(table)
