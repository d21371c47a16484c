"""The chart of a comparison. Needs matplotlib, and nothing else of the extra `train`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from maltriage.files.atomic import replace_file
from maltriage.report.documents.comparison import Comparison
from maltriage.report.sanitize import clean

MAX_SHOWN = 24
"""Characters of a name."""


def plot_comparison(found: Comparison, path: Path) -> None:
    """Macro-F1 of each row, fold by fold, and of the nets against what an image costs, as PNG.

    Raises:
        OSError: the file cannot be written; one that was there stays.
    """
    rows = found.rows[::-1]  # the first on top
    figure = Figure(figsize=(10, 1.6 + 0.42 * max(5, len(rows))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for place, row in enumerate(rows):
        # Of one seed above of the next, so that equal values do not hide each other.
        seeds = {seed: i for i, seed in enumerate(row.seeds)}
        spread = [0.1 * (seeds[f.seed] - (len(seeds) - 1) / 2) for f in row.folds]
        values = [f.macro_f1 for f in row.folds]
        color = f"C{(len(rows) - 1 - place) % 10}"
        left.plot(values, [place + s for s in spread], "o", ms=4, alpha=0.5, color=color, mew=0)
        left.plot([row.macro_f1.mean] * 2, [place - 0.32, place + 0.32], color=color, lw=2)
        if row.timing is not None:
            right.plot(
                row.timing.median,
                row.pooled_macro_f1.mean,
                "o",
                ms=7,
                color=color,
                label=_name(row.name),
            )
    left.set_yticks(range(len(rows)), [_name(row.name) for row in rows])
    left.set(xlabel="macro-F1: each fold and seed, and their mean", ylim=(-0.6, len(rows) - 0.4))
    right.set(xlabel="ms an image, one thread (log)", ylabel="pooled macro-F1", xscale="log")
    # Names go beside the picture: nets that are alike lie on one another.
    right.legend(
        frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), reverse=True
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    with replace_file(path) as file:
        figure.savefig(file, dpi=120, format="png")


def _name(name: str) -> str:
    """A name as matplotlib may draw it: `$` would begin a formula."""
    return clean(name, MAX_SHOWN).replace("$", r"\$")
