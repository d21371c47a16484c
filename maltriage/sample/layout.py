"""Layout of a file: regions that cover every byte once, anchors, and notices on both."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from maltriage.sample import native
from maltriage.sample.byteplot import Bytes, pe_offset
from maltriage.sample.hexdump import MAX_BLOCKS, Dump
from maltriage.sample.pe import COFF_SYMBOL_BYTES, EFI, MACHINES, MAX_SECTIONS, Headers
from maltriage.sample.types import Layout, Notice, Region, RegionKind

_FEW_BYTES = 8192
"""Below, numpy counts bytes faster than Pillow, which needs an image made of them."""
_COUNTED = 1 << 26
"""Bytes counted at once: the width of an image is limited to 31 bits."""
DUMP_RANGES = 16
"""Approximate number of ranges of a hex dump whose addresses do not jump."""


@dataclass(frozen=True)
class _Claim:
    """A range as the headers claim it, before overlaps are resolved."""

    name: str
    kind: RegionKind
    start: int
    end: int
    rva: int | None


def entropy(data: memoryview) -> float:
    """Shannon entropy in bits per byte, 0 for nothing."""
    if not len(data):
        return 0.0
    counts = _counts(np.frombuffer(data, dtype=np.uint8)).astype(np.float64)
    bits = counts @ np.log2(np.maximum(counts, 1.0))
    return max(0.0, math.log2(len(data)) - float(bits) / len(data))


def _counts(data: Bytes) -> npt.NDArray[np.int64]:
    """How often each value is there, (256,)."""
    if native.kernel is not None:
        counts = np.empty(256, dtype=np.int64)
        native.kernel.histograms(data, np.array([0, len(data)]), counts)
        return counts
    if len(data) < _FEW_BYTES:
        return np.bincount(data, minlength=256)
    from PIL import Image

    # Pillow counts bytes in C without widening them first, which numpy's bincount does.
    counts = np.zeros(256, dtype=np.int64)
    for at in range(0, len(data), _COUNTED):
        part = data[at : at + _COUNTED]
        counts += Image.frombuffer("L", (len(part), 1), part, "raw", "L", 0, 1).histogram()
    return counts


def make_layout(data: bytes, headers: Headers | None) -> tuple[Layout, list[Notice]]:
    """The layout of a file, and notices of what is odd about it.

    Overlaps are resolved in file order: the range that begins first keeps the bytes, then
    the earlier row of the section table; bytes that a later claim loses are noted. Without
    readable headers the whole file is one region `unparsed`.
    """
    view = memoryview(data)
    if headers is None:
        notice = Notice("unparsed", "No parser could read the PE headers: no regions, no anchors.")
        whole = [Region("(whole file)", "unparsed", 0, len(data), None, entropy(view))]
        return Layout("none", None, None, False, None, whole if data else [], {}), [notice]
    ranges, notices = _cover(data, headers)
    regions = [
        Region(c.name, c.kind, c.start, c.end, c.rva, entropy(view[c.start : c.end]))
        for c in ranges
    ]
    layout = Layout(
        parser=headers.parser,
        machine=MACHINES.get(headers.machine, f"0x{headers.machine:x}"),
        bits=headers.bits,
        dotnet="clr" in headers.directories,
        image_base=headers.image_base,
        regions=regions,
        anchors=_anchors(data, headers, regions),
        efi=headers.subsystem in EFI,
    )
    return layout, notices


def dump_layout(dump: Dump) -> tuple[Layout, list[Notice]]:
    """The layout of a hex dump: ranges of addresses, as it has no headers.

    A range begins where the addresses jump, and at the multiples of a power of two, at least
    4 KiB, chosen to give about `DUMP_RANGES` ranges. Its name is its first address, or its offset,
    `+004000`, in a dump without addresses. Addresses are absolute, as in an image at 0.
    """
    size = len(dump.data)
    known = size if dump.rest is None else dump.rest
    step = max(4096, 1 << (max(1, size // DUMP_RANGES) - 1).bit_length())
    view = memoryview(dump.data)
    blocks = dump.blocks or ((0, 0),)
    ends = [*(offset for offset, _ in blocks[1:]), known]
    regions = []
    for (first, address), end in zip(blocks, ends, strict=True):
        edges = [first, *range(first + step - address % step, end, step), end]
        for start, stop in pairwise(edges):
            at = address + start - first
            name, rva = (f"{at:08x}", at) if dump.blocks else (f"+{at:06x}", None)
            regions.append(Region(name, "range", start, stop, rva, entropy(view[start:stop])))
    if known < size:
        regions.append(Region("(rest)", "range", known, size, None, entropy(view[known:])))
    notices = []
    if dump.unmapped:
        byte = f"0x{dump.filler:02x}" if dump.filler else "zero"
        text = f"{dump.unmapped / size:.1%} of its bytes are unknown (??) and read as {byte}."
        notices.append(Notice("unmapped", text))
    if known < size:
        text = f"Addresses jump more than {MAX_BLOCKS:,} times: the rest is shown as it lies."
        notices.append(Notice("many-blocks", text))
    elif len(blocks) > 1:
        jumps = len(blocks) - 1
        text = (
            f"Addresses jump {jumps:,} time{'s' * (jumps > 1)}: ranges that follow are not all next"
        )
        text += " to each other in memory."
        notices.append(Notice("address-jumps", text))
    base = 0 if dump.blocks else None
    layout = Layout("none", None, None, False, base, regions, {}, dump.unmapped)
    return layout, notices


def _rows(data: bytes) -> int:
    """Number of rows of the section table, as the COFF header says."""
    pe = pe_offset(data) or 0
    return int.from_bytes(data[pe + 6 : pe + 8], "little")


def _symbols(data: bytes) -> tuple[int, int] | None:
    """File range of the COFF symbol table with its strings, as linkers of GNU leave it."""
    pe = pe_offset(data) or 0
    if len(data) < pe + 20:
        return None
    start, count = struct.unpack_from("<II", data, pe + 12)
    end = start + count * COFF_SYMBOL_BYTES
    if not start or not count or end > len(data):
        return None
    strings = int.from_bytes(data[end : end + 4], "little")
    return start, end + strings if 4 <= strings <= len(data) - end else end


def _cover(data: bytes, headers: Headers) -> tuple[list[_Claim], list[Notice]]:
    length = len(data)
    notices: list[Notice] = []
    lost, cut = [], []
    claims = []
    for section in headers.sections:
        end = section.start + section.size
        if not section.size:
            continue
        if end > length:
            cut.append(section.name)
        if section.start < length:
            last = min(end, length)
            used = min(section.start + section.mapped, last)
            claims.append(_Claim(section.name, "section", section.start, used, section.rva))
            if used < last:
                claims.append(_Claim("(not mapped)", "gap", used, last, None))
    claims.sort(key=lambda claim: claim.start)  # stable: the table's order breaks ties
    first = claims[0].start if claims else length
    header_end = min(length, headers.header_size, max(first, 64))
    claims.insert(0, _Claim("(headers)", "header", 0, header_end, 0))
    body_end = max([claim.end for claim in claims])
    symbols = _symbols(data)
    if symbols is not None and symbols[0] >= body_end:
        claims.append(_Claim("(symbols)", "gap", *symbols, None))
    at, size = headers.directories.get("certificate", (0, 0))
    if size and 0 < at < length:
        claims.append(_Claim("(certificate)", "certificate", at, min(at + size, length), None))
    claims.sort(key=lambda claim: claim.start)

    ranges: list[_Claim] = []
    cursor = 0

    def fill(until: int) -> None:
        middle = min(max(cursor, body_end), until)
        if cursor < middle:
            ranges.append(_Claim("(gap)", "gap", cursor, middle, None))
        if middle < until:
            ranges.append(_Claim("(overlay)", "overlay", middle, until, None))

    for claim in claims:
        start = max(claim.start, cursor)
        if start > claim.start:
            lost.append(claim.name)
        if start >= claim.end:
            continue
        fill(start)
        rva = None if claim.rva is None else claim.rva + start - claim.start
        ranges.append(_Claim(claim.name, claim.kind, start, claim.end, rva))
        cursor = claim.end
    fill(length)
    if not headers.sections:
        notices.append(Notice("no-sections", "The section table is empty."))
    if len(headers.sections) >= MAX_SECTIONS and _rows(data) > MAX_SECTIONS:
        text = f"More than {MAX_SECTIONS:,} sections: the rest is not shown."
        notices.append(Notice("many-sections", text))
    if cut:
        notices.append(Notice("truncated", f"The file ends before its sections do ({_some(cut)})."))
    if lost:
        notices.append(
            Notice(
                "overlapping-sections",
                f"Ranges overlap; the first in the file keeps the bytes ({_some(lost)} lost some).",
            )
        )
    return ranges, notices


def _some(names: list[str]) -> str:
    shown = ", ".join(name or "unnamed" for name in names[:3])
    return shown + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _anchors(data: bytes, headers: Headers, regions: list[Region]) -> dict[str, int]:
    """File offsets of the anchors of windows; only those that the file has."""
    wanted: dict[str, int | None] = {
        name: headers.offset_of(rva)
        for name, (rva, _) in headers.directories.items()
        if name != "certificate"
    }
    if headers.entry_rva:
        wanted["entry"] = headers.offset_of(headers.entry_rva)
    # Unlike the entry point this exists in files that were disarmed by overwriting it.
    wanted["code"] = next((s.start for s in headers.sections if s.executable and s.size), None)
    # The header of a 64-bit program has its fields at other places.
    wanted["pe32"] = pe_offset(data) if headers.bits == 32 else None
    for kind in ("overlay", "certificate"):
        wanted[kind] = next((r.start for r in regions if r.kind == kind), None)
    sections = [r.start for r in regions if r.kind == "section"]
    wanted["second_section"] = sections[1] if len(sections) > 1 else None
    wanted["last_section"] = sections[-1] if sections else None
    return {name: at for name, at in wanted.items() if at is not None and 0 <= at < len(data)}
