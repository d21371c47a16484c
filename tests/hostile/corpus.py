"""Several hundred malformed files, made in memory from our own samples by rule.

`corpus` gives them by name; the ending says what a file claims to be. Nothing here is malware: each
is an error, a lie or a burden in a format. Used by `test_corpus.py`, and to be written to a folder:

    python tests/hostile/corpus.py FOLDER
"""

from __future__ import annotations

import io
import random
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hostile.make import CASES, Pe, byteplot, png, sample

Case = tuple[str, bytes]

NAMES = {
    "escape": b"\x1b[31mred",
    "clipboard": b"\x1b]52;c;\x07",
    "bidi": "\u202eexe".encode(),
    "nul": b"a\0b\0c\0d\0",
    "newline": b"a\nb\r\nc",
    "markup": b"[/red]",
    "formula": b"=cmd()",
    "script": b"<script>",
    "c1": b"\x9b31mx",
    "not-utf8": b"\xff\xfe\xfd\xfc",
    "slash": b"/9999999",
}
"""Names that a terminal, a spreadsheet, a browser or a parser could take for more than a name."""

DOS = {"magic": (0, 2), "e_cparhdr": (8, 2), "e_lfarlc": (24, 2), "e_lfanew": (60, 4)}
COFF = {
    "machine": (4, 2),
    "sections": (6, 2),
    "timestamp": (8, 4),
    "symbols": (12, 4),
    "symbol_count": (16, 4),
    "optional_size": (20, 2),
    "characteristics": (22, 2),
}
OPTIONAL = {
    "opt_magic": (0, 2),
    "linker": (2, 2),
    "code_size": (4, 4),
    "data_size": (8, 4),
    "bss_size": (12, 4),
    "entry": (16, 4),
    "code_base": (20, 4),
    "image_base": (28, 4),
    "section_align": (32, 4),
    "file_align": (36, 4),
    "os_version": (40, 4),
    "subsystem_version": (48, 4),
    "win32_version": (52, 4),
    "image_size": (56, 4),
    "header_size": (60, 4),
    "checksum": (64, 4),
    "subsystem": (68, 2),
    "dll_flags": (70, 2),
}
LATER = {"stack_reserve": (72, 4), "loader_flags": (88, 4), "directory_count": (92, 4)}
"""Where they lie in a 32-bit header; in a 64-bit one 0, 16 and 16 bytes later."""
SECTION = {
    "virtual_size": (8, 4),
    "rva": (12, 4),
    "raw_size": (16, 4),
    "raw": (20, 4),
    "relocs": (24, 4),
    "lines": (28, 4),
    "counts": (32, 4),
    "flags": (36, 4),
}
DIRECTORIES = (
    *("export", "import", "resource", "exception", "certificate", "reloc", "debug"),
    *("architecture", "globalptr", "tls", "load_config", "bound_import", "iat", "delay_import"),
    *("clr", "reserved"),
)


