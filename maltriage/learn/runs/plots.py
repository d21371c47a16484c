"""Pictures of a run: how training went, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from maltriage.files.atomic import replace_file
from maltriage.learn.fit.checkpoint import Epoch

MAX_NAMED = 40
"""Labels named along the confusion matrix; with more only the colours are readable."""


def plot_curves(history: Sequence[Epoch], path: Path) -> None:
    """Loss and validation scores by epoch, as PNG."""
    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row.loss for row in history], label="training (smoothed, mixed up)")
    left.plot(epochs, _known([row.val_loss for row in history]), label="validation")
    left.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    right.plot(epochs, _known([row.val_macro_f1 for row in history]), label="macro-F1")
    right.plot(epochs, _known([row.val_accuracy for row in history]), label="accuracy")
    right.set(xlabel="epoch", ylabel="validation", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _known(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def plot_confusion(counts: npt.NDArray[np.int64], labels: Sequence[str], path: Path) -> None:
    """A confusion matrix as PNG: rows are true labels, colours are shares of a row."""
    size = 2.5 + 0.32 * min(len(labels), MAX_NAMED)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmax=1)
    axes.set(xlabel="taken for", ylabel="is")
    if len(labels) <= MAX_NAMED:
        # `$` would begin a formula, and a label is the name of somebody's folder.
        names = [label.replace("$", r"\$") for label in labels]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                dark = count > counts[row].sum() / 2
                axes.text(
                    column, row, str(count), ha="center", va="center", fontsize=8,
                    color="white" if dark else "black",
                )  # fmt: skip
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    with replace_file(path) as file:
        figure.savefig(file, dpi=120, format="png")
