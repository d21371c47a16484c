"""The screen of prediction sets: their coverage and their sizes."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from maltriage.metrics import Interval
from maltriage.report.documents.evaluation import SetFigures
from maltriage.report.sanitize import untrusted
from maltriage.report.tabular import figure_table


def render_sets(sets: SetFigures, console: Console) -> None:
    """Print the coverage of prediction sets, overall and for each label."""
    asked = f"{sets.coverage * 100:g}%"
    console.print(
        Text(f"\nprediction sets at a coverage of {asked}, seed {sets.seed}", "bold"),
        Text("(thresholds of each fold from the others; all predictions)", "dim"),
    )
    console.print(
        f"{_share(sets.held)} of {sets.samples} sets hold the right label; {sets.size:.2f} labels"
        f" in a set, {sets.single} with one ({sets.single_right} of them right), {sets.empty} empty"
    )
    console.print(
        f"a family is the likeliest label: {sets.named} named ({sets.named_right} right),"
        f" {sets.unnamed} unknown ({sets.unnamed_right} would be right)"
    )
    table = figure_table(
        "label", "files", "sets that hold it", "95 % interval", "labels in a set", ""
    )
    for row in sets.labels:
        table.add_row(
            untrusted(row.label),
            str(row.samples),
            f"{row.held.value:.1%}",
            f"{row.held.low:.1%} to {row.held.high:.1%}",
            f"{row.size:.2f}",
            Text(f"shared threshold: fewer than {sets.needed} scores" if row.pooled else "", "dim"),
        )
    console.print(table)


def _share(value: Interval) -> str:
    return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})"
