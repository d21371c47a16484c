"""The workflows of the public forge, by what can be checked without it.

check-jsonschema holds them against the forge's schema, zizmor looks for what lets others in. Both
are in the extra `dev`. The workflows themselves were never run.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
POSIX_ONLY = frozenset("fcntl grp posix pty pwd resource syslog termios tty".split())


def loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job["steps"]]


def test_all_are_here() -> None:
    assert [path.name for path in WORKFLOWS] == ["site.yml", "tests.yml", "wheels.yml"]


def test_the_schema_of_the_forge() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema"]
    for schema, files in (
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.dependabot", [FOLDER / "dependabot.yml"]),
    ):
        told = [*command, "--builtin-schema", schema, *files]
        done = subprocess.run(told, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_lets_others_in() -> None:
    beside = Path(sys.executable).with_name("zizmor")
    found = str(beside) if beside.exists() else shutil.which("zizmor")
    if found is None:
        pytest.skip("no zizmor")
    command = [found, "--offline", "--persona=pedantic", "--no-progress"]
    command += ["--config", FOLDER / "zizmor.yml", FOLDER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_times_and_actions(path: Path) -> None:
    found = loaded(path)
    assert found["permissions"] == {}
    assert "cancel-in-progress" in found["concurrency"]
    for name, job in found["jobs"].items():
        assert job["timeout-minutes"] <= 90, name
        assert job["permissions"], name
        for right, value in job["permissions"].items():
            assert value == "read" or name == "publish", right
    for step in steps(path):
        if "uses" in step:
            assert re.search(r"@(v[0-9]+|release/v[0-9]+)$", step["uses"]), step["uses"]


def test_publishing_takes_a_tag() -> None:
    jobs = loaded(FOLDER / "workflows" / "wheels.yml")["jobs"]
    assert "github.ref_type == 'tag'" in jobs["publish"]["if"]
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}


def test_every_python_is_tested_on_every_system() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    prefix = "Programming Language :: Python :: 3."
    classifiers = tomllib.loads(text)["project"]["classifiers"]
    pythons = [c.rpartition(" ")[2] for c in classifiers if c.startswith(prefix)]
    jobs = loaded(FOLDER / "workflows" / "tests.yml")["jobs"]
    *_, setup, test = jobs.pop("newest")["steps"]
    assert (setup["with"]["python-version"], "CONSTRAINTS= " in test["run"]) == (pythons[-1], True)
    for job in jobs.values():
        assert job["strategy"]["matrix"]["python"] == pythons


def test_windows_can_import_every_test() -> None:
    """So that the workflow leaves none out: what needs a system skips itself on others."""
    assert "--ignore" not in (FOLDER / "workflows" / "tests.yml").read_text(encoding="utf-8")
    wrong = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if not POSIX_ONLY.isdisjoint(_imported_at_the_top(path))
    ]
    assert wrong == []


def _imported_at_the_top(path: Path) -> set[str]:
    found = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
