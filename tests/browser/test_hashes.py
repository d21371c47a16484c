"""Hashes on pages: copied by a button, looked up by a link that nothing follows by itself."""

from __future__ import annotations

import pytest
from browser.conftest import Open
from playwright.sync_api import Page, expect
from report.factories import make_result, make_summary
from report.pages import BREAKOUT
from report.screens import written

RESULT = make_result("a.exe", hashes=True)
PAGES = {
    "scan": written("html", [RESULT, make_summary()]),
    "explain": written("explain-page", [RESULT]),
}
CLIPBOARDS = {
    "clipboard": "",
    "no clipboard": "Object.defineProperty(navigator, 'clipboard', { value: undefined })",
    "refused": "navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))",
}


def pasted(page: Page) -> str:
    """What is in the clipboard, by pasting it."""
    page.evaluate("document.body.append(document.createElement('textarea'))")
    place = page.locator("textarea").last
    place.focus()
    page.keyboard.press("Control+V")
    return place.input_value()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("clipboard", CLIPBOARDS)
def test_a_hash_is_copied(opened: Open, name: str, clipboard: str) -> None:
    page, _ = opened(PAGES[name], "#file-0", before=CLIPBOARDS[clipboard])
    known = {
        "sha256": RESULT.sha256,
        "md5": RESULT.identity.md5,
        "sha1": RESULT.identity.sha1,
        "tlsh": RESULT.identity.tlsh,
        "imphash": RESULT.identity.imphash,
    }
    for hash_name, value in known.items():
        button = page.get_by_role("button", name=f"Copy {hash_name}", exact=True)
        button.click()
        expect(page.locator(".copier", has=button).get_by_role("status")).to_have_text("copied")
        assert pasted(page) == value


@pytest.mark.parametrize("name", PAGES)
def test_a_link_is_followed_only_when_it_is_clicked(opened: Open, name: str) -> None:
    page, seen = opened(PAGES[name], "#file-0")
    for site, address in (
        ("VirusTotal", f"https://www.virustotal.com/gui/file/{RESULT.sha256}"),
        ("MalwareBazaar", f"https://bazaar.abuse.ch/sample/{RESULT.sha256}/"),
    ):
        link = page.get_by_role("link", name=site)
        expect(link).to_have_attribute("href", address)
        expect(link).to_have_attribute("rel", "noreferrer noopener")
        expect(link).to_have_attribute("target", "_blank")
        link.hover()
        link.focus()
        assert seen.requests == []
        with page.context.expect_page() as other:
            link.click()
        other.value.wait_for_load_state()
        assert seen.requests == [address]
        seen.requests.clear()


@pytest.mark.parametrize("name", PAGES)
def test_what_is_no_hash_is_no_link(opened: Open, name: str) -> None:
    result = make_result("a.exe", sha256=BREAKOUT)
    records = [result, make_summary()] if name == "scan" else [result]
    page, _ = opened(written("html" if name == "scan" else "explain-page", records), "#file-0")
    expect(page.get_by_role("button", name="Copy sha256")).to_be_visible()
    assert page.locator(".lookups a").count() == 0
