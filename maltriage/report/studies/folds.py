"""The screen of out-of-fold figures: recipes side by side, their differences, the labels."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.evaluation import Difference, FoldReport, Spread
from maltriage.report.sanitize import untrusted
from maltriage.report.studies.prediction_sets import render_sets
from maltriage.report.tabular import figure_table


def render(found: FoldReport, console: Console) -> None:
    """Print the figures of recipes on the same folds."""
    first = found.recipes[0]
    folds = len({row.fold for row in first.folds})
    console.print(
        f"{numbers.count(first.samples, 'sample')}, predicted out of fold:"
        f" {numbers.count(folds, 'fold')}, {numbers.count(len(first.seeds), 'seed')}"
        " (mean and standard deviation)"
    )
    for recipe in found.recipes:
        line = Text.assemble(untrusted(recipe.recipe), f": {recipe.duplicates} have a duplicate")
        line.append(" in another fold (near duplicates: see the card)")
        line.stylize("yellow" if recipe.duplicates else "")
        console.print(line)
    console.print()
    table = figure_table(
        "recipe", "accuracy", "macro-F1", "pooled macro-F1", "ECE", "detection AUC"
    )
    for recipe in found.recipes:
        seeds = len(recipe.seeds)
        table.add_row(
            untrusted(recipe.recipe),
            *(
                spread_text(value, len(recipe.folds))
                for value in (recipe.accuracy, recipe.macro_f1)
            ),
            *(spread_text(value, seeds) for value in (recipe.pooled_macro_f1, recipe.ece)),
            "-" if recipe.detection is None else spread_text(recipe.detection, seeds),
        )
    console.print(table)
    console.print()
    _quality(found, console)
    if found.differences:
        console.print(
            Text("\ndifference, paired by fold and seed, corrected 95 % interval", "bold")
        )
    for row in found.differences:
        console.print(difference_line(row))
    console.print()
    labels = figure_table(
        untrusted(first.recipe), "files", "precision", "recall", "F1", "95 % interval"
    )
    for label in first.labels:
        low, high = label.f1_interval
        labels.add_row(
            untrusted(label.label),
            str(label.support),
            *(f"{value.mean:.3f}" for value in (label.precision, label.recall, label.f1)),
            numbers.between(low, high),
        )
    console.print(labels)
    for sets in first.sets:
        render_sets(sets, console)


def _quality(found: FoldReport, console: Console) -> None:
    """Print calibration and detection of each recipe, over all seeds together."""
    rates = next((r.detection_curves.at for r in found.recipes if r.detection_curves), [])
    names = [f"found at {numbers.rate(point.fpr)} FPR" for point in rates]
    table = figure_table("all seeds (95 %)", "ECE", "Brier score", *names)
    for recipe in found.recipes:
        judged, curves = recipe.reliability, recipe.detection_curves
        at = [] if curves is None else curves.at
        table.add_row(
            untrusted(recipe.recipe),
            *(numbers.bounded(value) for value in (judged.ece, judged.brier)),
            *("-" if point.tpr is None else numbers.bounded(point.tpr) for point in at),
        )
    console.print(table)
    told = {
        f"malware found at {numbers.rate(point.fpr)}: {point.why}"
        for recipe in found.recipes
        for point in (recipe.detection_curves.at if recipe.detection_curves else [])
        if point.why
    }
    for line in sorted(told):
        console.print(line, style="dim")


def spread_text(value: Spread, count: int) -> str:
    """`0.881 ± 0.014`, of `count` values; `0.881` of one, which has no deviation."""
    return f"{value.mean:.3f} ± {value.sd:.3f}" if count > 1 else f"{value.mean:.3f}"


def difference_line(row: Difference) -> Text:
    """A difference of two recipes, with its intervals."""
    return Text.assemble(
        *(untrusted(row.first), " - ", untrusted(row.second)),
        f":  accuracy {numbers.difference(row.accuracy)},",
        f"  macro-F1 {numbers.difference(row.macro_f1)}",
    )
