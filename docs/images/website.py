"""Make the pictures of the documentation site: site-light.png and site-dark.png.

    make docs && python docs/images/website.py

Needs a Chromium: the first of MALTRIAGE_CHROMIUM and `chromium` on the path.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
SITE = HERE.parents[1] / "site"
PICTURES = {"light": "reference/commands/", "dark": "first-steps/first-scan/"}
"""The page that each picture shows, by its colours."""
COLOURS = 256


def main() -> None:
    serve = functools.partial(SimpleHTTPRequestHandler, directory=str(SITE))
    server = ThreadingHTTPServer(("127.0.0.1", 0), serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = os.environ.get("MALTRIAGE_CHROMIUM") or shutil.which("chromium")
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=flags)
        for scheme, path in PICTURES.items():
            page = chromium.new_page(
                viewport={"width": 1360, "height": 860},
                color_scheme="light" if scheme == "light" else "dark",
            )
            page.goto(f"http://127.0.0.1:{server.server_port}/{path}")
            page.wait_for_load_state("networkidle")
            page.mouse.move(0, 0)
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            shot.quantize(COLOURS).save(HERE / f"site-{scheme}.png", optimize=True)
        chromium.close()
    server.shutdown()


if __name__ == "__main__":
    main()
