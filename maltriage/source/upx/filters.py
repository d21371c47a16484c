"""Undoes what UPX does to code before it is packed: targets of branches are absolute then."""

from __future__ import annotations

import re
from typing import Literal

from maltriage.source.upx.memory import Headers
from maltriage.source.upx.packed import Packed

MAX_BRANCHES = 1 << 22
_CALLS = b"\xe8\xe9"
_ALL, _JUMPS = b"[\xe8\xe9]", b"(?:[\xe8\xe9]|(?<=\x0f)[\x80-\x8f])"
_FILTERS: dict[int, tuple[bytes, Literal["little", "big"], bool]] = {
    0x11: (b"\xe8", "little", False), 0x13: (_ALL, "little", False),
    0x14: (b"\xe8", "big", False), 0x16: (_ALL, "big", False),
    0x24: (b"\xe8", "big", True), 0x26: (_ALL, "big", True),
    0x46: (_ALL, "big", True), 0x49: (_JUMPS, "big", True),
}  # fmt: skip
"""By number of the filter: the branches, the order in which their targets lie, and whether those
have a byte that marks them."""


def unfilter(raw: bytearray, inner: Headers, packed: Packed, base: int) -> None:
    """Make targets of calls and jumps relative again."""
    if not packed.filter:
        return
    start, size = inner.field(44) - base, inner.field(28)
    if start < 0 or start + size > len(raw):
        raise ValueError("code outside of the image")
    if packed.filter not in _FILTERS:
        raise ValueError(f"a filter that is not known ({packed.filter:#x})")
    branch, order, marked = _FILTERS[packed.filter]
    if marked:
        branch += re.escape(bytes([packed.mark]))
    pattern = re.compile(branch, re.DOTALL)
    code, behind = memoryview(raw)[start : start + size], 0
    at, wrapped, count = 0, packed.mark << 24 if marked else 0, 0
    while (found := pattern.search(code, at)) is not None and found.start() < size - 5:
        place = found.start()
        if place == behind and place and code[place] not in _CALLS:
            at = place + 1  # the last byte of an address looks like the first of a jump
            continue
        at = behind = place + 5
        count += 1
        if count > MAX_BRANCHES:
            raise ValueError("branches without end")
        target = int.from_bytes(code[place + 1 : at], order)
        value = target - place - 1 - start - wrapped
        code[place + 1 : at] = (value & 0xFFFFFFFF).to_bytes(4, "little")
