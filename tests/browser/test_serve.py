"""The page of `maltriage serve` in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from serve.running import running

pytest.importorskip("uvicorn", reason="needs the extra `serve`")


def test_a_file_is_scanned_and_its_page_opened(
    browser: Browser, samples_dir: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "<img src=x onerror=alert(1)>.exe"
    hostile.write_bytes((samples_dir / "gui-x86.exe").read_bytes())
    with running("-j", "1", "--max-size", "1", env=dict(os.environ)) as server:
        window = browser.new_context(viewport={"width": 400, "height": 800})
        page = window.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text))
        page.on("dialog", lambda dialog: wrong.append("dialog"))
        page.goto(f"http://{server.host}/#{server.token}")
        assert page.url == f"http://{server.host}/"  # the token is gone from the address
        page.set_input_files("#files", [samples_dir / "console-x64.exe", hostile])
        rows = page.locator("#results tbody tr")
        expect(rows).to_have_count(2, timeout=30_000)
        expect(rows.nth(0)).to_contain_text("<img src=x onerror=alert(1)>.exe")
        expect(rows.nth(1)).to_contain_text("benign")
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) == 0
        rows.nth(1).get_by_role("link", name="page").click()
        expect(page.get_by_text("console-x64.exe").first).to_be_visible()
        assert page.url.startswith(f"http://{server.host}/scans/")
        page.go_back()
        page.set_input_files(
            "#files", {"name": "big.exe", "mimeType": "", "buffer": b"x" * ((1 << 20) + 1)}
        )
        expect(page.locator("#refused")).to_contain_text("big.exe: ")
        window.close()
        # The refusal of the large file is a line on the console of the browser itself.
        assert [text for text in wrong if "413" not in text and "Failed to load" not in text] == []
        assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {server.host}


def test_without_the_token_nothing_is_scanned(browser: Browser, samples_dir: Path) -> None:
    with running("-j", "1", env=dict(os.environ)) as server:
        window = browser.new_context()
        page = window.new_page()
        page.goto(f"http://{server.host}/")
        expect(page.locator("#refused")).to_contain_text("No token")
        page.set_input_files("#files", samples_dir / "console-x64.exe")
        expect(page.locator("#refused")).to_contain_text("no token, or a wrong one")
        expect(page.locator("#results")).to_be_hidden()
        window.close()
