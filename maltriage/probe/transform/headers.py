"""Changes header fields that the loader ignores, or accepts with any value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maltriage.probe.transform.donors import Draw
from maltriage.probe.transform.program import DEBUG, NotApplicableError, Program
from maltriage.probe.transform.rebuild import DEBUG_ENTRY, debug_entries

NAME_LETTERS = 6
MAX_DEBUG_BYTES = 1 << 16
"""Most bytes of one entry of the debug directory; a larger one is left alone."""
_DEBUG_KINDS = frozenset((2, 4, 12, 13, 14, 16, 20))
"""CodeView, misc, VC feature, POGO, ILTCG, repro, extended characteristics: read by tools alone."""


def rename_sections(program: Program, draw: Draw) -> bytes:
    """Rename sections to a dot and six random letters."""
    for row in program.rows:
        letters = draw.generator.integers(ord("a"), ord("z") + 1, NAME_LETTERS, dtype=np.uint8)
        program.data[row.at : row.at + 8] = b"." + letters.tobytes() + b"\0"
    return bytes(program.data)


def wipe_timestamp(program: Program, draw: Draw | None = None) -> bytes:
    if not program.long(program.timestamp_at):
        raise NotApplicableError("no timestamp")
    program.put_long(program.timestamp_at, 0)
    return bytes(program.data)


def wipe_checksum(program: Program, draw: Draw | None = None) -> bytes:
    """Zero the checksum, which is verified only for drivers and libraries of system start."""
    if not program.long(program.checksum_at):
        raise NotApplicableError("no checksum")
    program.put_long(program.checksum_at, 0)
    return bytes(program.data)


def wipe_rich(program: Program, draw: Draw | None = None) -> bytes:
    """Zero the Rich header, which lists the build tools, from `DanS` to its key."""
    end = program.data.rfind(b"Rich", 64, program.pe)
    if end < 0 or end + 8 > program.pe:
        raise NotApplicableError("no Rich header")
    key = program.data[end + 4 : end + 8]
    first = bytes(a ^ b for a, b in zip(b"DanS", key, strict=True))
    start = program.data.find(first, 64, end)
    if start < 0:
        raise NotApplicableError("no Rich header")
    program.clear(start, end + 8)
    return bytes(program.data)


def wipe_debug(program: Program, draw: Draw | None = None) -> bytes:
    """Zero the debug directory and the data of its entries."""
    entries, at = debug_entries(program), program.directory_at(DEBUG)
    if not entries or at is None:
        raise NotApplicableError("no debug directory")
    for entry in entries:
        kind, size, start = (program.long(entry + field) for field in (12, 16, 24))
        known = kind in _DEBUG_KINDS and size <= MAX_DEBUG_BYTES
        if known and program.headers_end <= start and start + size <= len(program.data):
            program.clear(start, start + size)
    for entry in entries:
        program.clear(entry, entry + DEBUG_ENTRY)
    program.clear(at, at + 8)
    return bytes(program.data)


def wipe_headers(program: Program, draw: Draw) -> bytes:
    """Wipe all four, as far as the file has them."""
    wipes: tuple[Callable[[Program], bytes], ...] = (
        wipe_timestamp,
        wipe_checksum,
        wipe_rich,
        wipe_debug,
    )
    done = 0
    for wipe in wipes:
        try:
            wipe(program)
        except NotApplicableError:
            continue
        done += 1
    if not done:
        raise NotApplicableError("nothing to wipe")
    return bytes(program.data)
