"""The page of what families look like, in a browser."""

from __future__ import annotations

from browser.conftest import Open
from playwright.sync_api import expect
from report.families import HOSTILE, two

from maltriage.report.studies.patterns_page import render_page

BLANK = "(picture) => !(picture.complete && picture.naturalWidth > 0 && picture.width > 0)"


def test_pictures_are_drawn_and_details_open(opened: Open) -> None:
    page, _ = opened(render_page(two()))
    pictures = page.locator("img")
    assert pictures.count() == 7
    assert pictures.evaluate_all(f"all => all.filter({BLANK}).length") == 0
    typical = page.get_by_text("ab" * 32).first
    expect(typical).to_be_hidden()
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(typical).to_be_visible()
    expect(page.get_by_role("cell", name="header COFF TimeDateStamp").first).to_be_visible()


def test_names_that_break_out_run_nothing(opened: Open) -> None:
    # What runs, asks or fails is found by the fixture; here: that the name is shown as text.
    page, _ = opened(render_page(two()))
    shown = page.locator("h2").all_text_contents()
    assert "\x1b" in HOSTILE
    assert not any("\x1b" in text for text in shown)
    assert any("<script>" in text for text in shown)


def test_it_follows_the_reader_and_prints(opened: Open) -> None:
    page, _ = opened(render_page(two()), color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    page.emulate_media(media="print")
    assert page.evaluate(back) == "rgb(255, 255, 255)" != dark
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 420, "height": 800})
    # Wide tables scroll by themselves; the page does not.
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
