"""Made-up programs for tests: byteplots of PE files that no compiler wrote and nothing runs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import sys
import tarfile
from pathlib import Path

import numpy as np
import py7zr
import pyzipper
from PIL import Image

PE_OFFSET = 0x80
HEADERS = 0x400


def program(family: int, number: int, size: int = 6000) -> bytes:
    """A PE32 file of two sections whose bytes are typical of a family, and their own.

    Args:
        family: sets which byte values the code has.
        number: sets the bytes; the same number gives the same file.
        size: of the two sections together, in bytes, about.
    """
    generator = np.random.default_rng((family, number))
    low = 30 * (family + 1)
    code = generator.integers(low, low + 25, size // 2, dtype=np.uint8).tobytes()
    data = generator.integers(0, 256, size // 2, dtype=np.uint8).tobytes()
    align = 0x200
    code, data = (part + bytes(-len(part) % align) for part in (code, data))
    header = bytearray(HEADERS)
    header[:2] = b"MZ"
    struct.pack_into("<I", header, 60, PE_OFFSET)
    header[PE_OFFSET : PE_OFFSET + 4] = b"PE\0\0"
    struct.pack_into("<HHIIIHH", header, PE_OFFSET + 4, 0, 2, 0, 0, 0, 224, 0x102)
    optional = PE_OFFSET + 24
    struct.pack_into("<HBBIIIIII", header, optional, 0x10B, 14, 0, len(code), 0, 0, 0x1400, 0, 0)
    struct.pack_into("<III", header, optional + 28, 0x400000, 0x1000, align)
    struct.pack_into("<II", header, optional + 56, 0x8000, HEADERS)
    struct.pack_into("<I", header, optional + 92, 16)
    table = optional + 224
    start, rva = HEADERS, 0x1000
    for name, body, flags in ((b".text", code, 0x60000020), (b".data", data, 0xC0000040)):
        struct.pack_into(
            "<8sIIIIIIHHI", header, table, name, len(body), rva, len(body), start, 0, 0, 0, 0, flags
        )
        table, start, rva = table + 40, start + len(body), rva + 0x2000
    return bytes(header) + code + data


def write_png(path: Path, data: bytes, width: int = 64) -> Path:
    """Write bytes as a byteplot PNG, the last row filled up with zero bytes."""
    data += bytes(-len(data) % width)
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rows).save(path)
    return path


def write_dump(path: Path, data: bytes, address: int | None = None) -> Path:
    """Write bytes as a hex dump, with addresses from `address` on or without any."""
    lines = []
    for at in range(0, len(data), 16):
        where = "" if address is None else f"{address + at:08X} "
        lines.append(where + data[at : at + 16].hex(" ").upper())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\r\n".join(lines) + "\r\n", encoding="ascii", newline="")
    return path


def write_big2015(root: Path, classes: dict[int, int]) -> Path:
    """A dataset as BIG2015 is: so many hex dumps of each class below `root`, and their labels."""
    rows = ['"Id","Class"']
    for label, count in classes.items():
        for i in range(count):
            name = f"{label}x{i:03d}"
            data = program(label % 7, 1000 * label + i)[HEADERS:]
            write_dump(root / "train" / f"{name}.bytes", data, 0x401000)
            rows.append(f'"{name}",{label}')
    (root / "trainLabels.csv").write_text("\n".join(rows) + "\n")
    return root


def write_tree(root: Path, families: dict[str, int]) -> Path:
    """A dataset of byteplots: so many of each family, `<root>/<family>/<number>.png`."""
    for number, (family, count) in enumerate(families.items()):
        for i in range(count):
            write_png(root / family / f"{i:03d}.png", program(number, i))
    return root


def zipped(members: dict[str, bytes], password: str | None = "infected") -> bytes:
    """A ZIP file of members by name, encrypted with AES unless `password` is None."""
    out = io.BytesIO()
    with pyzipper.AESZipFile(out, "w", compression=pyzipper.ZIP_DEFLATED) as archive:
        if password:
            archive.setpassword(password.encode())
            archive.setencryption(pyzipper.WZ_AES, nbits=256)
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def seven_zipped(
    members: dict[str, bytes], password: str | None = "infected", headers: bool = False
) -> bytes:
    """A 7z file of members by name; `headers`: their names are encrypted too."""
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w", password=password, header_encryption=headers) as archive:
        for name, data in members.items():
            archive.writestr(data, name)
    return out.getvalue()


def tarred(
    members: dict[str, bytes], packed: str | None = None, others: tuple[tarfile.TarInfo, ...] = ()
) -> bytes:
    """A tar archive of members by name, and of `others` without content before them; `packed` with
    gz, bz2, xz or zst."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for info in others:
            archive.addfile(info)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return squeezed(out.getvalue(), packed) if packed else out.getvalue()


def squeezed(data: bytes, packed: str) -> bytes:
    """A compressed stream: gz, bz2, xz or zst."""
    if packed == "zst":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        return bytes(zstd.compress(data))
    if packed == "gz":
        return gzip.compress(data)
    return bz2.compress(data) if packed == "bz2" else lzma.compress(data)
