"""What a target is, and what several of them use."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LONGEST = 20_000
"""Bytes of an input at most, unless its target has another limit."""
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
HIDDEN = {*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x200B, 0xFEFF, 0xD800}
"""Some of the characters that no terminal must get."""


@dataclass(frozen=True)
class Target:
    """`longest`: bytes of an input at most."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    longest: int = LONGEST


@cache
def folder() -> Path:
    """A folder for what is only read from files."""
    made = Path(tempfile.mkdtemp(prefix="maltriage-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def programs() -> list[bytes]:
    """The samples."""
    return [path.read_bytes() for path in sorted(SAMPLES.glob("*.*")) if path.suffix in _ENDINGS]


def hostile(*kinds: str) -> list[bytes]:
    """Files of some kinds of the hostile corpus (`sections`, `dotnet`) that an input can hold."""
    from hostile import corpus

    every = (data for kind in kinds for _, data in getattr(corpus, kind)())
    return [data for data in every if len(data) <= LONGEST]


_ENDINGS = {".exe", ".dll", ".sys"}
