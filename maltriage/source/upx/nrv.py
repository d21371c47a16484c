"""Unpacks NRV2B, NRV2D and NRV2E, the three codes of the library UCL, which UPX packs with.

Each is a stream of bits that is filled from the same bytes as the literals: by 32 bits in
little-endian order, or by eight. Offsets and lengths of matches have a code of their own, which the
three differ in.
"""

from __future__ import annotations

from collections.abc import Callable

NRV2B, NRV2D, NRV2E = "nrv2b", "nrv2d", "nrv2e"
_END = 0xFFFFFFFF
_MOST = (1 << 24) + 2
"""The highest part of an offset; the one of the end."""
_FAR = {NRV2B: 0xD00, NRV2D: 0x500, NRV2E: 0x500}
"""A match from further away is one byte longer than its code says."""


def unpack(packed: bytes, code: str, word: int, size: int) -> bytes:
    """The bytes that were packed.

    Args:
        code: one of the three.
        word: bytes by which the bits are filled, 4 or 1.
        size: bytes that come out.

    Raises:
        ValueError: it is damaged, or gives more or fewer bytes.
    """
    try:
        found = _unpacked(packed, code, word, size)
    except IndexError:
        raise ValueError("it ends early") from None
    if len(found) != size:
        raise ValueError(f"{len(found)} bytes, not {size}")
    return bytes(found)


def _unpacked(packed: bytes, code: str, word: int, size: int) -> bytearray:
    out, at, last = bytearray(), 0, 1
    bits, left = 0, 0

    def bit() -> int:
        nonlocal at, bits, left
        if not left:
            if at + word > len(packed):
                raise IndexError
            bits = int.from_bytes(packed[at : at + word], "little")
            at += word
            left = 8 * word
        left -= 1
        return bits >> left & 1

    while True:
        while bit():
            out.append(packed[at])
            at += 1
            if len(out) > size:
                raise ValueError("more bytes than it says")
        offset = 2 + bit()
        while not bit():
            if code != NRV2B:
                offset = 2 * (offset - 1) + bit()
            offset = 2 * offset + bit()
            if offset > _MOST:
                raise ValueError("an offset without end")
        near = 0
        if offset == 2:
            offset = last
            if code != NRV2B:
                near = bit()
        else:
            offset = (offset - 3) << 8 | packed[at]
            at += 1
            if offset == _END:
                return out
            if code != NRV2B:
                near = ~offset & 1
                offset >>= 1
            offset += 1
            last = offset
        length = _length(code, near, bit) + (offset > _FAR[code]) + 1
        if offset > len(out) or len(out) + length > size:
            raise ValueError("a match outside of what is there")
        start = len(out) - offset
        while length > 0:  # where the match reaches into itself, twice as much each time
            piece = out[start : start + length]
            out += piece
            length -= len(piece)


def _length(code: str, near: int, bit: Callable[[], int]) -> int:
    """Of a match, in bytes behind its first one."""
    if code == NRV2E:
        if near:
            return 1 + bit()
        if bit():
            return 3 + bit()
        return _gamma(bit) + 3
    short = 2 * near + bit() if code == NRV2D else 2 * bit() + bit()
    return short or _gamma(bit) + 2


def _gamma(bit: Callable[[], int]) -> int:
    value = 2 + bit()
    while not bit():
        value = 2 * value + bit()
        if value > _MOST:
            raise ValueError("a length without end")
    return value
