"""The screen of false positives: flagged clean files by kind and by folder."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from maltriage.metrics import Interval
from maltriage.report import numbers
from maltriage.report.documents.evaluation import CleanKind, CleanReport
from maltriage.report.sanitize import untrusted
from maltriage.report.tabular import figure_table

MAX_NAMED = 10
"""Most flagged files, and folders of them, that are listed by name."""


def render(found: CleanReport, console: Console) -> None:
    """Print the false positives of a bundle."""
    console.print(
        Text.assemble(
            untrusted(found.model.name, "bold"),
            f"  {found.model.weights_sha256[:16]}  {numbers.count(found.all.files, 'clean file')}",
        )
    )
    console.print()
    table = figure_table("clean files", "files", "flagged", "rate", "95 % interval")
    for row in (*found.kinds, found.all):
        table.add_row(*_row(row))
    console.print(table)
    if found.by_folder is not None:
        drawn = f"95 % interval over {len(found.folders)} whole folders: "
        console.print(f"{drawn}{_range(found.by_folder)}", style="dim")
    worst = sorted((row for row in found.folders if row.flagged), key=lambda row: -row.flagged)
    if worst:
        console.print(Text("\nfolders with flagged files", "bold"))
    for row in worst[:MAX_NAMED]:
        line = Text.assemble(f"{row.flagged:4d} of {row.files:4d}  ", untrusted(row.kind))
        console.print(line)
    if found.malware_like:
        console.print(Text("\nflagged, highest margin first", "bold"))
    for path in found.malware_like[:MAX_NAMED]:
        console.print(untrusted(path), overflow="fold")
    if found.unknown:
        console.print(f"\n{numbers.count(found.unknown, 'more file')} unknown, not flagged")
    if found.unreadable:
        console.print(f"{numbers.count(found.unreadable, 'file')} gave no sample", style="yellow")


def _row(row: CleanKind) -> tuple[Text | str, ...]:
    rate = row.rate
    return (
        untrusted(row.kind),
        str(row.files),
        str(row.flagged),
        f"{rate.value:.2%}",
        _range(rate),
    )


def _range(rate: Interval) -> str:
    return f"{rate.low:.2%} to {rate.high:.2%}"