def values(name: str, size: int) -> dict[str, int]:
    """What a field of `size` bytes is set to."""
    most = (1 << 8 * size) - 1
    drawn = random.Random(name).randrange(most)
    return {"0": 0, "1": 1, "max": most, "half": most // 2 + 1, "random": drawn}


def with_field(base: Pe, at: int, size: int, value: int) -> bytes:
    data = bytearray(base.data)
    data[at : at + size] = value.to_bytes(size, "little")
    return bytes(data)


def header_fields() -> Iterator[Case]:
    """Every field of the headers, of a 32-bit and of a 64-bit program."""
    for short, source in (("x86", "console-x86.exe"), ("x64", "signed-x64.exe")):
        base = Pe(sample(source))
        optional = base.pe + 24
        wide = short == "x64"
        places = {name: (at, size) for name, (at, size) in DOS.items()}
        places |= {name: (base.pe + at, size) for name, (at, size) in COFF.items()}
        places |= {name: (optional + at, size) for name, (at, size) in OPTIONAL.items()}
        moved = {"stack_reserve": 0, "loader_flags": 16, "directory_count": 16}
        for name, (at, size) in LATER.items():
            places[name] = optional + at + moved[name] * wide, size
        table = optional + (112 if wide else 96)
        for i, name in enumerate(DIRECTORIES):
            places[f"{name}.at"] = table + 8 * i, 4
            places[f"{name}.size"] = table + 8 * i + 4, 4
        for row in (0, 1, base.count - 1):
            for name, (at, size) in SECTION.items():
                places[f"section{row}.{name}"] = base.section(row) + at, size
        for name, (at, size) in places.items():
            for kind, value in values(name, size).items():
                data = with_field(base, at, size, value)
                if data != base.data:
                    yield f"{short}-{name}-{kind}.exe", data


def sections() -> Iterator[Case]:
    """Tables that overlap, alias, lie outside, and names that are no names."""
    for name, text in NAMES.items():
        pe = Pe()
        yield f"section-named-{name}.exe", pe.put("8s", pe.section(0), text[:8]).bytes()
    pe = Pe()
    offset, size = pe.raw(0)
    for row in range(1, pe.count):
        pe.put("<II", pe.section(row) + 16, size, offset)
    yield "sections-all-the-same.exe", pe.bytes()
    pe = Pe()
    for row in range(pe.count):
        pe.put("<II", pe.section(row) + 16, len(pe.data), 0)
    yield "sections-all-of-the-file.exe", pe.bytes()
    pe = Pe()
    for row in range(pe.count):
        pe.put("<II", pe.section(row) + 16, 0x200, 0x40 * row)
    yield "sections-in-the-header.exe", pe.bytes()
    pe = Pe()
    for row in range(pe.count):
        pe.put("<II", pe.section(row) + 8, 0x1000, 0x1000)
    yield "sections-of-one-address.exe", pe.bytes()
    pe = Pe()
    for row in range(pe.count):
        pe.put("<I", pe.section(row) + 20, pe.raw(row)[0] + 0x1FF)
    yield "sections-off-their-alignment.exe", pe.bytes()
    for count in (2, 96, 97, 1000, 2048, 2049):
        pe = Pe()
        row_bytes = bytes(pe.data[pe.section(0) : pe.section(1)])
        start, size = pe.raw(0)
        head = pe.put("<H", pe.pe + 6, count).data[: pe.table]
        rows = bytearray(row_bytes * count)
        for i in range(count):
            struct.pack_into("<II", rows, 40 * i + 16, 0x10, start + 0x10 * i)
        yield f"sections-{count}.exe", bytes(head + rows + bytes(0x200) + bytes(0x10 * count))
    pe = Pe()
    for where in (4, 0x40, pe.pe, pe.table):
        moved = bytearray(pe.data)
        struct.pack_into("<I", moved, 60, where)
        yield f"headers-at-{where:#x}.exe", bytes(moved)
    tiny = Pe()
    for length in (2, 63, 64, tiny.pe + 4, tiny.pe + 24, tiny.table, tiny.section(1), 0x400):
        yield f"cut-at-{length}.exe", bytes(tiny.data[:length])


def place(pe: Pe, rva: int) -> int:
    """File offset of an RVA in a sample of ours."""
    for row in range(pe.count):
        virtual, size, start = struct.unpack_from("<III", pe.data, pe.section(row) + 12)
        if virtual <= rva < virtual + size:
            return int(start + rva - virtual)
    raise AssertionError(hex(rva))


def directory(pe: Pe, number: int) -> tuple[int, int, int]:
    """Where a directory's entry is, its RVA and its file offset."""
    (magic,) = struct.unpack_from("<H", pe.data, pe.pe + 24)
    at = pe.pe + 24 + (112 if magic == 0x20B else 96) + 8 * number
    (rva,) = struct.unpack_from("<I", pe.data, at)
    return at, rva, place(pe, rva) if rva else 0


def extended(pe: Pe, body: bytes) -> tuple[Pe, int, int]:
    """A file with `body` behind it as part of its last section; offset and RVA of it."""
    row = pe.section(pe.count - 1)
    start, _ = pe.raw(pe.count - 1)
    (rva,) = struct.unpack_from("<I", pe.data, row + 12)
    at = len(pe.data)
    pe.data += body
    size = len(pe.data) - start
    pe.put("<I", row + 8, size).put("<I", row + 16, size)
    return pe, at, rva + at - start


def directories() -> Iterator[Case]:
    """Tables behind the data directories that loop, lie or are too many."""
    _, _, rva = extended(Pe(), b"")  # where that is known before the bytes are
    thunks = struct.pack("<I", rva + 40) * 1_000_000 + bytes(4)
    first = struct.pack("<IIIII", rva + 64, 0, 0, rva + 42, rva + 64)
    pe, _, rva = extended(Pe(), first + bytes(20) + b"\0\0name\0".ljust(24, b"\0") + thunks)
    yield "imports-a-million.exe", pe.put("<II", directory(pe, 1)[0], rva, 40).bytes()

    pe = Pe()
    descriptor = struct.pack("<IIIII", 1, 0, 0, 1, 1)
    pe, at, rva = extended(pe, descriptor * 100_000)
    yield "import-descriptors-100000.exe", pe.put("<II", directory(pe, 1)[0], rva, 20).bytes()

    for size in (0, 1, 8, 0xFFFF_FFF0):
        pe, at, rva = extended(Pe(), struct.pack("<II", 0x1000, size) + bytes(64))
        yield (
            f"relocation-block-of-{size}.exe",
            pe.put("<II", directory(pe, 5)[0], rva, 0x10000).bytes(),
        )

    # TLS callbacks: the list is as long as the section, none of them zero; and in itself.
    pe, at, rva = extended(Pe(), struct.pack("<I", 0x41414141) * 4096)
    (base,) = struct.unpack_from("<I", pe.data, pe.pe + 24 + 28)
    pe.put("<IIIIII", at, base + rva, base + rva, base + rva, base + rva, 0xFFFF_FFFF, 0)
    yield "tls-callbacks-in-themselves.exe", pe.put("<II", directory(pe, 9)[0], rva, 24).bytes()

    for name, root in {
        "wide": struct.pack("<IIHHHH", 0, 0, 0, 0, 0xFFFF, 0xFFFF),
        "self": struct.pack("<IIHHHHII", 0, 0, 0, 0, 0, 1, 3, 0x8000_0000),
        "deep": b"".join(
            struct.pack("<IIHHHHII", 0, 0, 0, 0, 0, 1, i, 0x8000_0000 | (24 * (i + 1)))
            for i in range(2000)
        ),
        "far": struct.pack("<IIHHHHII", 0, 0, 0, 0, 0, 1, 3, 0xFFFF_FFF0),
    }.items():
        pe, at, rva = extended(Pe(sample("gui-x86.exe")), root + bytes(64))
        yield f"resources-{name}.exe", pe.put("<II", directory(pe, 2)[0], rva, 0x10000).bytes()

    pe, at, rva = extended(Pe(sample("library-x64.dll")), bytes(64))
    pe.put("<IIIIIIIIIII", at, 0, 0, 0, rva, 1, *(0xFFFF_FFFF,) * 2, *(rva,) * 3, 0)
    yield "exports-4-billion.dll", pe.put("<II", directory(pe, 0)[0], rva, 40).bytes()

    pe, at, rva = extended(Pe(), struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, 0xFFFF_FFFF, 0, 0) * 1000)
    yield "debug-1000-of-4gb.exe", pe.put("<II", directory(pe, 6)[0], rva, 28_000).bytes()

    signed = Pe(sample("signed-x64.exe"))
    at, offset, _ = directory_of_certificate(signed)
    for name, length in {"0": 0, "1": 1, "max": 0xFFFF_FFFF}.items():
        broken = with_field(signed, offset, 4, length)
        yield f"certificate-length-{name}.exe", broken
    noise = bytearray(signed.data)
    drawn = random.Random("certificate")
    for i in range(offset + 8, len(noise), 7):
        noise[i] = drawn.randrange(256)
    yield "certificate-of-noise.exe", bytes(noise)


