"""Code comes out as it was before UPX made targets of branches absolute."""

from __future__ import annotations

import struct
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source.upx.repack import PROGRAMS, headers_in, image_of

from maltriage.source.upx.filters import unfilter
from maltriage.source.upx.memory import Headers
from maltriage.source.upx.packed import Packed

BASE, START = 0x1000, 0x40
MARK = 0xA5
FILTERS: dict[int, tuple[bytes, Literal["little", "big"], bool]] = {
    0x11: (b"\xe8", "little", False),
    0x13: (b"\xe8\xe9", "little", False),
    0x14: (b"\xe8", "big", False),
    0x16: (b"\xe8\xe9", "big", False),
    0x24: (b"\xe8", "big", True),
    0x26: (b"\xe8\xe9", "big", True),
    0x46: (b"\xe8\xe9", "big", True),
    0x49: (b"\xe8\xe9", "big", True),
}


def headers(size: int) -> Headers:
    image = image_of((PROGRAMS / "console-x86.nrv2b.exe").read_bytes())
    raw = bytearray(image[headers_in(image) :][:2048])
    struct.pack_into("<I", raw, 28, size)
    struct.pack_into("<I", raw, 44, BASE + START)
    return Headers(raw)


def filtered(code: bytes, number: int) -> bytes | None:
    """As UPX does it; None: the mark is taken."""
    branches, order, marked = FILTERS[number]
    out, at, last = bytearray(code), 0, 0
    while at < len(code) - 5:
        jump = number == 0x49 and at != last and at > 0
        jump = jump and out[at - 1] == 0x0F and 0x80 <= out[at] <= 0x8F
        if out[at] not in branches and not jump:
            at += 1
            continue
        (value,) = struct.unpack_from("<I", code, at + 1)
        target = (value + at + 1) & 0xFFFFFFFF
        if marked and target >= len(code):
            if out[at + 1] == MARK:
                return None
            at += 1
            continue
        target += START + (MARK << 24 if marked else 0)
        out[at + 1 : at + 5] = (target & 0xFFFFFFFF).to_bytes(4, order)
        at = last = at + 5
    return bytes(out)


def parts() -> st.SearchStrategy[bytes]:
    near = st.integers(-30, 60).map(lambda value: struct.pack("<i", value))
    return st.one_of(
        st.sampled_from((b"\xe8", b"\xe9", b"\x0f\x84")).flatmap(
            lambda branch: near.map(lambda target: branch + target)
        ),
        st.binary(max_size=9),
        st.sampled_from((b"\x0f", b"\x0f\x80", b"\xe8\xe8", b"\xe9" + bytes([MARK]))),
    )


@pytest.mark.parametrize("number", FILTERS)
@given(st.lists(parts(), max_size=20))
def test_code_comes_out(number: int, pieces: list[bytes]) -> None:
    code = b"".join(pieces)
    made = filtered(code, number)
    if made is None:
        return
    raw = bytearray(bytes(START) + made + b"\xe8\xa5\0\0\0\1")
    unfilter(raw, headers(len(code)), Packed(0, 14, 0, 0, 0, number, MARK), BASE)
    assert raw[START : START + len(code)] == code
    assert raw[START + len(code) :] == b"\xe8\xa5\0\0\0\1"


def test_none_and_unknown_ones() -> None:
    raw = bytearray(b"\xe8\xa5\0\0\0\1" * 9)
    unfilter(raw, headers(20), Packed(0, 14, 0, 0, 0, 0, 0), BASE)
    assert raw == b"\xe8\xa5\0\0\0\1" * 9
    with pytest.raises(ValueError, match="0x80"):
        unfilter(raw, headers(5), Packed(0, 14, 0, 0, 0, 0x80, 0), BASE + START)
    with pytest.raises(ValueError, match="outside"):
        unfilter(raw, headers(5000), Packed(0, 14, 0, 0, 0, 0x26, 0), BASE)
