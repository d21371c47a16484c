"""What tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile.make import sample


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a program, and a file that is none."""
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.exe").write_bytes(sample("console-x86.exe"))
    (root / "b.txt").write_text("no program")
    return root


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program by itself."""
    path = tmp_path / "a.exe"
    path.write_bytes(sample("console-x86.exe"))
    return path