def directory_of_certificate(pe: Pe) -> tuple[int, int, int]:
    """Where its entry is, its file offset and its size."""
    at = pe.pe + 24 + 112 + 8 * 4
    offset, size = struct.unpack_from("<II", pe.data, at)
    return at, int(offset), int(size)


def dotnet() -> Iterator[Case]:
    """Metadata of a .NET program whose every field lies in turn."""
    base = Pe(sample("dotnet.exe"))
    _, _, header = directory(base, 14)
    (rva,) = struct.unpack_from("<I", base.data, header + 8)
    metadata = place(base, rva)
    fields = {"cb": (header, 4), "metadata_rva": (header + 8, 4), "metadata_size": (header + 12, 4)}
    fields |= {"flags": (header + 16, 4), "entry_token": (header + 20, 4)}
    fields |= {"signature": (metadata, 4), "version_length": (metadata + 12, 4)}
    (length,) = struct.unpack_from("<I", base.data, metadata + 12)
    streams = metadata + 16 + length
    fields |= {"stream_count": (streams + 2, 2)}
    at = streams + 4
    for i in range(struct.unpack_from("<H", base.data, streams + 2)[0]):
        fields |= {f"stream{i}.at": (at, 4), f"stream{i}.size": (at + 4, 4)}
        end = base.data.index(b"\0", at + 8)
        name = bytes(base.data[at + 8 : end])
        if name == b"#~":
            (offset,) = struct.unpack_from("<I", base.data, at)
            tables = metadata + offset
            fields |= {"heap_sizes": (tables + 6, 1), "valid_low": (tables + 8, 4)}
            fields |= {f"rows{j}": (tables + 24 + 4 * j, 4) for j in range(6)}
        at = (end + 4) & ~3 if (end + 4) & 3 else end + 4
        at = at - (at - (streams + 4)) % 4
    for field, (where, size) in fields.items():
        for kind, value in values(f"dotnet{field}", size).items():
            data = with_field(base, where, size, value)
            if data != base.data:
                yield f"dotnet-{field}-{kind}.exe", data
    yield (
        "dotnet-metadata-of-noise.exe",
        bytes(
            base.data[:metadata]
            + random.Random("metadata").randbytes(0x400)
            + base.data[metadata + 0x400 :]
        ),
    )


