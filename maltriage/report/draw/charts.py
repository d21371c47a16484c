"""Charts of an evaluation: reliability, ROC, precision over recall, confusion.

They are scenes of `picture`, so `bitmap` paints them as PNG and `svg` writes them for a page,
without a plotting library. What colours say is said by place or number as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from maltriage.report import numbers
from maltriage.report.documents.evaluation import (
    Curve,
    Detection,
    Evaluation,
    FoldReport,
    RecipeFigures,
    Reliability,
)
from maltriage.report.draw.raster import Colour
from maltriage.report.draw.scene import (
    AGAINST,
    FAINT,
    INK,
    PAPER,
    RULE,
    Box,
    Item,
    Pixels,
    Scene,
    Stroke,
    Words,
)
from maltriage.report.sanitize import clean

SIDE = 260
"""Of the square that a chart fills, without its words."""
LEFT, TOP, RIGHT, BOTTOM = 104, 40, 20, 64
WIDTH, HEIGHT = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
MAX_RECIPES = 12
"""Rows of a picture."""
MAX_NAMED = 26
"""Labels from which on a confusion matrix has no names, which would lie on each other."""
MAX_COUNTED = 16
"""Labels from which on its cells have no numbers."""
HEADING = 34

_MARK = 3.0
_SIZE = 12


@dataclass(frozen=True)
class Subject:
    """What is drawn in one row: a bundle or a recipe."""

    name: str
    reliability: Reliability | None
    detection: Detection | None
    labels: tuple[str, ...]
    confusion: list[list[int]]


def subjects(found: Evaluation | FoldReport) -> list[Subject]:
    """The rows of a document."""
    if isinstance(found, Evaluation):
        names = tuple(row.label for row in found.labels)
        return [
            Subject(
                found.model.name, found.reliability, found.detection_curves, names, found.confusion
            )
        ]
    return [_of_recipe(recipe) for recipe in found.recipes]


def _of_recipe(recipe: RecipeFigures) -> Subject:
    names = tuple(row.label for row in recipe.labels)
    return Subject(
        recipe.recipe, recipe.reliability, recipe.detection_curves, names, recipe.confusion
    )


def picture(found: Evaluation | FoldReport) -> Scene:
    """All charts, a row for each bundle or recipe; at most `MAX_RECIPES`."""
    rows = subjects(found)[:MAX_RECIPES]
    items: list[Item] = []
    for number, subject in enumerate(rows):
        top = number * (HEIGHT + HEADING)
        items.append(Words(LEFT, top + 24, clean(subject.name), 15))
        for column, (_, scene) in enumerate(charts(subject)):
            items += (_moved(item, column * WIDTH, top + HEADING) for item in scene.items)
    size = (4 * WIDTH, len(rows) * (HEIGHT + HEADING))
    return Scene(*size, "evaluation", [Box(0, 0, *size, PAPER), *items])


def charts(subject: Subject) -> list[tuple[str, Scene]]:
    """What there is to draw of a subject, each with a line that says what it shows."""
    found: list[tuple[str, list[Item]]] = []
    if subject.reliability is not None:
        words = f"reliability diagram, ECE {subject.reliability.ece.value:.3f}"
        found.append((words, list(_reliability(subject.reliability))))
    if subject.detection is not None:
        curves = subject.detection
        words = f"ROC curve, area {curves.auc.value:.3f}"
        found.append((words, list(_roc(curves))))
        words = f"precision over recall, average precision {curves.average_precision.value:.3f}"
        found.append((words, list(_precision_recall(curves))))
    found.append(("confusion matrix", list(_confusion(subject.labels, subject.confusion))))
    return [
        (words, Scene(WIDTH, HEIGHT, words, [Box(0, 0, WIDTH, HEIGHT, PAPER), *items]))
        for words, items in found
    ]


def _x(value: float) -> float:
    return LEFT + value * SIDE


def _y(value: float) -> float:
    return TOP + (1.0 - value) * SIDE


def _frame(title: str, x: str, y: str) -> Iterator[Item]:
    """Axes from 0 to 1, with what they are."""
    yield Words(LEFT, TOP - 14, title, 14, room=SIDE + RIGHT)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield Stroke(((_x(tick), _y(0)), (_x(tick), _y(1))), RULE)
        yield Stroke(((_x(0), _y(tick)), (_x(1), _y(tick))), RULE)
        yield Words(_x(tick), _y(0) + 18, f"{tick:g}", _SIZE, FAINT, "middle")
        yield Words(_x(0) - 8, _y(tick) + 4, f"{tick:g}", _SIZE, FAINT, "end")
    yield Words(_x(0.5), _y(0) + 40, x, _SIZE, FAINT, "middle")
    yield Words(_x(0) - 40, _y(0.5) + 4, y, _SIZE, FAINT, "end", room=LEFT - 44)


def _reliability(found: Reliability) -> Iterator[Item]:
    yield from _frame("Reliability", "confidence", "right")
    yield Stroke(((_x(0), _y(0)), (_x(1), _y(1))), FAINT)
    for row in found.bins:
        at = _x(row.confidence)
        yield Stroke(((at, _y(row.right.low)), (at, _y(row.right.high))), AGAINST, 2.0)
        yield Box(at - _MARK, _y(row.right.value) - _MARK, 2 * _MARK, 2 * _MARK, AGAINST)
    ece, brier = found.ece, found.brier
    yield from _notes(
        f"ECE {ece.value:.3f} ({ece.low:.3f} to {ece.high:.3f})",
        f"Brier {brier.value:.3f} ({brier.low:.3f} to {brier.high:.3f})",
    )


def _roc(found: Detection) -> Iterator[Item]:
    yield from _frame("Malware or benign: ROC", "false-positive rate", "found")
    yield Stroke(((_x(0), _y(0)), (_x(1), _y(1))), FAINT)
    yield _line(found.roc)
    notes = [f"area {found.auc.value:.3f}"]
    notes += [
        f"{numbers.share(point.tpr.value)} found at {numbers.rate(point.fpr)}"
        for point in found.at
        if point.tpr is not None
    ]
    yield from _notes(*notes)


def _precision_recall(found: Detection) -> Iterator[Item]:
    yield from _frame("Malware or benign: precision", "recall", "precision")
    yield _line(found.precision_recall)
    share = found.malware / (found.malware + found.benign)
    yield Stroke(((_x(0), _y(share)), (_x(1), _y(share))), FAINT)
    yield from _notes(
        f"average {found.average_precision.value:.3f}", f"{share:.0%} of the files are malware"
    )


def _line(curve: Curve) -> Item:
    return Stroke(tuple((_x(x), _y(y)) for x, y in zip(curve.x, curve.y, strict=True)), AGAINST, 2)


def _notes(*lines: str) -> Iterator[Item]:
    """Lines in the lower right, where curves that are any good do not run."""
    for number, line in enumerate(reversed(lines)):
        y = _y(0) - 12 - 17 * number
        yield Words(_x(1) - 8, y, line, _SIZE, INK, "end", room=SIDE - 16)


def _confusion(labels: Sequence[str], confusion: list[list[int]]) -> Iterator[Item]:
    """Rows are true labels, columns what was said; a cell is as dark as its share of the row."""
    yield Words(LEFT, TOP - 14, "Confusion, by row", 14, room=SIDE + RIGHT)
    count = len(labels)
    if not count:
        return
    shares = [[value / max(1, sum(row)) for value in row] for row in confusion]
    rgb = bytes(part for row in shares for share in row for part in _shade(share))
    yield Pixels(LEFT, TOP, SIDE, SIDE, count, count, rgb)
    yield Box(LEFT, TOP, SIDE, SIDE, None, RULE)
    cell = SIDE / count
    for i, label in enumerate(labels if count <= MAX_NAMED else ()):
        size = max(7, min(11, int(cell) - 2))
        y = TOP + (i + 0.5) * cell + size / 3
        yield Words(LEFT - 6, y, clean(label), size, FAINT, "end", room=LEFT - 12)
    for i, row in enumerate(confusion if count <= MAX_COUNTED else ()):
        for j, value in enumerate(row):
            if value:
                colour = PAPER if shares[i][j] > 0.5 else INK
                x, y = LEFT + (j + 0.5) * cell, TOP + (i + 0.5) * cell + 3
                yield Words(x, y, str(value), 8, colour, "middle", room=cell)
    yield Words(_x(0.5), _y(0) + 18, "said, in the order of the rows", _SIZE, FAINT, "middle")


def _shade(share: float) -> Colour:
    """From paper to blue."""
    red, green, blue = (
        round(p + (a - p) * share**0.6) for p, a in zip(PAPER, AGAINST, strict=True)
    )
    return red, green, blue


def _moved(item: Item, x: float, y: float) -> Item:
    if isinstance(item, Stroke):
        return replace(item, points=tuple((px + x, py + y) for px, py in item.points))
    return replace(item, x=item.x + x, y=item.y + y)
