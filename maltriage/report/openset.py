"""The document of the open-set protocol and its screen."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.text import Text

from maltriage.report.measures import Interval, Spread
from maltriage.report.sanitize import untrusted
from maltriage.report.sets import figure_table

NOVELTY = "novelty"
SCORES = ("energy", "distance", NOVELTY, "nearest")
"""The two parts of novelty, their sum, which the limit is for, and to compare with: the distance to
the nearest file of training in the embedding."""
TARGET = 0.85
"""Mean area that novelty should reach."""


class StrangerFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well a net tells strangers from `known` files that it had not seen.

    `auroc` has the area under the ROC curve of each score: how often a stranger scores higher than
    a known file. `called_known` is the share of the strangers that is accepted where a stated
    share of the known files is, with its exact 95 % interval.
    """

    name: str
    files: int
    known: int
    auroc: dict[str, float]
    called_known: Interval


class OpenSetReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of nets that were each trained without one family.

    `auroc` and `called_known` are spread over the families. `others` are strangers of other
    kinds, which every net was asked about: the mean over the nets.
    """

    net: str
    dataset: str
    epochs: int
    views: list[str]
    acceptance: float
    auroc: dict[str, Spread]
    called_known: Spread
    families: list[StrangerFigures]
    others: list[StrangerFigures]


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
