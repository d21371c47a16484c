"""Small PE files with sections, gaps, overlay and certificate as a test wants them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

PE, TABLE = 0x80, 0x80 + 24 + 0xE0
HEADERS = 0x400


@dataclass(frozen=True)
class Plan:
    """What a file holds: by section its bytes, and those of nobody behind it."""

    sections: tuple[bytes, ...]
    gaps: tuple[bytes, ...]
    overlay: bytes = b""
    certificate: bytes = b""
    alignment: int = 0x200


def build(plan: Plan) -> bytes:
    """A 32-bit program by plan; the last gap is left out, or it would be overlay."""
    out = bytearray(HEADERS)
    out[:2], out[60:64] = b"MZ", struct.pack("<I", PE)
    out[PE : PE + 4] = b"PE\0\0"
    struct.pack_into("<HHIIIHH", out, PE + 4, 0x14C, len(plan.sections), 77, 0, 0, 0xE0, 0x102)
    struct.pack_into("<H", out, PE + 24, 0x10B)
    struct.pack_into("<II", out, PE + 24 + 32, 0x1000, plan.alignment)
    struct.pack_into("<I", out, PE + 24 + 60, HEADERS)
    struct.pack_into("<I", out, PE + 24 + 92, 16)
    rva = 0x1000
    out += bytes(-len(out) % plan.alignment)
    for i, body in enumerate(plan.sections):
        size = len(body) + -len(body) % plan.alignment
        row = struct.pack("<8sIIII", b".s%d" % i, len(body), rva, size, len(out))
        out[TABLE + 40 * i : TABLE + 40 * i + len(row)] = row
        out += body.ljust(size, b"\0")
        rva += size + -size % 0x1000 or 0x1000
        if i + 1 < len(plan.sections):
            out += plan.gaps[i] + bytes(-len(plan.gaps[i]) % plan.alignment)
    struct.pack_into("<I", out, PE + 24 + 56, rva)
    out += plan.overlay
    if plan.certificate:
        out += bytes(-len(out) % 8)
        struct.pack_into("<II", out, PE + 24 + 96 + 32, len(out), len(plan.certificate))
        out += plan.certificate
    return bytes(out)


def _bytes(most: int, least: int = 0) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda size, first: bytes((first + 7 * i) % 255 + 1 for i in range(size)),
        st.integers(least, most),
        st.integers(0, 254),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans with one to five sections."""
    count = draw(st.integers(1, 5))
    return Plan(
        tuple(draw(_bytes(5000, 1)) for _ in range(count)),
        tuple(draw(_bytes(600)) for _ in range(count)),
        draw(_bytes(900)),
        draw(_bytes(100)),
        draw(st.sampled_from((0x200, 0x400, 0x1000))),
    )


def bodies(data: bytes, headers: object) -> Sequence[bytes]:
    """Bytes of each section that `read_headers` tells of, as the loader maps them."""
    return [
        data[s.start : s.start + s.size][: s.virtual_size or None].rstrip(b"\0")
        for s in headers.sections  # type: ignore[attr-defined]
    ]
