"""What a new user sees in the first quarter of an hour, with a stopwatch.

    python -m benchmarks.speed.first_quarter DIR docs/first-steps/first-quarter-hour.md

In a fresh clone of this repository and a new environment: install, look at the samples, scan a
folder of unknown files (DIR, e.g. the folder `mix` that docs/images/screens.py lays out), and go
from its table to groups, an explanation, a rule, a page and a SIEM. The transcript has what each
command prints, its beginning where that is long, and the time on the clock when it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = 26
"""Of a command's output that are shown, at most."""
WIDTH = 100


class Session:
    """Runs commands one after another in a folder, and notes what a reader sees."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._began = folder, time.monotonic()
        self.said = list[str]()

    def run(self, command: str, shown: str | None = None, lines: int = LINES) -> None:
        """Run a command line; `shown` in its place in the transcript."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": str(WIDTH), "XDG_CACHE_HOME": str(self.folder / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        passed = time.monotonic() - self._began
        printed = [line[: 2 * WIDTH] for line in _plain(done.stdout.decode(errors="replace"))]
        more = [f"... {len(printed) - lines} more lines"] if len(printed) > lines else []
        text = "\n".join([f"$ {shown or command}", *printed[:lines], *more])
        clock = f"**{int(passed) // 60}:{int(passed) % 60:02d}**, exit code {done.returncode}"
        self.said.append(f"{clock}\n\n```\n{text}\n```\n")

    def tell(self, text: str) -> None:
        self.said.append(f"{text}\n")


def _plain(text: str) -> Iterator[str]:
    """Lines without colours, progress and warnings of the installer."""
    for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).splitlines():
        shown = line.rpartition("\r")[2].rstrip()
        if not shown.startswith(("WARNING: ", "[notice]")):
            yield shown


GROUPS = 5


def group_by_code(report: Path) -> list[str]:
    """The paths of the first of the groups that are shown whose files have the same code."""
    line = ["maltriage", "group", str(report), "--top", str(GROUPS), "-f", "json"]
    shown = json.loads(subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout)["groups"]
    found = next(listed for listed in shown if "code" in listed["group"]["shared"])
    return [member["path"] for member in found["members"]]


def quarter(unknown: Path, folder: Path) -> Session:
    session = Session(folder)
    session.tell("## Install")
    session.run(f"git clone -q {ROOT} maltriage", "git clone -q URL maltriage")
    session.run("python3 -m venv env && env/bin/pip install -q './maltriage[yara]'", lines=6)
    os.environ["PATH"] = f"{folder / 'env' / 'bin'}:{os.environ['PATH']}"
    session.run("maltriage --version")
    session.tell("## The samples that come with it")
    session.run("maltriage scan maltriage/samples")
    session.tell("## A folder of unknown files")
    shutil.copytree(unknown, folder / "unknown")
    session.run("maltriage scan unknown --top 15")
    session.run("maltriage scan unknown -q -o monday.ndjson -o monday.html; ls -sh monday.*")
    session.tell("## Which of them are alike")
    session.run(f"maltriage group monday.ndjson --top {GROUPS} --members 4")
    paths = group_by_code(folder / "monday.ndjson")
    session.tell("## Why the first group of equal code is flagged")
    session.run(f"maltriage explain {paths[0]}", lines=60)
    session.run(f"maltriage explain {paths[0]} -f html -o first.html; ls -sh first.html")
    session.tell("## A rule for this group")
    session.run(f"maltriage explain {' '.join(paths)} --yara rule.yar -q; head -30 rule.yar")
    session.tell("## For others")
    chosen = "path,score,label,group,sha256"
    session.run(f"maltriage scan monday.ndjson -f csv --fields {chosen} | head -5")
    session.run("maltriage scan monday.ndjson -f ndjson --ecs | head -1 | cut -c1-600")
    session.run("maltriage doctor", lines=30)
    return session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("unknown", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        session = quarter(options.unknown.resolve(), Path(folder))
        text = "\n".join(session.said).replace(folder, "~")
    head = (
        "# The first quarter of an hour\n\n"
        f"Made by `python -m benchmarks.speed.first_quarter DIR {options.output}` on"
        f" {os.cpu_count()} cores, Python {sys.version.split()[0]}. The clock runs from the first"
        " command on; reading takes the rest of the quarter. The unknown files are disarmed"
        " byteplots, most of which the model was trained on: the transcript shows the way, not how"
        " good it is.\n\n"
    )
    options.output.write_text(head + text)


if __name__ == "__main__":
    main()
