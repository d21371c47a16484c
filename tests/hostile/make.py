"""Malformed files, made in memory from our own samples: what a scan must survive.

`CASES` gives the bytes by name. Nothing here is malware: every case is an error in a format.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "samples"

ESCAPE_NAME = b"\x1b]52;c;\x07"
"""A section name: the start and end of OSC 52, which sets a terminal's clipboard."""
ESCAPE_PATH = b"\x1b]52;c;aGk=\x07\x1b[31m"
"""A whole OSC 52 ("hi" to the clipboard), and red from there on."""
MARKUP_NAME = b"[/red]"
"""Rich markup that closes nothing, an error where a name is taken for markup."""
NOT_UTF8 = b"caf\xe9.exe"
"""A file name in Latin-1, which is no UTF-8."""

_SECTION = 40
_COUNT = 6
_OPTIONAL_SIZE = 20
_OPTIONAL = 24
_DATA_DIRECTORIES_32 = _OPTIONAL + 96
_DATA_DIRECTORIES_64 = _OPTIONAL + 112


@cache
def sample(name: str) -> bytes:
    """The bytes of a file of samples/."""
    return (SAMPLES / name).read_bytes()


class Pe:
    """Bytes of a PE file with the offsets of its headers, to break it in a given place."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = bytearray(sample("console-x86.exe") if data is None else data)
        self.pe: int = struct.unpack_from("<I", self.data, 60)[0]
        self.count: int = struct.unpack_from("<H", self.data, self.pe + _COUNT)[0]
        optional: int = struct.unpack_from("<H", self.data, self.pe + _OPTIONAL_SIZE)[0]
        self.table: int = self.pe + _OPTIONAL + optional

    def put(self, layout: str, offset: int, *values: int | bytes) -> Pe:
        struct.pack_into(layout, self.data, offset, *values)
        return self

    def section(self, index: int) -> int:
        """Offset of a row of the section table."""
        return self.table + _SECTION * index

    def raw(self, index: int) -> tuple[int, int]:
        """Offset and size of a section's bytes."""
        size, offset = struct.unpack_from("<II", self.data, self.section(index) + 16)
        return offset, size

    def bytes(self) -> bytes:
        return bytes(self.data)


