"""Make the screens of `maltriage scan` for five folders at three widths, and its page.

    python docs/images/screens.py VX-MINI WIDE GOODWARE/test

The program itself runs, in a terminal of that width. Folders are the same ones each time: files are
taken in the order of their names. Pages need a Chromium: the first of MALTRIAGE_CHROMIUM and
`chromium` on the path.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from make import FORMAT, recording
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.terminal_theme import MONOKAI
from rich.text import Text

from maltriage.sample.pe import PE32_PLUS

HERE = Path(__file__).parent / "screens"
WIDTHS = (80, 100, 160)
ROWS = 16
PAGES = {
    "page-800-light": (800, "light"),
    "page-1280-dark": (1280, "dark"),
}


def names(root: Path, **wanted: str) -> list[Path]:
    """Files of a dataset with these values in its manifest, by their paths."""
    with (root / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if wanted.items() <= row.items()]
    return sorted(root / row["path"] for row in rows)


def is_64_bit(path: Path) -> bool:
    data = path.read_bytes()
    at = int.from_bytes(data[60:64], "little") + 24
    return data[:2] == b"MZ" and int.from_bytes(data[at : at + 2], "little") == PE32_PLUS


def folders(vx_mini: Path, wide: Path, goodware: Path) -> dict[str, list[Path]]:
    """Files of each folder."""
    clean = sorted(path for path in goodware.rglob("*") if path.is_file())
    every = [*sorted(vx_mini.glob("*/*.png")), *sorted(wide.glob("*/*.png"))]
    small = (path for path in clean if path.stat().st_size < 1 << 20)
    return {
        "clean": list(islice(small, 0, 2000, 40)),
        "family": names(vx_mini, family="gbot"),
        "mix": every[:: len(every) // 500 + 1],
        "nothing": [Path(name) for name in ("README.md", "CHANGELOG.md", "pyproject.toml")],
        "64-bit": [
            *names(wide, family="mosaicregressor", bits="64"),
            *names(wide, family="crat", bits="64"),
            *islice(filter(is_64_bit, clean), 0, 400, 20),
        ],
    }


def laid(files: Iterable[Path], folder: Path) -> None:
    """Copy files under short names."""
    folder.mkdir()
    for number, path in enumerate(files):
        shutil.copy(path, folder / f"{number:03d}-{path.stem[:12]}{path.suffix}")


def screen(folder: str, below: Path, width: int) -> str:
    """What the program prints in a terminal of this width, with its colours."""
    top = [] if folder in ("clean", "nothing") else ["--top", str(ROWS)]
    command = [sys.executable, "-m", "maltriage", "scan", folder, *top]
    done = subprocess.run(
        [*command, "--color", "always", "--exit-zero", "--no-cache"],
        cwd=below,
        env={**os.environ, "COLUMNS": str(width), "TERM": "xterm-256color"},
        capture_output=True,
        check=False,
    )
    # Without the progress, and the speed, which is another in each run.
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "\n", done.stderr.decode())
    told = [line for line in plain.splitlines() if line.startswith("maltriage: ")]
    return re.sub(r"  [\d.,]+ files/s", "", done.stdout.decode()) + "\n".join(told)


def picture(name: str, text: str, command: str, width: int) -> None:
    console = recording(width)
    console.print(Text.from_ansi(text), soft_wrap=True)
    made = console.export_svg(
        title=command, theme=MONOKAI, code_format=FORMAT, unique_id=f"screen-{name}"
    )
    (HERE / f"{name}.svg").write_text(made)


def pages(below: Path) -> None:
    """The page of the mix: at two widths, and the first sheet of it on paper."""
    written = below / "mix.html"
    command = [sys.executable, "-m", "maltriage", "scan", "mix", "-o", str(written)]
    subprocess.run([*command, "-q", "--exit-zero", "--no-cache"], cwd=below, check=True)
    browser = os.environ.get("MALTRIAGE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        chromium = playwright.chromium.launch(executable_path=browser, args=flags)
        for name, (width, scheme) in PAGES.items():
            size = {"width": width, "height": 820}
            page = chromium.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(written.as_uri())
            _save(page, name)
        page.emulate_media(media="print", color_scheme="light")
        page.set_viewport_size({"width": 760, "height": 1000})
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        _save(page, "page-printed")
        chromium.close()


def _save(page: Page, name: str) -> None:
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.quantize(64).save(HERE / f"{name}.png", optimize=True)


def main(roots: Sequence[str]) -> None:
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        below = Path(folder)
        for name, files in folders(*map(Path, roots)).items():
            laid(files, below / name)
            for width in WIDTHS:
                text = screen(name, below, width)
                picture(f"{name}-{width}", text, f"maltriage scan {name}", width)
        pages(below)


if __name__ == "__main__":
    main(sys.argv[1:])
