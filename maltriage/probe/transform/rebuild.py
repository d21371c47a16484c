"""Lays the sections of a PE file out anew: their file offsets change, the mapped image does not.

Fields with a file offset (section table, certificate table, COFF symbols, debug directory) are
updated; addresses in memory stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from maltriage.probe.transform.program import CERTIFICATE, DEBUG, NotApplicableError, Program

DEBUG_ENTRY = 28
MAX_DEBUG_ENTRIES = 64
SECTOR = 0x200
"""Least file alignment with which the loader maps sections one by one."""


def rebuild(
    program: Program,
    bodies: Sequence[bytes] | None = None,
    before: Sequence[bytes] | None = None,
    behind: bytes = b"",
    alignment: int | None = None,
) -> Program:
    """The program with its sections laid out anew, in file order.

    Args:
        program: has the sections `program.placed`; it is not changed.
        bodies: new contents of each section; None: unchanged.
        before: bytes to put ahead of each section; None: none.
        behind: bytes to put behind the last section, at the next multiple of the alignment.
        alignment: of the sections in the file; None: unchanged.

    Raises:
        NotApplicableError: sections overlap, run past the end, or are not where the loader reads.
    """
    placed, old = program.placed, bytes(program.data)
    end = program.body_end()
    alignment = alignment or program.file_alignment
    _check(program, alignment)
    out = bytearray(old[: placed[0].start])
    moves = []
    for i, row in enumerate(placed):
        out += b"" if before is None else before[i]
        out += bytes(-len(out) % alignment)
        body = old[row.start : row.end] if bodies is None else bodies[i]
        moves.append((row.start, len(out)))
        _put(out, row.at + 16, len(body) + -len(body) % alignment)
        _put(out, row.at + 20, len(out))
        out += body + bytes(-len(body) % alignment)
        # Bytes between two sections that belong to none stay between them.
        until = placed[i + 1].start if i + 1 < len(placed) else end
        if until > row.end:
            moves.append((row.end, len(out)))
            out += old[row.end : until]
    out += behind
    moves.append((end, len(out)))
    out += old[end:]
    _put(out, program.file_alignment_at, alignment)
    headers = program.long(program.headers_size_at)
    _put(out, program.headers_size_at, headers + -headers % alignment)
    found = Program(bytes(out))
    _follow(found, program, moves, debug=bodies is None)
    return found


def _put(out: bytearray, at: int, value: int) -> None:
    out[at : at + 4] = value.to_bytes(4, "little")


def _check(program: Program, alignment: int) -> None:
    placed = program.placed
    if program.file_alignment < SECTOR or alignment < SECTOR or alignment & (alignment - 1):
        raise NotApplicableError("mapped as it lies")
    if alignment > program.section_alignment:
        raise NotApplicableError("sections lie closer in memory")
    if any(a.end > b.start for a, b in pairwise(placed)):
        raise NotApplicableError("sections overlap")
    if placed[0].start < program.headers_end:
        raise NotApplicableError("sections overlap")


def _follow(found: Program, program: Program, moves: list[tuple[int, int]], *, debug: bool) -> None:
    """Update fields with a file offset to the new places of their bytes.

    Args:
        moves: old and new start of each run of bytes, ascending.
        debug: whether the debug directory is still readable at its address in memory.
    """

    def moved(offset: int) -> int:
        if offset < len(program.data):
            for start, new in reversed(moves):
                if offset >= start:
                    return new + offset - start
        return offset

    at = found.directory_at(CERTIFICATE)
    if at is not None and program.directory(CERTIFICATE)[1]:
        found.put_long(at, moved(program.directory(CERTIFICATE)[0]))
    fields = [found.symbols_at]
    fields += [row.at + field for row in found.rows for field in (24, 28)]  # relocations, lines
    if debug:
        fields += [entry + 24 for entry in debug_entries(found)]
    for field in fields:
        offset = found.long(field)
        if offset:
            found.put_long(field, moved(offset))


def debug_entries(program: Program) -> list[int]:
    """File offsets of the complete entries of the debug directory; none if it is in the headers."""
    rva, size = program.directory(DEBUG)
    at = program.offset_of(rva) if size else None
    if at is None or at < program.headers_end:
        return []
    count = min(size // DEBUG_ENTRY, MAX_DEBUG_ENTRIES, (len(program.data) - at) // DEBUG_ENTRY)
    return [at + DEBUG_ENTRY * i for i in range(count)]
