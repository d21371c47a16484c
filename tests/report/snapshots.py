"""Snapshots of screens, kept in the folder `golden` beside this file."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
UPDATE = "UPDATE_GOLDEN"
_ASKED = os.environ.get(UPDATE) == "1"


def check(name: str, text: str) -> None:
    """`text` is what the snapshot says. UPDATE_GOLDEN=1 writes it anew: then read the diff."""
    path = FOLDER / name
    if _ASKED:
        path.write_text(text, "utf-8", newline="\n")
    assert path.is_file(), f"no snapshot {name}; write it with {UPDATE}=1"
    assert text == path.read_text("utf-8"), f"{name} differs; if it should, run with {UPDATE}=1"
