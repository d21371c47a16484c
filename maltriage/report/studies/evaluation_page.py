"""The page of an evaluation: figures, charts and families, of a bundle or of several recipes."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from markupsafe import Markup

from maltriage.report import html, numbers
from maltriage.report.documents.evaluation import Evaluation, FoldReport, RecipeFigures, Spread
from maltriage.report.studies import charts, evaluation


@dataclass(frozen=True)
class Row:
    """Figures of a label; `interval` is that of F1."""

    label: str
    support: int
    precision: float
    recall: float
    f1: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Section:
    """A bundle or a recipe on the page."""

    name: str
    what: str
    remarks: list[str]
    figures: list[tuple[str, str, str]]
    rows: list[Row]


def render_page(found: Evaluation | FoldReport) -> str:
    """Render the page, as one file.

    Raises:
        MaltriageError: matplotlib is not installed.
    """
    if isinstance(found, Evaluation):
        sections = [_of_bundle(found)]
    else:
        sections = [_of_recipe(recipe) for recipe in found.recipes]
    differences = [] if isinstance(found, Evaluation) else found.differences
    return html.render(
        "evaluation",
        sections=[
            (section, _drawn(subject))
            for section, subject in zip(sections, charts.subjects(found), strict=True)
        ],
        differences=differences,
        interval=numbers.difference,
    )


def _of_bundle(found: Evaluation) -> Section:
    return Section(
        found.model.name,
        f"{found.model.weights_sha256[:16]}, on part {found.part},"
        f" {numbers.count(found.samples, 'file')}",
        [line.plain for line in evaluation.remarks(found)],
        list(evaluation.of_bundle(found)),
        [
            Row(row.label, row.support, row.precision, row.recall, row.f1, row.f1_interval)
            for row in found.labels
        ],
    )


def _of_recipe(found: RecipeFigures) -> Section:
    folds = len({row.fold for row in found.folds})
    rows = [
        ("accuracy", *_spread(found.accuracy, "folds")),
        ("macro-F1", *_spread(found.macro_f1, "folds")),
        ("macro-F1 over all folds of a seed", *_spread(found.pooled_macro_f1, "seeds")),
        *evaluation.quality(found),
    ]
    remarks = []
    if found.duplicates:
        remarks.append(f"{found.duplicates} have a duplicate in another fold")
    return Section(
        found.recipe,
        f"{numbers.count(found.samples, 'file')}, predicted out of fold:"
        f" {folds} folds, {numbers.count(len(found.seeds), 'seed')}",
        remarks,
        rows,
        [
            Row(
                row.label,
                row.support,
                row.precision.mean,
                row.recall.mean,
                row.f1.mean,
                row.f1_interval,
            )
            for row in found.labels
        ],
    )


def _drawn(subject: charts.Subject) -> list[tuple[str, Markup]]:
    return [
        (
            words,
            Markup("data:image/svg+xml;base64," + base64.b64encode(charts.svg(draw)).decode()),
        )
        for words, draw in charts.charts(subject)
    ]


def _spread(value: Spread, over: str) -> tuple[str, str]:
    return f"{value.mean:.3f} ± {value.sd:.3f}", f"standard deviation over the {over}"
