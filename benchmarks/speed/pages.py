"""How long a browser takes for the page of a large scan.

    maltriage scan FOLDER --format html --output scan.html
    python -m benchmarks.speed.pages scan.html 10 95

takes the files of that page as many times over, opens each page in a Chromium without a window (the
first of MALTRIAGE_CHROMIUM and `chromium` on the path), and prints when the table stands, and how
long filtering and sorting hold the page up, layout included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FILES, END = b'id="files">\n', b'</script>\n<script type="application/json" id="end">'
TIMED = """() => {
  const spent = {};
  const time = (name, act) => {
    const start = performance.now();
    act();
    document.body.offsetHeight;
    spent[name] = Math.round(performance.now() - start);
  };
  const find = document.getElementById("find");
  const type = (text) => {
    find.value = text;
    find.dispatchEvent(new Event("input"));
  };
  time("filter", () => type("exe 7"));
  time("clear", () => type(""));
  for (const [index, name] of [[1, "file"], [3, "verdict"], [6, "size"]]) {
    time(`sort by ${name}`, () => document.querySelectorAll("#head button")[index].click());
  }
  return spent;
}"""


def measure(page: Page, path: Path) -> str:
    """One line: seconds until the table stands, milliseconds of what a reader does."""
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.locator("#rows tr").first.wait_for(timeout=300_000)
    ready = time.perf_counter() - start
    spent = page.evaluate(TIMED)
    elements = page.evaluate("document.querySelectorAll('*').length")
    acts = ", ".join(f"{name} {milliseconds} ms" for name, milliseconds in spent.items())
    return f"ready in {ready:.1f} s; {acts}; {elements:,} elements"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("times", type=int, nargs="+")
    arguments = parser.parse_args()
    head, _, rest = arguments.page.read_bytes().partition(FILES)
    lines, _, tail = rest.partition(END)
    browser = os.environ.get("MALTRIAGE_CHROMIUM") or shutil.which("chromium")
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for times in arguments.times:
            path = Path(folder) / "page.html"
            path.write_bytes(head + FILES + lines * times + END + tail)
            chromium = playwright.chromium.launch(executable_path=browser, args=flags)
            found = measure(chromium.new_page(), path)
            chromium.close()
            files = lines.count(b"\n") // 2 * times
            print(f"{files:,} files, {path.stat().st_size / 1e6:.1f} MB: {found}")


if __name__ == "__main__":
    main()
