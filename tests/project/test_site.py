"""The documentation site: built strictly, whole, searched, and asking nothing of others."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

pytest.importorskip("zensical", reason="needs the extra `docs`")
pytest.importorskip("mkdocstrings_handlers.python", reason="needs the extra `docs`")
pytest.importorskip("playwright", reason="needs the extra `test`")

from browser.conftest import browser  # noqa: F401
from playwright.sync_api import Browser, Page, Route

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BESIDE = ("zensical.toml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""What the site is made of besides docs/ and the package."""
WIDTHS = ("", "first-steps/first-scan/", "reference/commands/", "reference/schema/")
"""Pages that are looked at on a narrow screen."""


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    for name in BESIDE:
        shutil.copy(ROOT / name, folder)
    shutil.copytree(DOCS, folder / "docs")
    (folder / "maltriage").symlink_to(ROOT / "maltriage")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


class Links(HTMLParser):
    """What a page has by name, and what it asks for or leads to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.names, self.leads, self.loads = set[str](), list[str](), list[str]()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name"):
                self.names.add(value or "")
            elif name == "href" and tag == "a":
                self.leads.append(value or "")
            elif name in ("href", "src", "srcset", "data", "poster") and tag != "a":
                self.loads.append(value or "")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Links]:
    """Every page by its path below the site, such as `/reference/commands/`."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        where = "/" + path.relative_to(site).as_posix()
        found[where.removesuffix("index.html")] = Links(path)
    return found


def test_every_link_leads_to_something(site: Path, pages: dict[str, Links]) -> None:
    """Also those of pages that are taken from elsewhere, which Zensical does not look at."""
    lost, followed = [], 0
    for where, page in pages.items():
        for link in (*page.leads, *page.loads):
            url, fragment = urldefrag(urljoin(where, link))
            path = unquote(url)
            if ":" in path.partition("/")[0] or where == "/404.html":
                continue
            followed += 1
            named = pages.get(path)
            if named is None and not (site / path.lstrip("/")).is_file():
                lost.append(f"{where}: {link}")
            elif named is not None and fragment and unquote(fragment) not in named.names:
                lost.append(f"{where}: {link} (no such place)")
    assert lost == []
    assert followed > 1000


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Links]) -> None:
    foreign = {load for page in pages.values() for load in page.loads if "//" in load}
    assert foreign == set()


def test_every_document_is_in_the_navigation(pages: dict[str, Links]) -> None:
    there = {urljoin("/", link) for link in pages["/"].leads}
    documents = [path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")]
    urls = {f"/{name}/".replace("/index/", "/") for name in documents}
    assert sorted(urls - there) == []


@pytest.mark.parametrize("link", ["[x](nothing.md)", "[x](index.md#nothing)"])
def test_a_broken_link_fails_the_build(tmp_path: Path, link: str) -> None:
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / "site.css", tmp_path / "docs")
    page = tmp_path / "docs" / "index.md"
    page.write_text("# A page\n\n[x](index.md#a-page)\n")
    assert build(tmp_path).returncode == 0
    page.write_text(f"# A page\n\n{link}\n")
    done = build(tmp_path)
    assert done.returncode != 0
    assert "1 issue found" in done.stderr


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_it_is_read_in_a_browser(browser: Browser, address: str) -> None:  # noqa: F811
    foreign, errors = list[str](), list[str]()

    def answer(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    with browser.new_context(
        viewport={"width": 1280, "height": 860}, color_scheme="light"
    ) as context:
        context.route("**/*", answer)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda said: said.type == "error" and errors.append(said.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_role("link", name="Commands", exact=True).first.click()
        page.wait_for_url("**/reference/commands/")
        assert page.locator("h2#maltriage-scan").count() == 1
        _search(page, "occlusion")
        _becomes_dark(page)
        page.set_viewport_size({"width": 400, "height": 800})
        wide = []
        for path in WIDTHS:
            page.goto(address + path)
            if page.evaluate(
                "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            ):
                wide.append(path)
        assert wide == []
    assert (foreign, errors) == ([], [])


def _search(page: Page, word: str) -> None:
    """A word is found, and the hit leads to a page that has it."""
    page.locator(".md-search__button").click()
    page.keyboard.type(word)
    page.locator("dialog[open] a[role=option]").first.click()
    page.wait_for_url("**/*?h=*")
    assert word in page.locator("article").inner_text().casefold()


def _becomes_dark(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_title("Switch to dark mode").click()
    page.wait_for_function(f"{background} !== '{light}'")
    assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"
