"""Appends bytes to a program, which the loader does not map."""

from __future__ import annotations

import numpy as np

from maltriage.probe.transform.donors import Draw
from maltriage.probe.transform.program import Program


def append_zeros(program: Program, draw: Draw, share: float) -> bytes:
    return _appended(program, bytes(_count(program, share)))


def append_random(program: Program, draw: Draw, share: float) -> bytes:
    count = _count(program, share)
    return _appended(program, draw.generator.integers(0, 256, count, dtype=np.uint8).tobytes())


def append_benign(program: Program, draw: Draw, share: float) -> bytes:
    return _appended(program, draw.benign(_count(program, share)))


def append_words(program: Program, draw: Draw, count: int) -> bytes:
    return _appended(program, b"\0" + draw.benign_words(count) + b"\0")


def _count(program: Program, share: float) -> int:
    return max(1, round(len(program.data) * share))


def _appended(program: Program, more: bytes) -> bytes:
    program.body_end()  # raises if they would become part of the last section
    return bytes(program.data) + more
