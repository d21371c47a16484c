"""Make the pictures of the documentation: the program's own screens and pictures on samples/.

    python docs/images/make.py

Run it where the program prints other screens than the pictures show.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

from maltriage import bundle as bundles
from maltriage.report.document import Result, Summary
from maltriage.report.picture import scene
from maltriage.report.render import RenderOptions, open_renderer
from maltriage.report.svg import svg
from maltriage.triage.pipeline import ScanOptions, scan

HERE = Path(__file__).parent
# Without the fonts that Rich would have the reader's browser fetch from a server.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
WIDTH = 110


def picture(name: str, command: str, path: str, options: ScanOptions, top: int) -> None:
    console = Console(
        record=True,
        width=WIDTH,
        color_system="truecolor",
        force_terminal=True,
        file=io.StringIO(),
        highlight=False,
        markup=False,
        emoji=False,
    )
    renderer = open_renderer(name, io.BytesIO(), RenderOptions(top=top), console)
    bundle = bundles.load(bundles.resolve(None))
    for record in scan([path], bundle, options):
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


def main() -> None:
    picture("table", "maltriage scan samples", "samples", ScanOptions(), 50)
    program = "samples/gui-x86.exe"
    close = ScanOptions(close=True, batch_size=1, checks=0)
    picture("explain", f"maltriage explain {program}", program, close, 6)
    explanation(program, close)


if __name__ == "__main__":
    main()