def png(width: int, height: int, color: int, rows: bytes) -> bytes:
    """A PNG of 8 bits; `color` is its colour type, 0 for grey, 2 for RGB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    channels = {0: 1, 2: 3}[color]
    stride = width * channels
    lines = b"".join(b"\0" + rows[i : i + stride] for i in range(0, len(rows), stride))
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def byteplot(data: bytes, width: int = 256) -> bytes:
    """`data` as a grey PNG, a pixel a byte, its last row filled up with zeros."""
    height = max(1, -(-len(data) // width))
    return png(width, height, 0, data.ljust(width * height, b"\0"))


def non_utf8_file(folder: Path, data: bytes) -> Path:
    """Write `data` under a name that is not UTF-8. Raises OSError where the system has none."""
    try:
        path = folder / os.fsdecode(NOT_UTF8)
    except UnicodeDecodeError as error:  # names of files are Unicode on Windows
        raise OSError(str(error)) from None
    path.write_bytes(data)
    return path


def _rgb_png() -> bytes:
    return png(16, 16, 2, bytes(range(256)) * 3)


def _png_bomb() -> bytes:
    """Says it is 60,000 x 60,000 pixels, 3.6 GB, and holds one row of zeros."""
    return png(60_000, 60_000, 0, bytes(60_000))


def _png_cut() -> bytes:
    whole = byteplot(sample("console-x86.exe"))
    return whole[: len(whole) // 2]


def _many_sections() -> bytes:
    """65,535 sections by the header, in a table that the file has no room for."""
    pe = Pe()
    return pe.put("<H", pe.pe + _COUNT, 0xFFFF).bytes()


def _many_sections_present() -> bytes:
    """65,535 rows that do exist, 2.6 MB of them, each with the bytes of the first section."""
    pe = Pe()
    row = bytes(pe.data[pe.section(0) : pe.section(1)])
    pe.put("<H", pe.pe + _COUNT, 0xFFFF)
    return bytes(pe.data[: pe.table]) + row * 0xFFFF


def _headers_past_end() -> bytes:
    """Cut in the middle of the optional header."""
    pe = Pe()
    return bytes(pe.data[: pe.pe + _OPTIONAL + 40])


def _e_lfanew_outside() -> bytes:
    return Pe().put("<I", 60, 0x7FFF_FFF0).bytes()


def _named(name: bytes) -> bytes:
    pe = Pe()
    return pe.put("8s", pe.section(0), name).bytes()


def _pdb_escape() -> bytes:
    data = sample("debug-x86.exe")
    path = b"maltriage-sample.pdb"
    return data.replace(path, ESCAPE_PATH.ljust(len(path), b"x"))


def _overlapping() -> bytes:
    """The second section starts in the middle of the first."""
    pe = Pe()
    offset, size = pe.raw(0)
    return pe.put("<II", pe.section(1) + 16, size, offset + size // 2).bytes()


def _unsorted() -> bytes:
    """The section table in reverse order."""
    pe = Pe()
    rows = [bytes(pe.data[pe.section(i) : pe.section(i + 1)]) for i in range(pe.count)]
    pe.data[pe.table : pe.section(pe.count)] = b"".join(reversed(rows))
    return pe.bytes()


def _section_past_end() -> bytes:
    """The last section starts 1 MiB behind the end of the file."""
    pe = Pe()
    return pe.put("<I", pe.section(pe.count - 1) + 20, len(pe.data) + (1 << 20)).bytes()


def _huge_section() -> bytes:
    """The first section claims 4 GB of the file."""
    pe = Pe()
    return pe.put("<I", pe.section(0) + 16, 0xFFFF_FFFF).bytes()


def _certificate_covers_all() -> bytes:
    """The certificate table starts at byte 0 and is as long as the file."""
    pe = Pe(sample("signed-x64.exe"))
    return pe.put("<II", pe.pe + _DATA_DIRECTORIES_64 + 4 * 8, 0, len(pe.data)).bytes()


def _certificate_from_header() -> bytes:
    """The certificate table starts behind the DOS stub and covers the rest of the file."""
    pe = Pe(sample("signed-x64.exe"))
    table = pe.pe + _DATA_DIRECTORIES_64 + 4 * 8
    return pe.put("<II", table, pe.pe, len(pe.data) - pe.pe).bytes()


def _no_sections() -> bytes:
    pe = Pe()
    return pe.put("<H", pe.pe + _COUNT, 0).bytes()


def _resource_loop() -> bytes:
    """The first entry of the resource tree's root is the root again."""
    pe = Pe(sample("gui-x86.exe"))
    (rva,) = struct.unpack_from("<I", pe.data, pe.pe + _DATA_DIRECTORIES_32 + 2 * 8)
    for i in range(pe.count):
        if struct.unpack_from("<I", pe.data, pe.section(i) + 12)[0] == rva:
            return pe.put("<I", pe.raw(i)[0] + 16 + 4, 0x8000_0000).bytes()
    raise AssertionError("gui-x86.exe has no resource section")


def _dump_with_a_wrong_line() -> bytes:
    full = b" ".join([b"5A"] * 16)
    return b"00401000 %s\r\n00401010 %s\r\n00401020 5A 5\x1b]52\r\n" % (full, full)


def _dump_that_jumps() -> bytes:
    line = b" ".join([b"55 8B EC ??"] * 4)
    return b"".join(b"%08X %s\n" % (i << 12, line) for i in range(5000))


CASES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one_byte": lambda: b"M",
    "mz_only": lambda: b"MZ",
    "text_as_exe": lambda: b"This is a text, whatever its name says.\r\n" * 20,
    "png_rgb": _rgb_png,
    "png_bomb": _png_bomb,
    "png_cut": _png_cut,
    "sections_65535": _many_sections,
    "sections_65535_present": _many_sections_present,
    "headers_past_end": _headers_past_end,
    "e_lfanew_outside": _e_lfanew_outside,
    "section_named_markup": lambda: _named(MARKUP_NAME),
    "section_named_escape": lambda: _named(ESCAPE_NAME),
    "pdb_path_escape": _pdb_escape,
    "overlapping_sections": _overlapping,
    "unsorted_sections": _unsorted,
    "section_past_end": _section_past_end,
    "section_of_4gb": _huge_section,
    "certificate_covers_all": _certificate_covers_all,
    "certificate_from_header": _certificate_from_header,
    "no_sections": _no_sections,
    "resource_loop": _resource_loop,
    "dump_with_a_wrong_line": _dump_with_a_wrong_line,
    "dump_that_jumps": _dump_that_jumps,
}
"""Malformed files by name; each call gives the same bytes."""
