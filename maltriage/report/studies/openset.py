"""The screen of the open-set protocol."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from maltriage.report.documents.openset import OpenSetReport
from maltriage.report.sanitize import untrusted
from maltriage.report.studies.prediction_sets import figure_table

NOVELTY = "novelty"
SCORES = ("energy", "distance", NOVELTY, "nearest")
"""The two parts of novelty, their sum, which the limit is for, and to compare with: the distance to
the nearest file of training in the embedding."""
TARGET = 0.85
"""Mean area that novelty should reach."""


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
        f"strangers against known files that the net had not seen; {found.acceptance:.0%} of those"
        " are accepted\n"
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
    console.print(
        f"a family that was left out is called a known one: {share.mean:.1%} of its files"
    )
