"""Paths as tests expect them on each system."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest


def _has_links() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "link")
        try:
            link.symlink_to(folder)
        except OSError:
            return False
        return link.is_symlink()


HAS_LINKS = _has_links()
"""Whether this process may make symbolic links, which takes a right on Windows."""
links = pytest.mark.skipif(not HAS_LINKS, reason="no right to make symbolic links, or none here")


def below(path: str | Path, folder: Path) -> str:
    """`path` as it lies below `folder`, with `/` on each system."""
    return Path(os.path.relpath(path, folder)).as_posix()
