"""The screen of figures by the values of a column, such as by source."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.by_column import (
    AtThreshold,
    ColumnFigures,
    ColumnReport,
    Counted,
    KindFigures,
    ValueFigures,
)
from maltriage.report.sanitize import untrusted
from maltriage.report.tabular import figure_table

SET_ON = {
    "validation": "set on the validation part of each net",
    "elsewhere": "set on the clean files of the other folds",
    "given": "which was given",
    "card": "of the model's card",
    "even": "flagged or unknown",
}
MEANT = {"even": "P(malware) 50 %"}
CLEAN_BY = {"same": "the same net", "other": "its own net", "trained": "the same, trained on it"}
ALL = "all"
_FLAGGED = ("clean flagged", "malware flagged", "named", "named right")


def render(found: ColumnReport, console: Console) -> None:
    """Print the figures of each run."""
    for number, run in enumerate(found.runs):
        if number:
            console.print()
        _run(found, run, console)
    _means(found, console)
    if found.without:
        many = numbers.count(found.without, "file")
        console.print(untrusted(f"{many} without a {found.column}: in no figure", "yellow"))


def _run(report: ColumnReport, run: ColumnFigures, console: Console) -> None:
    seed = "" if run.seed is None else f", seed {run.seed}"
    how = (
        f"each {report.column} held back from the nets that answer for it"
        if run.held_back
        else f"by {report.column}"
    )
    console.print(Text.assemble(untrusted(run.name, "bold"), untrusted(f"{seed}: {how}")))
    if not run.held_back:
        text = f"figures are of files from elsewhere only if no {report.column} was trained on"
        console.print(untrusted(text), style="dim")
    console.print()
    table = figure_table(
        report.column, "files", "groups", "malware", "clean", "ECE of P(malware)", "label in set"
    )
    for value in run.values:
        table.add_row(
            untrusted(value.value),
            *(f"{n:,}" for n in (value.files, value.groups, value.malware, value.clean)),
            "-" if value.ece is None else numbers.bounded(value.ece),
            _count(value.in_set),
        )
    console.print(table)
    for place, first in enumerate(run.values[0].thresholds):
        _at(report, run, place, first, console)
    _areas(run, console)
    _read_first(run, console)


def _means(found: ColumnReport, console: Console) -> None:
    """Print the means over the values and seeds of each recipe."""
    if found.rates:
        text = untrusted(f"means over each {found.column} and seed", "bold")
        console.print(Text.assemble("\n", text))
        table = figure_table(
            "at the threshold", "kind", "clean flagged", "worst", "malware flagged", "least"
        )
        for row in found.rates:
            shares = (row.clean, row.worst_clean, row.malware, row.least_malware)
            table.add_row(
                untrusted(f"{row.name}, {MEANT.get(row.set_on, row.set_on)}")
                if row.kind == ALL
                else "",
                row.kind,
                *("-" if share is None else f"{share:.1%}" for share in shares),
            )
        console.print(table)
    if found.areas:
        console.print()
        table = figure_table("clean files answered for by", "kind", "pairs", "AUROC", "lowest")
        for area in found.areas:
            table.add_row(
                untrusted(f"{area.name}, {CLEAN_BY[area.clean_by]}") if area.kind == ALL else "",
                *(area.kind, str(area.pairs), f"{area.auc:.3f}", f"{area.lowest:.3f}"),
            )
        console.print(table)


def _at(
    report: ColumnReport, run: ColumnFigures, place: int, first: AtThreshold, console: Console
) -> None:
    even = first.set_on == "even"
    rate = "" if report.fpr is None else f" for {numbers.rate(report.fpr)}"
    stated = f" of {first.margin:+.3f}" if first.set_on == "given" else rate
    at = "at a P(malware) of 50 % and more" if even else f"at a threshold{stated}"
    console.print(Text(f"\n{at}, {SET_ON[first.set_on]}", "bold"))
    counted = ("clean", "malware") if even else _FLAGGED
    table = figure_table(untrusted(report.column), "kind", *counted)
    for value in run.values:
        for row in value.thresholds[place].kinds:
            _row(table, value, row, len(counted))
    console.print(table)


def _row(table: Table, value: ValueFigures, row: KindFigures, columns: int) -> None:
    first = row.kind == ALL
    counts = (row.clean, row.malware, row.named, row.right)[:columns]
    table.add_row(
        untrusted(value.value) if first else "",
        row.kind,
        *map(_count, counts),
        style="" if first else "dim",
    )


def _areas(run: ColumnFigures, console: Console) -> None:
    """Print the areas of all kinds together; the others are in the document."""
    rows = [(value, row) for value in run.values for row in value.against if row.kind == ALL]
    if not rows:
        return
    console.print(Text("\nmalware against clean files, by the margin", "bold"))
    table = figure_table("malware of", "clean files of", "answered for by", "files", "AUROC")
    for value, row in rows:
        table.add_row(
            untrusted(value.value),
            untrusted(row.value),
            CLEAN_BY[row.clean_by],
            f"{row.malware:,} / {row.clean:,}",
            numbers.bounded(row.auc),
        )
    console.print(table)


def _read_first(run: ColumnFigures, console: Console) -> None:
    """Print how much of the malware the first files of a table hold."""
    rows = [(value, row) for value in run.values if (row := value.read_first) is not None]
    if not rows:
        return
    head = rows[0][1]
    all_files = f"where {numbers.rate(head.share)} of all is malware"
    text = f"malware found in the first files by margin, {all_files}"
    console.print(Text(f"\n{text}", "bold"))
    shares = (f"first {numbers.rate(share)}" for share in head.first)
    table = figure_table("malware of", "answered for by", "files", *shares)
    for value, row in rows:
        table.add_row(
            untrusted(value.value),
            CLEAN_BY[row.clean_by],
            f"{row.malware:,} / {row.clean:,}",
            *(f"{at.value:.0%} ({at.low:.0%} to {at.high:.0%})" for at in row.found),
        )
    console.print(table)


def _count(found: Counted | None) -> str:
    if found is None:
        return "-"
    rate = found.rate
    return (
        f"{found.hits:,} of {found.files:,}  {rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
    )
