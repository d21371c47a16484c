"""Checks .NET metadata before a parser reads it: what it claims must fit into the file."""

from __future__ import annotations

import struct

from maltriage.probe.inspect.image import Image

MAX_STREAMS = 16
"""Metadata with more streams is not read, as a reader copies each; five are usual."""


def readable(image: Image) -> bool:
    """Whether there is metadata that a parser reads in a few times the file's size of memory."""
    data, header = image.data, image.directory("clr")
    if header is None or header[0] + 72 > len(data):
        return False
    (rva,) = struct.unpack_from("<I", data, header[0] + 8)
    root = image.offset(rva)
    if root is None or data[root : root + 4] != b"BSJB" or root + 16 > len(data):
        return False
    (length,) = struct.unpack_from("<I", data, root + 12)
    at = root + 16 + length
    if length > 256 or at + 4 > len(data):
        return False
    (count,) = struct.unpack_from("<H", data, at + 2)
    at += 4
    if not 0 < count <= MAX_STREAMS:
        return False
    for _ in range(count):
        if at + 8 > len(data):
            return False
        offset, size = struct.unpack_from("<II", data, at)
        name = data[at + 8 : at + 8 + 32].split(b"\0", 1)[0]
        start = image.offset(rva + offset)
        if start is None or start + size > len(data):
            return False
        if name in (b"#~", b"#-", b"#Schema") and not _rows_fit(data, start, size):
            return False
        at += 8 + len(name) + 4 - len(name) % 4
    return True


def _rows_fit(data: bytes, start: int, size: int) -> bool:
    """Whether a stream is large enough for the rows that its tables claim."""
    if size < 24:
        return False
    tables = int.from_bytes(data[start + 8 : start + 16], "little").bit_count()
    if 24 + 4 * tables > size:
        return False
    rows: int = sum(struct.unpack_from(f"<{tables}I", data, start + 24))
    return 2 * rows <= size
