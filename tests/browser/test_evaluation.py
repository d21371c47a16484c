"""The page of an evaluation, in a browser."""

from __future__ import annotations

from browser.conftest import Open
from report.draw.test_charts import report

from maltriage.report.studies.evaluation_page import render_page

BLANK = "(picture) => !(picture.complete && picture.naturalWidth > 0 && picture.width > 0)"


def test_charts_are_drawn_and_fit_a_narrow_window(opened: Open) -> None:
    page, _ = opened(render_page(report("net", "peer")), viewport={"width": 420, "height": 900})
    pictures = page.locator("img")
    assert pictures.count() == 8
    assert pictures.evaluate_all(f"all => all.filter({BLANK}).length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
