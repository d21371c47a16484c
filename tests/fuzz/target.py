"""What a target is, and what several of them use."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
HIDDEN = {*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x200B, 0xFEFF, 0xD800}
"""Some of the characters that no terminal must get."""


@dataclass(frozen=True)
class Target:
    """`longest`: bytes of an input at most."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    longest: int = 20_000


@cache
def folder() -> Path:
    """A folder for what is only read from files."""
    made = Path(tempfile.mkdtemp(prefix="maltriage-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def programs() -> list[bytes]:
    """The samples."""
    return [path.read_bytes() for path in sorted(SAMPLES.glob("*.*")) if path.suffix in _ENDINGS]


_ENDINGS = {".exe", ".dll", ".sys"}
