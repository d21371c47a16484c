"""Makes requirements.txt: the base install as it is tested, with the digests of its files.

Versions are those of constraints.txt. pip chooses the files, for each Python and for Linux on
x86-64, from where it is configured to look; the result names no place.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from maltriage.files.atomic import write_file

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements.txt"
CONSTRAINTS = ROOT / "constraints.txt"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1))
HEAD = f"""\
# The base install as it is tested: CPython {PYTHONS[0]} to {PYTHONS[-1]} on Linux, x86-64,
# glibc 2.28 or newer. pip install --require-hashes -r requirements.txt takes these files alone.
# Made by `make supply-chain` from pyproject.toml and constraints.txt.
"""
TARGET = {
    "extra": "",
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""The environment that markers of requirements are read for: that of requirements.txt."""
_LINE = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>\S+)(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)


def base() -> list[str]:
    """The requirements of an install without extras, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def normal(name: str) -> str:
    """A package's name in the one form that all its forms have in common."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read() -> dict[str, tuple[str, list[str]]]:
    """Version and SHA-256 digests of each package in requirements.txt, by its name.

    Raises:
        ValueError: a line is anything but a package of one version with digests.
    """
    text = REQUIREMENTS.read_text(encoding="utf-8").replace(" \\\n   ", "")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            if match is None:
                raise ValueError(f"{REQUIREMENTS.name}: {line!r}")
            digests = [part.rpartition(":")[2] for part in match["hashes"].split()]
            found[normal(match["name"])] = (match["version"], digests)
    return found


def needed(lines: list[str], extras: frozenset[str] = frozenset()) -> dict[str, frozenset[str]]:
    """The packages that requirements name, each with its extras.

    Args:
        lines: of a pyproject.toml or of a package's metadata.
        extras: that are installed.
    """
    found = dict[str, frozenset[str]]()
    for line in lines:
        one = Requirement(line)
        environments = [{**TARGET, "extra": extra} for extra in ("", *extras)]
        if one.marker is None or any(one.marker.evaluate(given) for given in environments):
            name = normal(one.name)
            found[name] = found.get(name, frozenset()) | one.extras
    return found


def tree() -> dict[str, dict[str, frozenset[str]]]:
    """What each package of a base install needs, by name; `maltriage` is the root.

    Raises:
        PackageNotFoundError: a package is not installed.
    """
    found = {"maltriage": needed(base())}
    left = list(found["maltriage"].items())
    seen = set[tuple[str, frozenset[str]]]()
    while left:
        name, extras = one = left.pop()
        if one not in seen:
            seen.add(one)
            needs = needed(metadata.requires(name) or [], extras)
            found[name] = found.get(name, {}) | needs
            left += needs.items()
    return found


def chosen(python: str) -> list[dict[str, Any]]:
    """What pip would install for a version of Python, as its report has it."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--dry-run", "--ignore-installed", "--report", "-", "--only-binary", ":all:"]
    command += ["--implementation", "cp", "--python-version", python, "-c", str(CONSTRAINTS)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--target", folder, *base()]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return list(json.loads(done.stdout)["install"])


def text() -> str:
    """The text of requirements.txt."""
    found = dict[tuple[str, str], set[str]]()
    for python in PYTHONS:
        for entry in chosen(python):
            digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
            package = (normal(entry["metadata"]["name"]), entry["metadata"]["version"])
            found.setdefault(package, set()).add(digest)
    lines = [
        " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{d}" for d in sorted(digests))])
        for (name, version), digests in sorted(found.items())
    ]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_file(REQUIREMENTS, text().encode())
