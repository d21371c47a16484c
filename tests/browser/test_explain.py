"""The page of an explanation, driven as a reader drives it."""

from __future__ import annotations

import json

import msgspec
import pytest
from browser.conftest import Open
from playwright.sync_api import expect
from report.factories import make_checked, make_contents, make_result, make_verdict
from report.pages import BREAKOUT, Parts
from report.screens import written

from maltriage.report.documents.evidence import Common, ViewHeat
from maltriage.report.documents.record import Result
from maltriage.sample.types import Notice


def page_of(result: Result) -> str:
    return written("explain-page", [result]).decode()


def test_pointing_at_the_picture_says_what_a_cell_lies_over(opened: Open) -> None:
    text = page_of(make_checked(plane=True))
    plot = json.loads(Parts(text).data["plot-data"])
    page, _ = opened(text)
    canvas, readout = page.locator("div#plot"), page.locator("#readout")
    expect(readout).to_contain_text("arrow keys")
    size = canvas.bounding_box()
    assert size is not None
    height, width = plot["shape"]
    row, column = 5, 3
    at = {"x": size["width"] * (column + 0.5) / width, "y": size["height"] * (row + 0.5) / height}
    canvas.hover(position=at)  # type: ignore[arg-type]
    start, end, rows, count, regions = plot["cells"][row * width + column]
    heat = plot["heat"][row * width + column]
    expect(readout).to_contain_text(f"cell {row + 1} down, {column + 1} across: heat {heat:+.4f}")
    expect(readout).to_contain_text(
        f"{count:,} bytes in {rows} rows between {start:06x} and {end:06x}"
    )
    expect(readout).to_contain_text(plot["regions"][regions[0]][0])
    page.mouse.move(2, 2)
    expect(readout).to_contain_text("arrow keys")


def test_a_region_lights_its_bytes_by_pointer_and_by_key(opened: Open) -> None:
    text = page_of(make_checked(plane=True))
    plot = json.loads(Parts(text).data["plot-data"])
    page, _ = opened(text)
    lit, button = page.locator("#lit"), page.get_by_role("button", name=".rsrc", exact=True)
    light = button.get_attribute("data-light")
    assert light is not None
    page.locator("tr", has=button).locator("td").nth(1).click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(lit).to_have_attribute("d", plot["outlines"][light])
    # Enter on the same region puts it out, on another one lights that instead.
    button.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(lit).to_have_attribute("d", "")
    other = page.get_by_role("button", name="01ac00-01b000")
    other.press("Enter")
    expect(lit).to_have_attribute("d", plot["outlines"]["h0"])
    page.get_by_role("button", name="Light out").click()
    expect(lit).to_have_attribute("d", "")
    # A click on the picture lights the region of that byte: the end of the file is the overlay.
    size = page.locator("div#plot").bounding_box()
    assert size is not None
    page.locator("div#plot").click(position={"x": 5, "y": size["height"] - 2})
    overlay = page.get_by_role("button", name="overlay", exact=True)
    expect(overlay).to_have_attribute("aria-pressed", "true")


def test_the_keyboard_is_enough(opened: Open) -> None:
    page, _ = opened(page_of(make_checked(plane=True)))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.locator("div#plot").focus()
    readout = page.locator("#readout")
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("cell 1 down, 1 across")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    expect(readout).to_contain_text("cell 3 down, 2 across")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=".text", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    page.keyboard.press("Escape")
    expect(page.locator("#lit")).to_have_attribute("d", "")
    page.keyboard.press("Escape")
    expect(readout).to_contain_text("arrow keys")
    for _ in range(40):  # nothing holds the focus
        page.keyboard.press("Tab")
        if page.locator("summary").evaluate("e => e === document.activeElement"):
            break
    else:
        pytest.fail("the last part cannot be reached by Tab")