def pictures() -> Iterator[Case]:
    """PNGs that are no byteplots, or more than they say."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    def made(depth: int, color: int, interlace: int, *chunks: bytes, side: int = 64) -> bytes:
        head = struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, interlace)
        end = chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + end

    rows = chunk(b"IDAT", zlib.compress(bytes(70_000)))
    yield "png-16-bit.png", made(16, 0, 0, rows)
    yield "png-1-bit.png", made(1, 0, 0, rows)
    yield "png-palette.png", made(8, 3, 0, chunk(b"PLTE", bytes(768)), rows)
    yield "png-palette-without-one.png", made(8, 3, 0, rows)
    yield "png-alpha.png", made(8, 6, 0, rows)
    yield "png-interlaced.png", made(8, 0, 1, rows)
    yield "png-color-type-9.png", made(8, 9, 0, rows)
    yield "png-no-data.png", made(8, 0, 0)
    yield "png-0-wide.png", made(8, 0, 0, rows, side=0)
    yield "png-two-billion-wide.png", made(8, 0, 0, rows, side=0x7FFF_FFFF)
    frames = chunk(b"acTL", struct.pack(">II", 1000, 0))
    control = struct.pack(">IIIIIHHBB", 0, 64, 64, 0, 0, 1, 1, 0, 0)
    yield "png-animated.png", made(8, 0, 0, frames, chunk(b"fcTL", control), rows)
    bomb = zlib.compress(bytes(200 << 20), 9)
    yield "png-text-of-200mb.png", made(8, 0, 0, chunk(b"zTXt", b"a\0\0" + bomb), rows)
    yield "png-data-of-200mb.png", made(8, 0, 0, chunk(b"IDAT", bomb))
    whole = byteplot(sample("console-x86.exe"))
    for at in (8, 20, 33, 60, len(whole) - 20):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        yield f"png-broken-at-{at}.png", bytes(broken)
    yield "png-of-text.png", png(16, 16, 0, b"no program " * 24)


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def archives() -> Iterator[Case]:
    """Archives that nest, bomb, lie about sizes, and hold what is no file."""
    program = sample("console-x86.exe")
    nested = zipped(("x.exe", program))
    for _ in range(12):
        nested = zipped(("a.zip", nested))
    yield "zip-nested-13.zip", nested
    yield "zip-bomb.zip", zipped(("a.exe", b"MZ" + bytes(300 << 20)))
    names = ("../../x.exe", "/etc/passwd.exe", "C:\\x.exe", "CON", "NUL.exe", "a" * 4000 + ".exe")
    marked = [f"{i}{text.decode('latin-1')}.exe" for i, text in enumerate(NAMES.values())]
    yield "zip-names.zip", zipped(*((name, program) for name in (*names, *marked)))
    plain = zipped(("x.exe", program))
    at = plain.index(b"PK\x01\x02")
    for field, (offset, size) in {
        "crc": (16, 4),
        "packed": (20, 4),
        "size": (24, 4),
        "name": (28, 2),
        "extra": (30, 2),
        "comment": (32, 2),
        "local": (42, 4),
        "method": (10, 2),
        "flags": (8, 2),
    }.items():
        for kind, value in values(f"zip{field}", size).items():
            data = bytearray(plain)
            data[at + offset : at + offset + size] = value.to_bytes(size, "little")
            if data != plain:
                yield f"zip-{field}-{kind}.zip", bytes(data)
    for cut in (4, 30, len(plain) // 2, at + 10, len(plain) - 4):
        yield f"zip-cut-{cut}.zip", plain[:cut]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for special in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE):
            info = tarfile.TarInfo(f"special-{special!r}.exe")
            info.type, info.linkname = special, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("../../x.exe")
        info.size = len(program)
        archive.addfile(info, io.BytesIO(program))
    tar = out.getvalue()
    yield "tar-links.tar", tar
    lying = bytearray(tar)
    lying[len(tar) - 10240 :] = b""
    yield "tar-cut.tar", bytes(lying)
    broken = bytearray(tar)
    broken[124:135] = b"77777777777"
    yield "tar-size-of-8gb.tar", bytes(broken)
    packed = bytearray(b"7z\xbc\xaf'\x1c\0\4" + bytes(24))
    yield "7z-empty-header.7z", bytes(packed)
    struct.pack_into("<QQ", packed, 12, 0, 0xFFFF_FFFF_FFFF)
    yield "7z-header-of-256tb.7z", bytes(packed)
    yield "gz-cut.gz", zlib.compress(program, wbits=31)[:200]
    yield "gz-bomb.gz", zlib.compress(bytes(300 << 20), 9, wbits=31)
    yield "xz-magic.xz", b"\xfd7zXZ\0" + bytes(100)
    yield "zst-magic.zst", b"\x28\xb5\x2f\xfd" + bytes(100)
    yield "bz2-magic.bz2", b"BZh9" + bytes(100)


def noise() -> Iterator[Case]:
    """Real programs with bytes changed at random, more and more of them."""
    for source in ("console-x86.exe", "library-x64.dll", "dotnet.exe", "gui-x86.exe"):
        data = sample(source)
        for number in range(25):
            drawn = random.Random(f"{source} {number}")
            changed = bytearray(data)
            # The headers more than the rest: that is where parsers read.
            for _ in range(1 + number):
                changed[drawn.randrange(0x400)] = drawn.randrange(256)
                changed[drawn.randrange(len(changed))] = drawn.randrange(256)
            changed[:2] = b"MZ"
            yield f"noise-{number}-{source}", bytes(changed)


def corpus() -> dict[str, bytes]:
    """All malformed files by name, the same bytes each time."""
    found: dict[str, bytes] = {}
    for name, make in CASES.items():
        ending = {"png": ".png", "dump": ".bytes"}.get(name.split("_")[0], ".exe")
        found[f"case-{name}{ending}"] = make()
    for part in (header_fields, sections, directories, dotnet, pictures, archives, noise):
        for name, data in part():
            assert name not in found, name
            found[name] = data
    return found


def write(folder: Path) -> int:
    """Write all of it into a folder; how many files that are."""
    made = corpus()
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return len(made)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{write(target)} files\n")
