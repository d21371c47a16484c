"""The screen of a quantisation: the gain and the cost of fewer bits."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.evaluation import FoldReport
from maltriage.report.documents.quantization import PrecisionFigures
from maltriage.report.sanitize import untrusted
from maltriage.report.studies.folds import difference_line, spread_text
from maltriage.report.tabular import figure_table


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
    taken = numbers.count(found.calibrated, "file")
    console.print(f"ranges from {taken}, compared on {found.compared:,} others\n")
    table = figure_table("convolutions", "size", "CPU ms a file")
    for cost in found.costs:
        table.add_row(cost.precision, numbers.size(cost.bytes), f"{cost.cpu_ms:.2f}")
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
    console.print(f"\nlargest heat on a view that a file lacks: {found.stray:.1e} of its |heat|")
    if found.unaccounted is not None:
        console.print(f"largest difference of a score from its heat: {found.unaccounted:.1e}")
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
        folds, seeds = len(recipe.folds), len(recipe.seeds)
        values = (
            (recipe.accuracy, folds),
            (recipe.macro_f1, folds),
            (recipe.pooled_macro_f1, seeds),
        )
        table.add_row(untrusted(recipe.recipe), *(spread_text(*value) for value in values))
    console.print(table)
    for row in found.differences:
        console.print(difference_line(row))
