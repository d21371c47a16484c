"""Wildcards in paths, which the shells of Windows leave to programs.

Click would expand every word: also the globs of `--exclude`, a `%` or `[` in the name of a sample,
and a `~`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from glob import glob


def expanded(words: Iterable[str]) -> list[str]:
    """On Windows the files that each word with `*` or `?` matches, or the word if none does."""
    if sys.platform != "win32":
        return list(words)
    found: list[str] = []
    for word in words:
        name = word.removeprefix("\\\\?\\")
        matches = sorted(glob(word.replace("[", "[[]"))) if "*" in name or "?" in name else []
        found += matches or [word]
    return found