def test_dark_light_heat_and_paper(opened: Open) -> None:
    page, _ = opened(page_of(make_checked(plane=True)), color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    page.get_by_role("button", name="Show this page light").click()
    assert page.evaluate(back) == "rgb(255, 255, 255)" != dark
    page.get_by_role("button", name="Show this page dark").click()
    assert page.evaluate(back) == dark
    page.get_by_role("button", name="Heat", exact=True).click()
    expect(page.locator("#with-heat")).to_be_hidden()
    expect(page.locator("#plain")).to_be_visible()
    page.emulate_media(media="print")
    assert page.evaluate(back) == "rgb(255, 255, 255)"
    expect(page.get_by_role("button", name="Show this page light")).to_be_hidden()
    expect(page.locator("h3", has_text="01ac00-01b000")).to_be_visible()
    expect(page.locator(".regions button", has_text=".text")).to_be_visible()
    assert not page.evaluate("Object.keys(localStorage).length + document.cookie.length")


def test_no_row_is_wider_than_a_narrow_screen(opened: Open) -> None:
    result = make_checked("a" * 300 + ".exe", plane=True)
    content = make_contents()["code"]
    hot = [msgspec.structs.replace(h, content=content) for h in result.evidence.hot]
    evidence = msgspec.structs.replace(result.evidence, hot=hot)
    text = page_of(msgspec.structs.replace(result, evidence=evidence))
    page, _ = opened(text, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_strip_says_what_is_pointed_at(opened: Open) -> None:
    result = make_checked(plane=True)
    hot = list(result.evidence.hot)
    known = Common(share=0.878, packages=253, of=2276, contribution=0.3)
    hot[0] = msgspec.structs.replace(hot[0], content=make_contents()["imports"], common=known)
    hot[3] = msgspec.structs.replace(hot[3], content=make_contents()["strings"])
    evidence = msgspec.structs.replace(result.evidence, hot=hot)
    page, _ = opened(page_of(msgspec.structs.replace(result, evidence=evidence)))
    said, strip = page.locator("#said"), page.locator("#strip")
    expect(said).to_contain_text("arrow keys")
    strip.locator("[data-place=h0]").hover()
    for line in (
        "hot range 01ac00-01b000, 1.0K in .text",
        "contribution +0.812, measured +0.731 supported",
        "87.8% of it is in clean programs, a typical byte of that in 253 of 2,276 packages",
        "imports: Open",
    ):
        expect(said.get_by_text(line)).to_be_visible()
    # A region by its row of the table, with the strings of its hot ranges.
    page.get_by_role("row", name="overlay overlay").hover()
    expect(said).to_contain_text("overlay, overlay: 060200-064c00, 18K")
    expect(said).to_contain_text("strings: cmd.exe /c del %s, SOFTWARE\\Run")
    expect(strip.locator(".at")).to_have_count(1)
    page.get_by_role("heading", name="060300-060400").hover()
    expect(said).to_contain_text("hot range 060300-060400, 256B in overlay")
    # By keys, in the order of the file; Enter lights.
    strip.focus()
    page.mouse.move(0, 0)
    page.keyboard.press("Home")
    strip.blur()
    expect(said).to_contain_text("arrow keys")
    strip.focus()
    for name in ("header", ".text"):
        page.keyboard.press("ArrowRight")
        expect(said).to_contain_text(f"{name}, ")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=".text", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_the_picture_is_small_where_it_tells_little(opened: Open) -> None:
    def heights(body: float) -> tuple[float, float]:
        result = make_checked(plane=True)
        views = [ViewHeat("body", body, None, None), ViewHeat("words", 1.0, None, None)]
        evidence = msgspec.structs.replace(result.evidence, views=views)
        page, _ = opened(page_of(msgspec.structs.replace(result, evidence=evidence)))
        boxes = [page.locator(name).bounding_box() for name in ("#strip", "#plot")]
        strip, plot = (box["height"] for box in boxes if box)
        return strip, plot

    (strip, plot), (large, little) = heights(1.0), heights(0.2)
    assert large > 1.5 * strip
    assert little < 0.7 * plot


def test_a_hostile_sample_runs_nothing(opened: Open) -> None:
    verdict = make_verdict(BREAKOUT, closest=BREAKOUT)
    result = make_checked(BREAKOUT, verdict=verdict, plane=True)
    regions = [msgspec.structs.replace(r, name=BREAKOUT) for r in result.evidence.regions]
    evidence = msgspec.structs.replace(result.evidence, regions=regions, label=BREAKOUT)
    result = msgspec.structs.replace(
        result, evidence=evidence, notices=[Notice(BREAKOUT, BREAKOUT)]
    )
    page, seen = opened(page_of(result))
    page.locator("div#plot").hover()
    shown = r"</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> \u202e\u2028"
    expect(page.locator("#readout")).to_contain_text(shown)
    expect(page.locator("h1")).to_have_text(shown)
    assert page.locator("img").count() == 2
    assert page.locator("script").count() == 3
    assert seen.errors == []


def test_what_gets_through_all_the_same_is_refused(opened: Open) -> None:
    """The policy on its own, in a page whose escaping failed."""
    hole = (
        '<img src="http://198.51.100.1/x.png" onerror="window.ran = 1">'
        "<script>window.ran = 1</script><p style='color: red'>x</p>"
        '<iframe src="http://198.51.100.1/"></iframe><form action="http://198.51.100.1/"></form>'
    )
    text = page_of(make_result()).replace("</h1>", f"</h1>{hole}", 1)
    page, seen = opened(text)
    page.evaluate("document.forms[0].submit()")
    page.wait_for_function("document.querySelector('h1')")
    assert page.evaluate("window.ran") is None
    refused = "\n".join(seen.errors)
    for directive in ("img-src", "script-src", "style-src", "form-action"):
        assert directive in refused, (directive, refused)
    assert seen.requests == []
    seen.errors.clear()


def test_without_scripts_all_of_it_is_there(opened: Open) -> None:
    page, _ = opened(page_of(make_checked(plane=True)), java_script_enabled=False)
    expect(page.get_by_role("cell", name="+1.982")).to_be_visible()
    expect(page.locator("#theme")).to_be_hidden()
