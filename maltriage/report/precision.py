"""The document of a quantisation, and its screen: what fewer bits gain and what they cost."""

from __future__ import annotations

from typing import Literal

import msgspec
from rich.console import Console
from rich.text import Text

from maltriage.report import figures
from maltriage.report.document import ModelRef
from maltriage.report.folds import difference_line, spread_text
from maltriage.report.measures import FoldReport
from maltriage.report.sanitize import untrusted
from maltriage.report.sets import figure_table


class PrecisionCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle's size, and the processor time that its forward pass takes for a sample.

    Time is that of one thread in batches of 16, the least of several rounds; the two bundles take
    turns, so their ratio holds better than the figures.
    """

    precision: Literal["float32", "int8", "fp16"]
    bytes: int
    cpu_ms: float


class HeatAgreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a view, the correlation of the maps of both bundles in the files that have heat there."""

    view: str
    files: int
    median: float
    least: float


class PrecisionFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle of fewer bits beside the one that it was made from.

    `compared`: files that the ranges of activations were not taken from. `stray`: the most heat on
    a view that a file lacks, in shares of the file's |heat|. `unaccounted`: the most of a score
    that heat and baseline leave; None where the net is not additive. `folds`: both recipes out of
    fold; None: not asked for.
    """

    model: ModelRef
    source: ModelRef
    costs: list[PrecisionCost]
    calibrated: int
    compared: int
    same_label: int
    logit_change: float
    """The largest."""
    heat: list[HeatAgreement]
    stray: float
    unaccounted: float | None
    folds: FoldReport | None = None
    without: str | None = None
    """Why the card has no temperature and no prediction sets, though folds were asked for."""

    @property
    def speedup(self) -> float:
        """Of the forward pass."""
        return self.costs[0].cpu_ms / self.costs[1].cpu_ms


def render(found: PrecisionFigures, console: Console) -> None:
    """Print a quantisation."""
    console.print(
        Text.assemble(
            untrusted(found.model.name, "bold"),
            f"  {found.model.weights_sha256[:16]}, from ",
            untrusted(found.source.name),
            f" {found.source.weights_sha256[:16]}",
        )
    )
    taken = figures.count(found.calibrated, "file")
    console.print(f"ranges from {taken}, compared on {found.compared:,} others\n")
    table = figure_table("convolutions", "size", "CPU ms a file")
    for cost in found.costs:
        table.add_row(cost.precision, figures.size(cost.bytes), f"{cost.cpu_ms:.2f}")
    console.print(table)
    console.print(f"\nthe forward pass is {found.speedup:.2f} times as fast here")
    console.print(
        f"the same label in {found.same_label} of {found.compared};"
        f" logits change by {found.logit_change:.3f} at most\n"
    )
    heat = figure_table("heat", "files", "median correlation", "least")
    for row in found.heat:
        heat.add_row(untrusted(row.view), str(row.files), f"{row.median:.4f}", f"{row.least:.4f}")
    console.print(heat)
    console.print(f"\nmost heat on a view that a file lacks: {found.stray:.1e} of its |heat|")
    if found.unaccounted is not None:
        console.print(f"most of a score that is unaccounted for: {found.unaccounted:.1e}")
    if found.folds is not None:
        _folds(found.folds, console)
    if found.without is not None:
        console.print(untrusted(f"note: no prediction sets: {found.without}"), soft_wrap=True)
    console.print(
        "\nthe new card has no threshold: set it with `maltriage calibrate`", style="yellow"
    )


def _folds(found: FoldReport, console: Console) -> None:
    console.print("\nout of fold, each net made anew from that of its fold", style="bold")
    table = figure_table("recipe", "accuracy", "macro-F1", "pooled macro-F1")
    for recipe in found.recipes:
        values = (recipe.accuracy, recipe.macro_f1, recipe.pooled_macro_f1)
        table.add_row(untrusted(recipe.recipe), *map(spread_text, values))
    console.print(table)
    for row in found.differences:
        console.print(difference_line(row))
