"""Charts and the page of an evaluation."""

from __future__ import annotations

import importlib.util
import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from PIL import Image
from report.pages import BREAKOUT, assert_sealed
from report.studies.test_comparison import comparison

from maltriage.assess.verdicts.folds import assess_folds
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.report.documents.evaluation import FoldReport
from maltriage.report.sanitize import clean
from maltriage.report.studies import charts
from maltriage.report.studies.evaluation_page import render_page
from maltriage.version import install_extra

SVG = "{http://www.w3.org/2000/svg}"
LABELS = ("benign", "icedid", "maze")


def predictions(recipe: str = "net", labels: tuple[str, ...] = LABELS) -> Predictions:
    rng = np.random.default_rng(1)
    truth = np.arange(400) % 4 % 3
    return Predictions(
        recipe=recipe,
        seed=0,
        labels=labels,
        sha256=tuple(f"{i:064x}" for i in range(400)),
        truth=truth,
        fold=np.arange(400) % 5,
        added=np.zeros(400, dtype=bool),
        logits=rng.normal(size=(400, 3)) + 2 * np.eye(3)[truth],
    )


def report(*recipes: str) -> FoldReport:
    return assess_folds([predictions(recipe) for recipe in recipes])


def drawn(found: FoldReport) -> dict[str, ElementTree.Element]:
    """The SVG of each chart of the first recipe, by the first word that says what it shows."""
    rows = charts.charts(charts.subjects(found)[0])
    return {
        words.split(",")[0].split(" ")[0]: ElementTree.fromstring(charts.svg(draw))
        for words, draw in rows
    }


def said(chart: ElementTree.Element) -> list[str]:
    return [line for element in chart.iter(f"{SVG}text") for line in element.itertext()]


def test_a_chart_for_each_thing_that_is_measured() -> None:
    found = report("net")
    shown = drawn(found)
    assert list(shown) == ["reliability", "ROC", "precision", "confusion"]
    (recipe,) = found.recipes
    assert recipe.detection_curves is not None
    ece, curves = recipe.reliability.ece, recipe.detection_curves
    assert f"ECE {ece.value:.3f} ({ece.low:.3f} to {ece.high:.3f})" in said(shown["reliability"])
    assert f"area {curves.auc.value:.3f}" in said(shown["ROC"])
    assert f"average {curves.average_precision.value:.3f}" in said(shown["precision"])
    (subject,) = charts.subjects(found)
    without = charts.charts(replace(subject, detection=None))
    assert [words.split(",")[0] for words, _ in without] == [
        "reliability diagram",
        "confusion matrix",
    ]


def test_the_matrix_says_its_counts_in_words() -> None:
    (subject,) = charts.subjects(report("net"))
    chart = drawn(report("net"))["confusion"]
    counts = [str(value) for row in subject.confusion for value in row if value]
    assert sorted(text for text in said(chart) if text.isdigit()) == sorted(counts)
    assert set(LABELS) <= set(said(chart))
    assert len(list(chart.iter(f"{SVG}image"))) == 1
    many = tuple(f"label{i}" for i in range(60))
    crowd = replace(subject, labels=many, confusion=np.eye(60, dtype=int).tolist())
    crowded = ElementTree.fromstring(charts.svg(charts.charts(crowd)[-1][1]))
    assert not [text for text in said(crowded) if text.startswith("label")]


@pytest.mark.filterwarnings("error")
def test_names_are_shown_as_they_stand() -> None:
    """No formula, no mark-up, no control characters, no complaint about letters a font lacks."""
    names = ("benign", "$x^{" + "y" * 90, "<b>\u65e5\x1b[31m")
    (subject,) = charts.subjects(assess_folds([predictions(labels=names)]))
    data = charts.svg(charts.charts(subject)[-1][1])
    shown = said(ElementTree.fromstring(data))
    assert set(shown) >= {clean(name, charts.MAX_SHOWN) for name in names}
    assert b"<b>" not in data
    assert b"\x1b" not in data
    links = re.findall(rb'(?:href|src)="([^"]{0,5})', data)
    assert all(link.startswith((b"data:", b"#")) for link in links)
    charts.picture(assess_folds([predictions("$\\frac{", names)]))


def test_pictures_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = report("net", "peer")
    data = charts.picture(found)
    assert data == charts.picture(found)
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        assert image.size == (4 * charts.SIDE * charts.DPI, 2 * 4.4 * charts.DPI)
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20
    draw = charts.charts(charts.subjects(found)[0])[0][1]
    assert charts.svg(draw) == charts.svg(draw)
    monkeypatch.setattr(charts, "MAX_RECIPES", 3)
    crowd = report(*(f"net{i}" for i in range(4)))
    with Image.open(io.BytesIO(charts.picture(crowd))) as image:
        assert image.size == (width, charts.MAX_RECIPES * height // 2)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MaltriageError, match=re.escape(install_extra("study"))):
        render_page(report("net"))


def test_a_page_is_sealed_whatever_labels_say() -> None:
    labels = ("benign", BREAKOUT, "maze")
    text = render_page(assess_folds([predictions(labels=labels), predictions(BREAKOUT, labels)]))
    parts = assert_sealed(text)
    pictures = [attributes for tag, attributes in parts.elements if tag == "img"]
    assert len(pictures) == 8
    assert all(attributes["alt"] for attributes in pictures)
    assert "alert(1)" not in parts.inside["script"][0]
    assert "needs 3,000 benign files, there are 200" in text
    assert "Differences" in text


def test_a_document_comes_back_as_it_was() -> None:
    found = report("net", "peer")
    assert msgspec.json.decode(msgspec.json.encode(found), type=FoldReport) == found


def test_the_chart_of_a_comparison(tmp_path: Path) -> None:
    found = comparison()
    odd = msgspec.structs.replace(found.rows[2], name="$x^{" + "y" * 90)
    charts.plot_comparison(
        msgspec.structs.replace(found, rows=[*found.rows, odd]), tmp_path / "chart.png"
    )
    with Image.open(tmp_path / "chart.png") as image:
        assert image.format == "PNG"
        assert image.width > 800
    assert [path.name for path in tmp_path.iterdir()] == ["chart.png"]
