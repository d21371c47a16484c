"""Moves, adds or deflates sections, and strips the bytes behind them."""

from __future__ import annotations

import zlib

import numpy as np

from maltriage.probe.transform.donors import Draw
from maltriage.probe.transform.program import (
    CERTIFICATE,
    MAX_ROWS,
    ROW_BYTES,
    NotApplicableError,
    Program,
)
from maltriage.probe.transform.rebuild import rebuild
from maltriage.sample.byteplot import trimmed_length

PADDING = 4096
"""Bytes put between two sections."""
ADDED_SHARE, ADDED_LEAST = 0.1, 4096
"""Size of an added section: as a share of the file's size, and at least."""
PAGE, SECTOR = 0x1000, 0x200
EMPTY_BYTES = 0x1000
"""Memory of an added section without bytes."""
READ_DATA = 0x4000_0040
"""Characteristics of an added section: initialised data, to be read."""


def pad_sections(program: Program, draw: Draw) -> bytes:
    """Put random bytes between every two sections."""
    if len(program.placed) < 2:
        raise NotApplicableError("one section")
    pads = [b""] + [
        draw.generator.integers(0, 256, PADDING, dtype=np.uint8).tobytes()
        for _ in program.placed[1:]
    ]
    return bytes(rebuild(program, before=pads).data)


def file_alignment(program: Program, draw: Draw) -> bytes:
    """Align sections in the file to pages instead of sectors, or the other way round.

    Aligned to sectors they lose the zeros at their ends, which the loader adds again.
    """
    if program.file_alignment < PAGE:
        return bytes(rebuild(program, alignment=PAGE).data)
    bodies = []
    for row in program.placed:
        body = np.frombuffer(program.data, dtype=np.uint8)[row.start : row.end]
        # Without a size in memory the loader uses the one in the file.
        kept = max(1, trimmed_length(body)) if row.virtual_size else len(body)
        bodies.append(body[:kept].tobytes())
    return bytes(rebuild(program, bodies, alignment=SECTOR).data)


def add_empty_section(program: Program, draw: Draw) -> bytes:
    """Add a row to the section table, with memory and no bytes in the file."""
    program.body_end()
    _add_row(program, draw, EMPTY_BYTES, 0, 0)
    return bytes(program.data)


def add_benign_section(program: Program, draw: Draw) -> bytes:
    """Add a section of benign content behind the last one; bytes after that move back."""
    rebuild(program)  # raises if nothing can be added
    count = max(ADDED_LEAST, round(len(program.data) * ADDED_SHARE))
    body = draw.benign(count + -count % program.file_alignment)
    found = rebuild(program, behind=body)
    _add_row(found, draw, len(body), found.placed[-1].end, len(body))
    return bytes(found.data)


def _add_row(program: Program, draw: Draw, virtual: int, start: int, size: int) -> None:
    at = program.headers_end
    until = min((row.start for row in program.placed), default=len(program.data))
    until = min(until, program.long(program.headers_size_at))
    if (
        program.count >= MAX_ROWS
        or at + ROW_BYTES > until
        or any(program.data[at : at + ROW_BYTES])
    ):
        raise NotApplicableError("no room in the section table")
    step = program.section_alignment
    if not step or step & (step - 1):
        raise NotApplicableError("no alignment of sections")
    rva = max(row.rva + max(row.virtual_size, row.size) for row in program.rows)
    rva += -rva % step
    if rva + virtual + step >= 1 << 31:
        raise NotApplicableError("no room in memory")
    letters = draw.generator.integers(ord("a"), ord("z") + 1, 6, dtype=np.uint8).tobytes()
    program.data[at : at + 8] = b"." + letters + b"\0"
    for field, value in ((8, virtual), (12, rva), (16, size), (20, start), (36, READ_DATA)):
        program.put_long(at + field, value)
    program.put_word(program.pe + 6, program.count + 1)
    program.put_long(program.image_size_at, rva + virtual + -virtual % step)


def strip_overlay(program: Program, draw: Draw) -> bytes:
    """Strip the bytes behind the last section, except the certificate."""
    end, certificate = program.body_end(), program.certificate()
    kept = bytes(program.data[slice(*certificate)]) if certificate else b""
    rest = bytearray(program.data[end:])
    if certificate:
        rest[certificate[0] - end : certificate[1] - end] = b""
    if not any(rest):
        raise NotApplicableError("no overlay")
    if program.long(program.symbols_at) >= end:
        program.clear(program.symbols_at, program.symbols_at + 8)
    at = program.directory_at(CERTIFICATE)
    if certificate and at is not None:
        gap = -end % 8
        program.put_long(at, end + gap)
        kept = bytes(gap) + kept
    return bytes(program.data[:end]) + kept


def strip_certificate(program: Program, draw: Draw) -> bytes:
    certificate, at = program.certificate(), program.directory_at(CERTIFICATE)
    if certificate is None or at is None:
        raise NotApplicableError("no certificate")
    program.clear(at, at + 8)
    return bytes(program.data[: certificate[0]] + program.data[certificate[1] :])


def pack_proxy(program: Program, draw: Draw) -> bytes:
    """Deflate every section's bytes: stands in for a packer, without a stub that would run."""
    bodies = [zlib.compress(bytes(program.data[row.start : row.end]), 9) for row in program.placed]
    return bytes(rebuild(program, bodies).data)
