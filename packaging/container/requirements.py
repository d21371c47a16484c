"""Makes the lists of packages of the container: `python packaging/container/requirements.py`.

`requirements.txt` here is that of the top folder with `onnxruntime` in place of `onnxruntime-gpu`,
and has the files for ARM64 besides. `build.txt` has what the wheel is built with. Versions are
those of the top folder's list; what is not in it is the newest that pip finds.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = "3.13"
"""That of Debian trixie, which the container stands on."""
MACHINES = ("x86_64", "aarch64")
GPU, CPU = "onnxruntime-gpu", "onnxruntime"
HEAD = f"""\
# For the container: CPython {PYTHON} on Linux, x86-64 and ARM64, with the digests of the files.
# Made by packaging/container/requirements.py.
"""


def pinned() -> dict[str, str]:
    """Versions of the packages of the top folder's list, by name, with the CPU's runtime."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = dict(re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE))
    found[CPU] = found.pop(GPU)
    return found


def needed_to_build() -> list[str]:
    """The requirements of the build, as pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text)["build-system"]["requires"])


def chosen(wanted: list[str], machine: str, *more: str) -> list[dict[str, Any]]:
    """What pip would install on a kind of machine, as its report has it."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--dry-run", "--ignore-installed", "--report", "-", "--only-binary", ":all:"]
    command += ["--implementation", "cp", "--python-version", PYTHON, *more]
    for minor in range(41, 16, -1):
        command += ["--platform", f"manylinux_2_{minor}_{machine}"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--target", folder, *wanted]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return list(json.loads(done.stdout)["install"])


def text(wanted: list[str], *more: str) -> str:
    """The list for what is wanted, with the digests for each kind of machine.

    Args:
        more: options of pip.
    """
    found = dict[tuple[str, str], set[str]]()
    for machine in MACHINES:
        for entry in chosen(wanted, machine, *more):
            digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
            name = re.sub(r"[-_.]+", "-", entry["metadata"]["name"]).lower()
            found.setdefault((name, entry["metadata"]["version"]), set()).add(digest)
    lines = [
        " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{d}" for d in sorted(digests))])
        for (name, version), digests in sorted(found.items())
    ]
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write both lists."""
    base = [f"{name}=={version}" for name, version in pinned().items()]
    lists = {"requirements.txt": text(base, "--no-deps"), "build.txt": text(needed_to_build())}
    for name, made in lists.items():
        (HERE / name).write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
