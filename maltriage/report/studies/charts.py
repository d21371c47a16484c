"""Charts of studies and of trainings, drawn by matplotlib (the extra `study`).

One function draws a chart of an evaluation as SVG for a page and as PNG for a file. Colours are
always backed by position or number. Names come from datasets and may be hostile: they are cleaned
and cut, and `$` begins no formula in them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from maltriage.errors import need
from maltriage.files.atomic import write_file
from maltriage.report import numbers
from maltriage.report.documents.comparison import Comparison
from maltriage.report.documents.evaluation import (
    Curve,
    Detection,
    Evaluation,
    FoldReport,
    Reliability,
)
from maltriage.report.sanitize import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 4.0
"""Side of a chart, in inches."""
MAX_RECIPES = 12
"""Most rows of a picture."""
MAX_NAMED, MAX_COUNTED = 26, 16
"""Most labels for which the rows of a confusion matrix have names, and its cells numbers; with more
these would overlap."""
MAX_ON_BOTH_SIDES = 40
"""The same for a picture of its own, which grows with its labels."""
MAX_SHOWN = 24
"""Most characters of a name."""
DPI = 120
BLUE, GREY = "#2166ac", "#8a8a8a"

_ALIKE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "maltriage",
    "text.parse_math": False,
}
"""Settings of matplotlib: text stays text, and the same data gives the same bytes."""
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

Draw = Callable[["Axes"], object]


class Epoch(Protocol):
    """The figures of an epoch of training."""

    @property
    def epoch(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def val_loss(self) -> float | None: ...
    @property
    def val_accuracy(self) -> float | None: ...
    @property
    def val_macro_f1(self) -> float | None: ...


@dataclass(frozen=True)
class Subject:
    """The subject of a row of charts: a bundle or a recipe."""

    name: str
    reliability: Reliability
    detection: Detection | None
    labels: tuple[str, ...]
    confusion: list[list[int]]


def need_matplotlib() -> None:
    """Raise MaltriageError if the extra `study` is not installed."""
    need("study", "charts need matplotlib", "matplotlib")


def subjects(found: Evaluation | FoldReport) -> list[Subject]:
    """The subjects of a document, one per row."""
    rows = (
        [(found.model.name, found)]
        if isinstance(found, Evaluation)
        else [(recipe.recipe, recipe) for recipe in found.recipes]
    )
    return [
        Subject(
            name,
            row.reliability,
            row.detection_curves,
            tuple(label.label for label in row.labels),
            row.confusion,
        )
        for name, row in rows
    ]


def charts(subject: Subject) -> list[tuple[str, Draw]]:
    """The charts of a subject: a title and the function that draws it."""
    judged = subject.reliability
    words = f"reliability diagram, ECE {judged.ece.value:.3f}"
    found: list[tuple[str, Draw]] = [(words, lambda axes: _reliability(axes, judged))]
    if (curves := subject.detection) is not None:
        words = f"ROC curve, area {curves.auc.value:.3f}"
        found.append((words, lambda axes: _roc(axes, curves)))
        words = f"precision over recall, average precision {curves.average_precision.value:.3f}"
        found.append((words, lambda axes: _precision_recall(axes, curves)))
    labels, confusion = subject.labels, subject.confusion
    draw: Draw = lambda axes: _confusion(axes, labels, confusion, MAX_NAMED, MAX_COUNTED)  # noqa: E731
    return [*found, ("confusion matrix", draw)]


def svg(draw: Draw) -> bytes:
    """One chart as an SVG document, the same bytes each time.

    Raises:
        MaltriageError: matplotlib is not installed.
    """
    with _figure(SIDE, SIDE) as figure:
        draw(figure.subplots())
        return _saved(figure, format="svg", metadata=_NO_METADATA)


def picture(found: Evaluation | FoldReport) -> bytes:
    """All charts as PNG, one row per bundle or recipe, at most `MAX_RECIPES`.

    Raises:
        MaltriageError: matplotlib is not installed.
    """
    rows = subjects(found)[:MAX_RECIPES]
    with _figure(4 * SIDE, len(rows) * (SIDE + 0.4)) as figure:
        for part, subject in zip(figure.subfigures(len(rows), 1, squeeze=False), rows, strict=True):
            part[0].suptitle(clean(subject.name))
            drawn = charts(subject)
            for axes, (_, draw) in zip(part[0].subplots(1, 4), drawn, strict=False):
                draw(axes)
            for axes in part[0].axes[len(drawn) :]:
                axes.set_axis_off()
        return _saved(figure, format="png", dpi=DPI)


def plot_confusion(counts: Sequence[Sequence[int]], labels: Sequence[str], path: Path) -> None:
    """Write a confusion matrix as PNG: rows are true labels, colours are shares of a row."""
    size = 2.5 + 0.32 * min(len(labels), MAX_ON_BOTH_SIDES)
    with _figure(size, size) as figure:
        axes = figure.subplots()
        names = _confusion(axes, labels, counts, MAX_ON_BOTH_SIDES, MAX_ON_BOTH_SIDES)
        axes.set(title="", xlabel="predicted", ylabel="true")
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        _write(figure, path)


def plot_curves(history: Sequence[Epoch], path: Path) -> None:
    """Write loss and validation scores by epoch, as PNG."""
    epochs = [row.epoch for row in history]
    with _figure(8, 3.5) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(epochs, [row.loss for row in history], label="training (smoothed, mixed up)")
        left.plot(epochs, _known(row.val_loss for row in history), label="validation")
        left.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        right.plot(epochs, _known(row.val_macro_f1 for row in history), label="macro-F1")
        right.plot(epochs, _known(row.val_accuracy for row in history), label="accuracy")
        right.set(xlabel="epoch", ylabel="validation", ylim=(0, 1))
        for axes in (left, right):
            axes.legend(frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
        _write(figure, path)


def plot_comparison(found: Comparison, path: Path) -> None:
    """Plot macro-F1 of each row, fold by fold, and of the nets against the cost of an image.

    Raises:
        OSError: the file cannot be written; an existing one stays.
    """
    rows = found.rows[::-1]  # the first on top
    names = [clean(row.name, MAX_SHOWN) for row in rows]
    with _figure(10, 1.6 + 0.42 * max(5, len(rows))) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for place, (row, name) in enumerate(zip(rows, names, strict=True)):
            # One seed above the next, so that equal values do not hide each other.
            seeds = {seed: i for i, seed in enumerate(row.seeds)}
            spread = [0.1 * (seeds[f.seed] - (len(seeds) - 1) / 2) for f in row.folds]
            values = [f.macro_f1 for f in row.folds]
            color = f"C{(len(rows) - 1 - place) % 10}"
            left.plot(values, [place + s for s in spread], "o", ms=4, alpha=0.5, color=color, mew=0)
            left.plot([row.macro_f1.mean] * 2, [place - 0.32, place + 0.32], color=color, lw=2)
            if row.timing is not None:
                cost, score = row.timing.median, row.pooled_macro_f1.mean
                right.plot(cost, score, "o", ms=7, color=color, label=name)
        left.set_yticks(range(len(rows)), names)
        left.set(
            xlabel="macro-F1: each fold and seed, and their mean", ylim=(-0.6, len(rows) - 0.4)
        )
        right.set(xlabel="ms an image, one thread (log)", ylabel="pooled macro-F1", xscale="log")
        # Names go beside the picture, since points of similar nets overlap.
        beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        right.legend(frameon=False, fontsize=8, reverse=True, **beside)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
        _write(figure, path)


def _reliability(axes: Axes, found: Reliability) -> None:
    _frame(axes, "Reliability", "confidence", "right")
    axes.axline((0, 0), slope=1, color=GREY, lw=1)
    for row in found.bins:
        axes.plot([row.confidence] * 2, [row.right.low, row.right.high], color=BLUE, lw=2)
    middle = [row.confidence for row in found.bins], [row.right.value for row in found.bins]
    axes.plot(*middle, "s", ms=5, color=BLUE)
    _notes(axes, f"ECE {numbers.bounded(found.ece)}", f"Brier {numbers.bounded(found.brier)}")


def _roc(axes: Axes, found: Detection) -> None:
    _frame(axes, "Malware or benign: ROC", "false-positive rate", "found")
    axes.axline((0, 0), slope=1, color=GREY, lw=1)
    _line(axes, found.roc)
    shares = [
        f"{numbers.share(point.tpr.value)} found at {numbers.rate(point.fpr)}"
        for point in found.at
        if point.tpr is not None
    ]
    _notes(axes, f"area {found.auc.value:.3f}", *shares)


def _precision_recall(axes: Axes, found: Detection) -> None:
    _frame(axes, "Malware or benign: precision", "recall", "precision")
    _line(axes, found.precision_recall)
    share = found.malware / (found.malware + found.benign)
    axes.axhline(share, color=GREY, lw=1)
    average = f"average {found.average_precision.value:.3f}"
    _notes(axes, average, f"{share:.0%} of the files are malware")


def _frame(axes: Axes, title: str, x: str, y: str) -> None:
    """Set up axes from 0 to 1, with title and labels."""
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(alpha=0.25)


def _line(axes: Axes, curve: Curve) -> None:
    axes.plot(curve.x, curve.y, color=BLUE, lw=2, clip_on=False)


def _notes(axes: Axes, *lines: str) -> None:
    """Write lines in the lower right, which good curves avoid."""
    axes.text(0.97, 0.03, "\n".join(lines), ha="right", va="bottom", fontsize=8)


def _confusion(
    axes: Axes, labels: Sequence[str], confusion: Sequence[Sequence[int]], named: int, counted: int
) -> list[str]:
    """Draw a confusion matrix: rows are true labels, columns predicted ones; a cell is as dark as
    its share of the row.

    Args:
        named: most labels for which rows have names.
        counted: most labels for which cells have numbers.

    Returns:
        The names of the rows.
    """
    count = len(labels)
    counts = np.asarray(confusion).reshape(count, count)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title="Confusion, by row", xlabel="predicted, in the order of the rows", xticks=[])
    names = [clean(label, MAX_SHOWN) for label in labels] if count <= named else []
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for (row, column), value in np.ndenumerate(counts) if count <= counted else ():
        if value:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(value), ha="center", va="center", fontsize=8, color=color)
    return names


def _known(values: Iterator[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` x `height` inches, to be drawn and saved in the block."""
    need_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_ALIKE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font may lack letters of a name
        yield Figure(figsize=(width, height), layout="constrained")


def _saved(figure: Figure, **how: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, **how)
    return stream.getvalue()


def _write(figure: Figure, path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    write_file(path, _saved(figure, format="png", dpi=DPI))
