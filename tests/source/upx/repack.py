"""Programs that UPX packed, to be changed inside: another image, packed by LZMA, in their place."""

from __future__ import annotations

import functools
import lzma
import struct
import zlib
from pathlib import Path

from maltriage.source.upx.packed import packed_by_upx
from maltriage.source.upx.unpack import _unpacked

PROGRAMS = Path(__file__).with_name("programs")


@functools.cache
def image_of(program: bytes) -> bytes:
    """What UPX packed, with the headers and lists behind it."""
    found = packed_by_upx(program)
    assert found is not None
    return bytes(_unpacked(program[found.at : found.at + found.packed_size], found))


def repacked(program: bytes, image: bytes, branches: int | None = None) -> bytes:
    """The program with another image. `branches`: the number of a filter in place of its own."""
    found = packed_by_upx(program)
    assert found is not None
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 1, "lc": 3, "lp": 0, "pb": 2}]
    stream = b"\x1a\x03" + lzma.compress(image, lzma.FORMAT_RAW, filters=filters)
    head = found.at - 32
    more = -(-max(len(stream) - found.packed_size, 0) // 512) * 512
    made = bytearray(program[: found.at] + stream.ljust(found.packed_size + more, b"\0"))
    made += program[found.at + found.packed_size :]
    (at,) = struct.unpack_from("<I", made, 60)
    sections, optional = struct.unpack_from("<H12xH", made, at + 6)
    for row in range(at + 24 + optional, at + 24 + optional + 40 * sections, 40):
        size, place = struct.unpack_from("<II", made, row + 16)
        inside = place <= found.at < place + size
        struct.pack_into(
            "<II", made, row + 16, size + more * inside, place + more * (place > found.at)
        )
    made[head + 6] = 14
    struct.pack_into("<I4xII", made, head + 8, zlib.adler32(image), len(image), len(stream))
    if branches is not None:
        made[head + 28] = branches
    made[head + 31] = sum(made[head + 4 : head + 31]) % 251
    return bytes(made)


def headers_in(image: bytes) -> int:
    """Where the headers of the program are in its image."""
    return int(struct.unpack_from("<I", image, len(image) - 4)[0])


def lists_in(image: bytes) -> int:
    """Where the list of what was changed begins in its image, behind the headers."""
    at = headers_in(image)
    sections, optional = struct.unpack_from("<H12xH", image, at + 6)
    return at + 24 + int(optional) + 40 * int(sections)
