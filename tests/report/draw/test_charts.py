"""Charts and the page of an evaluation."""

from __future__ import annotations

import io
from dataclasses import replace

import msgspec
import numpy as np
from PIL import Image
from report.pages import BREAKOUT, assert_sealed

from maltriage.assess.verdicts.folds import assess_folds
from maltriage.corpus.predictions import Predictions
from maltriage.report.documents.evaluation import FoldReport
from maltriage.report.draw import charts
from maltriage.report.draw.png import png
from maltriage.report.draw.scene import Pixels, Stroke, Words
from maltriage.report.draw.svg import svg
from maltriage.report.studies.evaluation_page import render_page

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


def test_a_chart_for_each_thing_that_is_measured() -> None:
    (subject,) = charts.subjects(report("net"))
    found = charts.charts(subject)
    assert [words.split(",")[0].split(" ")[0] for words, _ in found] == [
        *("reliability", "ROC", "precision", "confusion")
    ]
    for _, scene in found:
        for item in scene.items:
            points = item.points if isinstance(item, Stroke) else [(item.x, item.y)]
            assert all(0 <= x <= scene.width and 0 <= y <= scene.height for x, y in points)
    without = charts.charts(replace(subject, detection=None, reliability=None))
    assert [words for words, _ in without] == ["confusion matrix"]


def test_the_matrix_says_its_counts_in_words() -> None:
    (subject,) = charts.subjects(report("net"))
    _, scene = charts.charts(subject)[-1]
    said = [item.text for item in scene.items if isinstance(item, Words)]
    counts = [str(value) for row in subject.confusion for value in row if value]
    assert sorted(text for text in said if text.isdigit()) == sorted(counts)
    assert set(LABELS) <= set(said)
    (pixels,) = [item for item in scene.items if isinstance(item, Pixels)]
    assert (pixels.columns, pixels.rows, len(pixels.rgb)) == (3, 3, 27)
    many = tuple(f"label{i}" for i in range(60))
    _, crowded = charts.charts(
        replace(subject, labels=many, confusion=np.eye(60, dtype=int).tolist())
    )[-1]
    assert not [x for x in crowded.items if isinstance(x, Words) and x.text.startswith("label")]


def test_pictures_are_the_same_each_time() -> None:
    found = report("net", "peer")
    scene = charts.picture(found)
    data = png(scene)
    assert data == png(charts.picture(found))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (2 * scene.width, 2 * scene.height)
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20
    assert svg(scene).startswith(b"<svg ")
    crowd = report(*(f"net{i}" for i in range(14)))
    assert charts.picture(crowd).height == charts.MAX_RECIPES * (charts.HEIGHT + charts.HEADING)


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
