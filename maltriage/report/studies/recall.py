"""The screen of `maltriage index recall`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.recall import Recall
from maltriage.report.sanitize import untrusted
from maltriage.report.tabular import fact_table, figure_table


def render(found: Recall, console: Console) -> None:
    """Print the recall of families among similar files."""
    console.print(
        Text.assemble(
            untrusted(found.model.name, "bold"),
            f"  {found.model.weights_sha256[:16]}  ",
            untrusted(found.held),
        )
    )
    over = f", the mean over {found.nets} nets" if found.nets > 1 else ""
    console.print(
        f"{numbers.count(found.files, 'malware file')}, each compared by {found.distance} with the"
        f" {found.indexed:,} files that its net was trained on{over}"
    )
    if found.near_twins:
        count = numbers.count(found.near_twins, "file")
        console.print(
            f"{count} held back with a near duplicate among them: not a grouped split", "yellow"
        )
    console.print()
    summary = fact_table()
    summary.add_row("family recall at 1", *numbers.with_interval(found.at_1))
    summary.add_row("family recall at 5", *numbers.with_interval(found.at_5))
    summary.add_row("the model's own label", *numbers.with_interval(found.classified))
    console.print(summary)
    console.print()
    table = figure_table("label", "files", "at 1", "at 5", "model", "distance")
    for row in found.labels:
        values = (row.at_1, row.at_5, row.classified, row.median)
        table.add_row(untrusted(row.label), str(row.files), *(f"{v:.3f}" for v in values))
    console.print(table)
    console.print()
    bands = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in ("nearest at", "malware", "of its family"):
        bands.add_column(name, justify="right")
    for band in found.bands:
        value = "" if band.at_1 is None else f"{band.at_1:.3f}"
        bands.add_row(f"{band.low:.1f} to {band.high:.1f}", str(band.files), value)
    console.print(bands)
    console.print()
    shown = ", ".join(f"{percent} % within {d:.3f}" for percent, d in found.distances.items())
    console.print(f"nearest file: {shown}")
    if found.limit is None:
        console.print("no limit: too few files were held back", style="dim")
    else:
        console.print(f"limit {found.limit.distance:.3f}: beyond it no file is similar")
