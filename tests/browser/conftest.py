"""A Chromium that is there already, and pages that may ask nothing of anybody."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, Route, sync_playwright

NAMED = os.environ.get("MALTRIAGE_CHROMIUM")
"""Read before the tests lose the variables of the user."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@dataclass
class Seen:
    """What a page did that no page may do."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Errors of scripts, lines on the console, dialogs, violations of the policy."""


Opened = tuple[Page, Seen]
Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = NAMED or next(filter(None, map(shutil.which, NAMES)), None)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    flags = [*QUIET, *(["--no-sandbox"] if root else [])]
    with sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=path, args=flags)
        except Error as error:
            if NAMED:
                raise
            reason = str(error).strip().splitlines()[0]
            pytest.skip(f"no Chromium; name one with MALTRIAGE_CHROMIUM ({reason})")
        yield found
        found.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a page (text) in a window of its own, as a file, and watches it.

    Takes options of a browser context by name, and a script that runs before the page's. At the
    end of the test nothing may have been asked of a network, and nothing may have failed or been
    refused.
    """
    contexts, watched = list[BrowserContext](), Seen()

    def open_page(
        text: str | bytes, fragment: str = "", before: str = "", **options: object
    ) -> Opened:
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})  # type: ignore[arg-type]
        contexts.append(context)

        def answer(route: Route) -> None:
            url = route.request.url
            if url.partition("#")[0] == path.as_uri() or url.startswith("data:"):
                route.continue_()
                return
            watched.requests.append(url)
            route.abort()

        context.route("**/*", answer)
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', (event) =>"
            " console.error(`violates ${event.violatedDirective}: ${event.blockedURI}`));"
        )
        if before:
            context.add_init_script(before)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: watched.errors.append(message.text))
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        page.on("dialog", lambda dialog: watched.errors.append(dialog.message))
        page.goto(path.as_uri() + fragment)
        return page, watched

    yield open_page
    for context in contexts:
        context.close()
    assert watched == Seen()
