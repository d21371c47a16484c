"""Finds PE files inside a file: in its overlay, its resources, or anywhere else past its start."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from maltriage.sample.errors import SampleError

MAX_HEADER_OFFSET = 4096
"""Most bytes from `MZ` to `PE`: linkers have a few hundred at most."""
_DOS_BYTES, _AT_ONCE = 64, 1 << 22
_REACH = _DOS_BYTES + MAX_HEADER_OFFSET + 4
"""Bytes behind those that are looked through at once, where a header may end."""
_MAGICS = (0x10B, 0x20B)
_NAME = re.compile(r"!carved@0x([0-9a-f]{1,16})\.exe\Z")


@dataclass(frozen=True)
class Carved:
    """Bytes [start, end) of a file that are a PE file themselves, by their headers."""

    start: int
    end: int


def carved_path(path: str, carved: Carved) -> str:
    """The path of a program in the file `path`."""
    return f"{path}!carved@{carved.start:#x}.exe"


def split_carved(path: str) -> tuple[str, int] | None:
    """The file and the offset of a path from `carved_path`; None for any other path."""
    found = _NAME.search(path)
    return None if found is None else (path[: found.start()], int(found[1], 16))


def carve(data: bytes) -> Iterator[Carved]:
    """The PE files in a file past its start, in order, nested ones included."""
    for at in _marks(data):
        found = program_at(data, at)
        if found is not None:
            yield found


def _marks(data: bytes) -> Iterator[int]:
    """Where past the start `MZ` is, and `PE` where the bytes behind it say.

    All at once: a file may be full of `MZ`.
    """
    for first in range(1, len(data), _AT_ONCE):
        raw = np.frombuffer(data[first : first + _AT_ONCE + _REACH], np.uint8)
        at = np.flatnonzero((raw[:-1] == ord("M")) & (raw[1:] == ord("Z")))
        at = at[(at < _AT_ONCE) & (at + _DOS_BYTES <= len(raw))]
        offset = sum(raw[at + 60 + byte].astype(np.int64) << 8 * byte for byte in range(4))
        header = at + offset
        there = (offset >= 4) & (offset <= MAX_HEADER_OFFSET) & (header + 4 <= len(raw))
        at, header = at[there], header[there]
        for byte, value in enumerate(b"PE\0\0"):
            same = raw[header + byte] == value
            at, header = at[same], header[same]
        yield from (first + at).tolist()


def program_at(data: bytes, start: int) -> Carved | None:
    """The PE file at an offset; it ends with its last section, or with the file.

    None where the headers are not plausible, or no bytes of any section are there.
    """
    if len(data) - start < 64 or data[start : start + 2] != b"MZ":
        return None
    (offset,) = struct.unpack_from("<I", data, start + 60)
    header = start + offset
    if not 4 <= offset <= MAX_HEADER_OFFSET or data[header : header + 4] != b"PE\0\0":
        return None
    if len(data) - header < 24 + 64:
        return None
    _, sections, _, _, _, optional, _ = struct.unpack_from("<HHIIIHH", data, header + 4)
    (magic,) = struct.unpack_from("<H", data, header + 24)
    table = header + 24 + optional
    if magic not in _MAGICS or not 1 <= sections <= 96 or table + 40 * sections > len(data):
        return None
    end = 0
    for row in range(table, table + 40 * sections, 40):
        size, place = struct.unpack_from("<II", data, row + 16)
        if size and start + place < len(data):
            end = max(end, start + place + size)
    (headers,) = struct.unpack_from("<I", data, header + 24 + 60)
    if end <= table or headers > len(data) - start:
        return None
    return Carved(start, min(end, len(data)))


def take(data: bytes, start: int) -> bytes:
    """The PE file at an offset of a file.

    Raises:
        SampleError: there is none.
    """
    found = program_at(data, start) if start > 0 else None
    if found is None:
        raise SampleError("not-found", f"no PE file at {start:#x}", failed=True)
    return data[found.start : found.end]
