"""Installers as NSIS lays them out, written from `Source/exehead/fileform.h` of its makers."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Mapping
from typing import Literal

Pack = Literal["copy", "zlib", "stored", "bzip2", "lzma", "x86"]
Text = Literal["ansi", "ansi 2", "wide", "wide 2"]
SIGNATURE = b"\xef\xbe\xad\xdeNullsoftInst"
PLUGINS = 26


def packed(data: bytes, pack: Pack) -> bytes:
    if pack == "copy":
        return data
    if pack == "zlib":
        engine = zlib.compressobj(9, zlib.DEFLATED, -15)
        return engine.compress(data) + engine.flush()
    if pack == "stored":  # their number without its complement, and a block of Huffman's behind it
        pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        blocks = [b"\0" + struct.pack("<H", len(piece)) + piece for piece in pieces]
        return b"".join(blocks) + packed(b"", "zlib")
    if pack == "bzip2":
        return bzip2(data)
    filters: list[dict[str, int]] = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3}]
    if pack == "x86":
        filters.insert(0, {"id": lzma.FILTER_X86})
    head = b"\1" * (pack == "x86") + b"\x5d" + struct.pack("<I", 1 << 16)
    return head + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def bzip2(data: bytes) -> bytes:
    """NSIS's own form: a byte before each block, and no checksums."""
    whole = bz2.compress(data)
    bits = "".join(f"{byte:08b}" for byte in whole[4:])
    blocks = bits[: bits.rindex(f"{0x177245385090:048b}")].split(f"{0x314159265359:048b}")[1:]
    own = "".join(f"{0x31:08b}{block[33:]}" for block in blocks) + f"{0x17:08b}"
    return int(own.ljust(-(-len(own) // 8) * 8, "0"), 2).to_bytes(-(-len(own) // 8), "big")


def name_of(path: str, text: Text) -> bytes:
    """A name that begins with the folder of plug-ins, where it begins with `PLUGINSDIR/`."""
    folder, _, rest = path.rpartition("PLUGINSDIR/")
    rest = rest if folder or path.startswith("PLUGINSDIR/") else path
    before = b""
    if rest != path:
        value = struct.pack("<H", PLUGINS | 0x8080)
        before = {
            "ansi": b"\3" + value,
            "ansi 2": b"\xfd" + value,
            "wide": b"\3\0" + value,
            "wide 2": b"\x01\xe0" + struct.pack("<H", PLUGINS | 0x8000),
        }[text]
        rest = f"\\{rest}"
    if text.startswith("wide"):
        return before + rest.encode("utf-16-le") + b"\0\0"
    return before + rest.encode("latin-1") + b"\0"


def header(places: Mapping[str, int], text: Text = "wide", *, wider: bool = False) -> bytes:
    """The header: a script that unpacks files, and its strings. `wider`: of a 64-bit installer."""
    block = struct.Struct("<QI" if wider else "<II")
    script, strings = struct.pack("<7i", 11, 0, 5, 0, 0, 0, 0), b"\0\0\0\0"
    for path, place in places.items():
        at = len(strings) // 2 if text.startswith("wide") else len(strings)
        script += struct.pack("<7i", 20, 1, at, place, 0, 0, 0)
        strings += name_of(path, text)
    start = 4 + 8 * block.size
    rows = [(start, 0), (start, 0), (start, len(script) // 28), (start + len(script), 0)]
    rows += [(start + len(script) + len(strings), 0)] * 4
    if not text.startswith("wide"):
        strings = b"\0x" + strings[2:]
    return bytes(4) + b"".join(block.pack(*row) for row in rows) + script + strings


def installer(
    files: Mapping[str, bytes],
    pack: Pack = "lzma",
    text: Text = "wide",
    *,
    solid: bool = False,
    wider: bool = False,
    checksum: bool = True,
) -> bytes:
    """What follows the shell. A file whose name is empty is not of the script."""
    blocks, places, at = [], {}, 0
    for path, content in files.items():
        body = content if solid else packed(content, pack)
        flag = 0 if solid or pack == "copy" else 1 << 31
        places[path] = at
        blocks.append(struct.pack("<I", len(body) | flag) + body)
        at += len(blocks[-1])
    places.pop("", None)
    about = header(places, text, wider=wider)
    if solid:
        data = packed(struct.pack("<I", len(about)) + about + b"".join(blocks), pack)
    else:
        own = packed(about, pack)
        flag = 0 if pack == "copy" else 1 << 31
        data = struct.pack("<I", len(own) | flag) + own + b"".join(blocks)
    data += b"\x12\x34\x56\x78" * checksum
    first = struct.pack("<I", 0 if checksum else 4) + SIGNATURE
    return first + struct.pack("<II", len(about), 28 + len(data)) + data
