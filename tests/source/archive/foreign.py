"""Archives of the kinds that libarchive reads, written by hand from their descriptions."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

SECTOR = 2048


def cabinet(files: Mapping[str, bytes], *, packed: bool = True) -> bytes:
    """A cabinet of one folder, in MSZIP or as it is ([MS-CAB])."""
    data = b"".join(files.values())
    assert len(data) <= 1 << 15, "one block"
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = b"CK" + engine.compress(data) + engine.flush() if packed else data
    rows, at = b"", 0
    for name, content in files.items():
        rows += struct.pack("<IIHHHH", len(content), at, 0, 0x5A00, 0, 0x20)
        rows += name.encode() + b"\0"
        at += len(content)
    start = 36 + 8 + len(rows)
    head = struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, 0, 0, 36 + 8, 0, 3, 1, 1, len(files), 0, 7, 0)
    body = struct.pack("<IHH", start, 1, int(packed)) + rows
    body += struct.pack("<IHH", 0, len(block), len(data)) + block
    return head[:8] + struct.pack("<I", len(head) + len(body)) + head[12:] + body


def rar5(files: Mapping[str, bytes], *, encrypted: bool = False) -> bytes:
    """A RAR archive, version 5, of files as they are; `encrypted`: it says that its list is."""
    parts = [b"Rar!\x1a\x07\x01\0"]
    if encrypted:
        parts.append(_block(4, 0, b"\0\0" + _number(15) + bytes(16)))
    parts.append(_block(1, 0, b"\0"))
    for name, content in files.items():
        about = _number(4) + _number(len(content)) + _number(0x20)
        about += struct.pack("<I", zlib.crc32(content)) + b"\0\0"
        about += _number(len(name.encode())) + name.encode()
        parts.append(_block(2, 2, about, content))
    return b"".join([*parts, _block(5, 0, b"\0")])


def rar4(files: Mapping[str, bytes]) -> bytes:
    """A RAR archive, version 4, of files as they are."""
    parts = [b"Rar!\x1a\x07\0", _old_block(0x73, 0, bytes(6))]
    for name, content in files.items():
        about = struct.pack("<IIBIIBBHI", len(content), len(content), 2, zlib.crc32(content),
                            0x5A000000, 20, 0x30, len(name), 0x20)  # fmt: skip
        parts += [_old_block(0x74, 0x8000, about + name.encode("latin-1")), content]
    return b"".join([*parts, _old_block(0x7B, 0x4000, b"")])


def _old_block(kind: int, flags: int, about: bytes) -> bytes:
    body = struct.pack("<BHH", kind, flags, 7 + len(about)) + about
    return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body


def _block(kind: int, flags: int, about: bytes, data: bytes = b"") -> bytes:
    body = _number(kind) + _number(flags) + (_number(len(data)) if flags & 2 else b"") + about
    body = _number(len(body)) + body
    return struct.pack("<I", zlib.crc32(body)) + body + data


def _number(value: int) -> bytes:
    """A number of RAR 5: seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def lzh(files: Mapping[str, bytes]) -> bytes:
    """An LZH archive of files as they are, with headers of level 0."""
    parts = []
    for name, content in files.items():
        size = len(content)
        about = struct.pack("<5sIIIBB", b"-lh0-", size, size, 0x21, 0x20, 0)
        about += bytes([len(name)]) + name.encode("ascii") + struct.pack("<H", _crc16(content))
        parts.append(bytes([len(about), sum(about) & 0xFF]) + about + content)
    return b"".join(parts) + b"\0"


def _crc16(data: bytes) -> int:
    """CRC-16/ARC."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


def image(files: Mapping[str, bytes]) -> bytes:
    """An ISO 9660 image of files in its root, with the names that Joliet gives (ECMA-119)."""
    place = 21 + 2
    places = {}
    for name, content in files.items():
        places[name] = place
        place += -(-len(content) // SECTOR)
    roots = {False: 21, True: 22}
    sectors = [b""] * 16
    for joliet in (False, True):
        volume = bytearray(SECTOR)
        volume[:8] = bytes([1 + joliet]) + b"CD001\1\0"
        volume[80:88] = _both(place)
        volume[88:91] = b"%/E" if joliet else b"\0\0\0"
        volume[120:132] = _short(1) + _short(1) + _short(SECTOR)
        volume[132:140] = _both(10)
        volume[140:144] = struct.pack("<I", 19 + joliet)
        volume[148:152] = struct.pack(">I", 19 + joliet)
        volume[156:190] = _row(b"\0", roots[joliet], SECTOR, folder=True)
        volume[881:882] = b"\1"
        sectors.append(bytes(volume))
    sectors.append(b"\xffCD001\1".ljust(SECTOR, b"\0"))
    for joliet in (False, True):
        sectors.append(b"\1\0" + struct.pack("<IH", roots[joliet], 1) + b"\0\0")
    for joliet in (False, True):
        rows = [_row(bytes([n]), roots[joliet], SECTOR, folder=True) for n in (0, 1)]
        for number, (name, content) in enumerate(files.items()):
            short = f"F{number}.EXE;1".encode()
            rows.append(
                _row(name.encode("utf-16-be") if joliet else short, places[name], len(content))
            )
        sectors.append(b"".join(rows))
    for content in files.values():
        sectors += [content[at : at + SECTOR] for at in range(0, len(content), SECTOR)]
    return b"".join(sector.ljust(SECTOR, b"\0") for sector in sectors)


def _row(name: bytes, place: int, size: int, *, folder: bool = False) -> bytes:
    body = _both(place) + _both(size) + bytes(7) + bytes([2 if folder else 0, 0, 0])
    body += _short(1) + bytes([len(name)]) + name
    body += b"\0" * (len(name) % 2 == 0)
    return bytes([len(body) + 2, 0]) + body


def _both(value: int) -> bytes:
    """A number in both byte orders."""
    return struct.pack("<I", value) + struct.pack(">I", value)


def _short(value: int) -> bytes:
    return struct.pack("<H", value) + struct.pack(">H", value)
