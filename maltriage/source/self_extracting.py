"""Finds archives inside a program: what a self-extractor unpacks when it runs."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from maltriage.sample.errors import SampleError
from maltriage.source.archive.entries import HEAD_BYTES
from maltriage.source.archive.kinds import kind_of_bytes
from maltriage.source.archive.nsis import FIRST

_MAGICS = re.compile(
    rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|MSCF\0{4}|PK\x03\x04|\xef\xbe\xad\xdeNullsoftInst"
)
_NSIS = b"\xef"
"""What the one of NSIS begins with, four bytes behind the start."""
_NAME = re.compile(r"!carved@0x([0-9a-f]{1,16})\.(7z|rar|cab|zip|nsis)!(?=.)", re.DOTALL)
_CABINET = (3, 1)
"""Minor and major version of a cabinet, its only one."""
_LIST_END = b"PK\x05\x06"
_LIST_END_BYTES = 22


@dataclass(frozen=True)
class Packed:
    """Bytes [start, end) of a file that are an archive of a kind."""

    start: int
    end: int
    kind: str


def packed_path(path: str, packed: Packed) -> str:
    """The path of an archive in the program `path`."""
    return f"{path}!carved@{packed.start:#x}.{packed.kind}"


def split_packed(path: str) -> tuple[str, str, int] | None:
    """The program, the archive in it and its offset, of the path of a file in such an archive; None
    for any other path."""
    found = _NAME.search(path)
    if found is None:
        return None
    return path[: found.start()], path[: found.end() - 1], int(found[1], 16)


def packed(data: bytes, at: int = 1) -> Iterator[Packed]:
    """The archives in a file from an offset past its start on, in order, none inside another.

    Those of a kind that needs libarchive are left out where it is not installed.
    """
    while (mark := _MAGICS.search(data, at)) is not None:
        found = packed_at(data, mark.start() - 4 * mark[0].startswith(_NSIS))
        if found is None:
            at = mark.end()
        else:
            yield found
            at = found.end


def packed_at(data: bytes, start: int) -> Packed | None:
    """The archive at an offset; None where what follows its magic is not plausible, or it cannot be
    opened here."""
    kind = kind_of_bytes(data[start : start + HEAD_BYTES])
    length = _LENGTHS[kind](data, start) if kind in _LENGTHS else None
    return None if kind is None or length is None else Packed(start, start + length, kind)


def take_packed(data: bytes, start: int) -> Packed:
    """The archive at an offset of a file.

    Raises:
        SampleError: there is none.
    """
    found = packed_at(data, start) if start > 0 else None
    if found is None:
        raise SampleError("not-found", f"no archive at {start:#x}", failed=True)
    return found


def _length_of_7z(data: bytes, start: int) -> int | None:
    """By the header at its start, which has a checksum."""
    head = data[start : start + 32]
    if len(head) < 32 or zlib.crc32(head[12:]) != int.from_bytes(head[8:12], "little"):
        return None
    offset, size = struct.unpack_from("<QQ", head, 12)
    length: int = 32 + offset + size
    return length if length <= len(data) - start else None


def _length_of_cab(data: bytes, start: int) -> int | None:
    if len(data) - start < 36 or tuple(data[start + 24 : start + 26]) != _CABINET:
        return None
    (length,) = struct.unpack_from("<I", data, start + 8)
    return length if 36 <= length <= len(data) - start else None


def _length_of_zip(data: bytes, start: int) -> int | None:
    """To the end of the last list of files behind it."""
    end = data.rfind(_LIST_END, start)
    if end < 0 or len(data) - end < _LIST_END_BYTES:
        return None
    comment = int.from_bytes(data[end + 20 : end + 22], "little")
    return min(end + _LIST_END_BYTES + comment, len(data)) - start


def _length_of_rar(data: bytes, start: int) -> int:
    """It does not say how long it is, and its readers stop where it ends."""
    return len(data) - start


def _length_of_nsis(data: bytes, start: int) -> int | None:
    """As it says, or to the end of a file that was cut."""
    if len(data) - start < FIRST.size:
        return None
    *_, length = FIRST.unpack(data[start : start + FIRST.size])
    return min(length, len(data) - start) if length > FIRST.size else None


_LENGTHS = {
    "nsis": _length_of_nsis,
    "7z": _length_of_7z,
    "cab": _length_of_cab,
    "zip": _length_of_zip,
    "rar": _length_of_rar,
}
