"""Finds what UPX packed in a program, by the header that it writes."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from maltriage.source.upx import nrv
from maltriage.source.upx.memory import headers_of

NRV = {
    2: (nrv.NRV2B, 4), 3: (nrv.NRV2B, 1), 5: (nrv.NRV2D, 4),
    6: (nrv.NRV2D, 1), 8: (nrv.NRV2E, 4), 9: (nrv.NRV2E, 1),
}  # fmt: skip
"""By number of the method: the code, and bytes by which its bits are filled."""
LZMA = 14
_NAME = re.compile(r"!carved@0x([0-9a-f]{1,16})\.upx\.exe\Z")
_MAGIC = b"UPX!"
_HEAD = struct.Struct("<4sBxBxI4xII4xBBxB")
"""Magic, version, method, checksum of what was packed, its size, that of the packed bytes, filter
and its mark, and a checksum of the header."""
_BEFORE, _REACH = 64, 1024
"""Bytes before the second section from which the header is looked for, and how many."""
_OLDEST = 10
"""Version of the header that has a checksum of its own (UPX 1.0, of 2000)."""


@dataclass(frozen=True)
class Packed:
    """The header of what UPX packed. `at`: where the packed bytes begin in the file."""

    at: int
    method: int
    size: int
    packed_size: int
    checksum: int
    filter: int
    mark: int


def packed_by_upx(data: bytes) -> Packed | None:
    """The header of UPX in a program; None: there is none that can be read."""
    try:
        headers = headers_of(data)
        if headers is None:
            return None
        places = [place for _, _, _, place in headers.rows()]
    except (ValueError, struct.error):
        return None
    if len(places) < 3:
        return None
    begin = max(places[1] - _BEFORE, 0)
    at = data.find(_MAGIC, begin, begin + _REACH)
    if at < 0 or at + _HEAD.size > len(data):
        return None
    raw, begin = data[at : at + _HEAD.size], at + _HEAD.size
    _, version, method, checksum, size, packed_size, kind, mark, own = _HEAD.unpack(raw)
    known = version >= _OLDEST and (method in NRV or method == LZMA)
    if not known or sum(raw[4:-1]) % 251 != own or packed_size > len(data) - begin:
        return None
    return Packed(begin, method, size, packed_size, checksum, kind, mark)


def unpacked_path(path: str, packed: Packed) -> str:
    """The path of the program that UPX packed in the program `path`."""
    return f"{path}!carved@{packed.at:#x}.upx.exe"


def split_unpacked(path: str) -> tuple[str, int] | None:
    """The packed program, and where its packed bytes begin, of a path from `unpacked_path`; None
    for any other path."""
    found = _NAME.search(path)
    return None if found is None else (path[: found.start()], int(found[1], 16))
