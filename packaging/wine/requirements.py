"""Writes what the tests take on Windows, of pyproject.toml: pip asks about the system it runs on.

python packaging/wine/requirements.py in.txt
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {"ray", "playwright", "moto", "onnxruntime"}
"""Clusters are not for Windows; browsers and servers of tests are those of this system."""
OF_WINDOWS = ["colorama", "tzdata", "pywin32"]
"""What others ask for on Windows alone."""


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    lines = [
        requirement.partition(";")[0]
        for requirement in wanted
        if re.split(r"[^\w.-]", requirement)[0] not in LEFT_OUT
    ]
    Path(sys.argv[1]).write_text("\n".join([*lines, *OF_WINDOWS, ""]))


if __name__ == "__main__":
    main()
