"""The screen of the open-set protocol."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from maltriage.report.documents.openset import OpenSetReport
from maltriage.report.sanitize import untrusted
from maltriage.report.tabular import figure_table

NOVELTY = "novelty"
SCORES = ("energy", "distance", NOVELTY, "nearest")
"""The two terms of novelty, their sum, which has the limit, and for comparison the distance to the
nearest training file in the embedding."""
TARGET = 0.85
"""Target for the mean area of novelty."""


def render(found: OpenSetReport, console: Console) -> None:
    """Print the protocol's figures."""
    head = Text.assemble(
        untrusted(found.net, "bold"),
        f", {found.epochs} epochs, views {', '.join(found.views)}, on ",
        untrusted(found.dataset),
        f": {len(found.families)} nets, each without one family",
    )
    console.print(head, soft_wrap=True)
    console.print(
        "strangers (files of a left-out label) against held-back known files, of which"
        f" {found.acceptance:.0%} are accepted\n"
    )
    columns = ("files", "known", *(f"AUROC {name}" for name in SCORES))
    table = figure_table("stranger", *columns, "called known", "95 % interval")
    for row in (*found.families, *found.others):
        held = row.called_known
        table.add_row(
            untrusted(row.name),
            *(str(row.files), str(row.known)),
            *(f"{row.auroc[name]:.3f}" for name in SCORES),
            *(f"{held.value:.1%}", f"{held.low:.1%} to {held.high:.1%}"),
        )
    console.print(table)
    areas = ", ".join(
        f"{name} {found.auroc[name].mean:.3f} ± {found.auroc[name].sd:.3f}" for name in SCORES
    )
    met = "reached" if found.auroc[NOVELTY].mean >= TARGET else "missed"
    console.print(f"\nmean over the families: AUROC {areas} (target of novelty {TARGET}: {met})")
    share = found.called_known
    console.print(f"files of a left-out family that are called known: {share.mean:.1%}")
