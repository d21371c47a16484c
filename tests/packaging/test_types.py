"""What Python lacks on other systems, as the type checker sees it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNREACHED = {
    "win32": {
        "work/attempts.py": "a worker tries no promise there: `_refused`",
        "work/isolation.py": "what Linux has: called where IS_LINUX is true",
        "work/supervisor.py": "pipes have another class there, of the same methods",
        "learn/fit/parallel.py": "the same",
    },
    "darwin": {"work/attempts.py": "a call that is missing is no promise: `_refused`"},
}
"""Modules in which a name is missing, and why that does no harm."""


@pytest.mark.slow
@pytest.mark.parametrize(("system", "known"), UNREACHED.items())
def test_no_name_is_missing_where_it_is_reached(
    system: str, known: dict[str, str], tmp_path: Path
) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("no mypy")
    command = [sys.executable, "-m", "mypy", "--platform", system, "--cache-dir", tmp_path]
    done = subprocess.run(
        [*command, "maltriage"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = dict(re.findall(r"^maltriage/(\S+?):\d+: (error): ", done.stdout, re.MULTILINE))
    assert found.keys() == known.keys(), done.stdout + done.stderr
