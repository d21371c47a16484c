"""Make the pictures of the documentation: screens, pictures and pages of samples/.

    python docs/images/make.py

Run it where the program shows other screens than the pictures. Pages need a Chromium: the first of
MALTRIAGE_CHROMIUM and `chromium` on the path.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

from maltriage import bundle as bundles
from maltriage.cli.rule import prevalence_of
from maltriage.report.documents.record import Result, Summary
from maltriage.report.draw.scene import scene
from maltriage.report.draw.svg import svg
from maltriage.report.formats import EXPLAIN, SCAN, RenderOptions, open_renderer
from maltriage.similar.groups import grouped
from maltriage.triage.options import ScanOptions
from maltriage.triage.pipeline import scan

HERE = Path(__file__).parent
# Without the fonts that Rich would have the reader's browser fetch from a server.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
WIDTH = 110
FORMATS = {
    "table": SCAN["table"],
    "html": SCAN["html"],
    "explain": EXPLAIN["table"],
    "explain-page": EXPLAIN["html"],
}


def recording(width: int) -> Console:
    """A console that keeps what it prints, with its colours, for a picture."""
    return Console(
        record=True,
        width=width,
        color_system="truecolor",
        force_terminal=True,
        file=io.StringIO(),
        highlight=False,
        markup=False,
        emoji=False,
    )


def picture(name: str, command: str, path: str, options: ScanOptions, top: int) -> None:
    console = recording(WIDTH)
    renderer = open_renderer(FORMATS[name], io.BytesIO(), RenderOptions(top=top), console)
    bundle = bundles.load(bundles.resolve(None))
    for record in grouped(scan([path], bundle, options)):
        if isinstance(record, Summary):
            renderer.finish(record)
        else:
            renderer.write(record)
    file = {"table": "scan.svg", "explain": "explain.svg"}[name]
    text = console.export_svg(title=command, theme=MONOKAI, code_format=FORMAT, unique_id=name)
    (HERE / file).write_text(text)


def explanation(path: str, options: ScanOptions) -> None:
    """As `maltriage explain PATH --svg` draws it."""
    for record in scan([path], bundles.load(bundles.resolve(None)), options):
        if isinstance(record, Result):
            (HERE / "explanation.svg").write_bytes(svg(scene(record)))


def pages(name: str, path: str, options: ScanOptions, clicks: tuple[str, ...]) -> None:
    """A page as a reader has it after these clicks, on a dark screen."""
    stream = io.BytesIO()
    renderer = open_renderer(
        FORMATS[name], stream, RenderOptions(top=20), Console(file=io.StringIO())
    )
    for record in grouped(scan([path], bundles.load(bundles.resolve(None)), options)):
        if isinstance(record, Summary):
            renderer.finish(record)
        else:
            renderer.write(record)
    browser = os.environ.get("MALTRIAGE_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        (Path(folder) / "page.html").write_bytes(stream.getvalue())
        flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        chromium = playwright.chromium.launch(executable_path=browser, args=flags)
        page = chromium.new_page(viewport={"width": 1360, "height": 860}, color_scheme="dark")
        page.goto((Path(folder) / "page.html").as_uri())
        for click in clicks:
            page.locator(click).first.click()
        page.mouse.move(0, 0)
        shot = Image.open(io.BytesIO(page.screenshot()))
        chromium.close()
    file = {"html": "scan-page.png", "explain-page": "explain-page.png"}[name]
    shot.convert("RGB").save(HERE / file, optimize=True)


def main() -> None:
    picture("table", "maltriage scan samples", "samples", ScanOptions(), 50)
    program = "samples/gui-x86.exe"
    close = ScanOptions(close=True, batch_size=1, checks=0, common=prevalence_of(None))
    picture("explain", f"maltriage explain {program}", program, close, 6)
    pages("explain-page", program, close, ("button.light",))
    pages("html", "samples", ScanOptions(), ("#rows a",))
    explanation(program, close)


if __name__ == "__main__":
    main()
