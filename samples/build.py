#!/usr/bin/env python3
"""Builds the sample programs of this folder from src/, and the manifest.

    python samples/build.py             build all, write the files and manifest.csv
    python samples/build.py --check     build all, compare with what is here, write nothing

Needs Debian's gcc-mingw-w64-i686, gcc-mingw-w64-x86-64, mono-mcs, osslsigncode and openssl.
The same versions of these (README.md names them) give the same bytes, with one exception: a
signature is made with a new throwaway key each time, so a signed sample whose unsigned part
has not changed is left as it is.
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIGNED = "signed-x64.exe"
PACK_SIZE = 16 * 1024
OVERLAY_LINES = 400

GCC = {"x86": "i686-w64-mingw32-gcc", "x64": "x86_64-w64-mingw32-gcc"}
FLAGS = ["-Os", "-s", "-Wall", "-Wextra", "-Werror", "-D__USE_MINGW_ANSI_STDIO=0"]
NO_TIME = "-Wl,--no-insert-timestamp"


def run(*command: str, work: Path) -> None:
    """Run a tool in `work`; what it has to say is shown only where it fails."""
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}{done.stdout}")


def gcc(work: Path, bits: str, *arguments: str, flags: tuple[str, ...] = ()) -> bytes:
    """Compile and link `arguments` (sources and libraries); the bytes of the program."""
    run(GCC[bits], *FLAGS, *flags, NO_TIME, *arguments, "-o", "out.exe", work=work)
    return (work / "out.exe").read_bytes()


def noise(count: int) -> bytes:
    """`count` pseudo-random bytes, always the same: SHA-256 of 0, 1, 2, ..."""
    blocks = (hashlib.sha256(struct.pack("<I", i)).digest() for i in range(-(-count // 32)))
    return b"".join(blocks)[:count]


def icon() -> bytes:
    """A 32 x 32 icon: a byteplot in grey with a hot square in it."""
    side, tint = 32, noise(32 * 32)
    rows = []
    for y in range(side):
        for x in range(side):
            grey = (y // 8) * 48 + tint[y * side + x] // 4
            hot = 9 <= x < 21 and 13 <= y < 19
            rows.append(bytes([grey // 4, grey // 3, 255, 255] if hot else [grey] * 3 + [255]))
    pixels = b"".join(b"".join(rows[y * side : (y + 1) * side]) for y in reversed(range(side)))
    mask = bytes(side * side // 8)
    header = struct.pack("<IiiHHIIiiII", 40, side, 2 * side, 1, 32, 0, len(pixels), 0, 0, 0, 0)
    image = header + pixels + mask
    entry = struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(image), 6 + 16)
    return struct.pack("<HHH", 0, 1, 1) + entry + image


def pe_offset(data: bytes | bytearray) -> int:
    return int(struct.unpack_from("<I", data, 60)[0])


def console_x64(work: Path) -> bytes:
    return gcc(work, "x64", "console.c")


def console_x86(work: Path) -> bytes:
    return gcc(work, "x86", "console.c")


def gui(work: Path) -> bytes:
    (work / "sample.ico").write_bytes(icon())
    run("i686-w64-mingw32-windres", "gui.rc", "gui.o", work=work)
    return gcc(work, "x86", "gui.c", "gui.o", flags=("-mwindows",))


def library(work: Path) -> bytes:
    return gcc(work, "x64", "library.c", flags=("-shared",))


def driver(work: Path) -> bytes:
    options = ("-nostdlib", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry")
    return gcc(work, "x64", "driver.c", "-lntoskrnl", flags=options)


def dotnet(work: Path) -> bytes:
    """mcs gives each build a random module id (the only entry of #GUID); ours is fixed."""
    run("mcs", "-out:dotnet.exe", "dotnet.cs", work=work)
    data = bytearray((work / "dotnet.exe").read_bytes())
    root = data.index(b"BSJB")
    name = data.index(b"#GUID\0", root)
    offset, size = struct.unpack_from("<II", data, name - 8)
    if size != 16:
        raise SystemExit("dotnet.exe: not one module id")
    data[root + offset : root + offset + 16] = hashlib.md5(b"maltriage sample").digest()
    return bytes(data)


def debug(work: Path) -> bytes:
    return gcc(work, "x86", "console.c", flags=("-Wl,--pdb=maltriage-sample.pdb",))


def overlay(work: Path) -> bytes:
    lines = [
        f"record {i:04d}: appended to the program, not a part of it\n" for i in range(OVERLAY_LINES)
    ]
    return console_x86(work) + "".join(lines).encode()


def packed(work: Path) -> bytes:
    (work / "pack.bin").write_bytes(noise(PACK_SIZE))
    return gcc(work, "x86", "packed.c", "packed.S")


def truncated(work: Path) -> bytes:
    """The 32-bit console program, cut in the middle of its section .text."""
    data = console_x86(work)
    size, start = struct.unpack_from("<II", data, data.index(b".text\0\0\0") + 16)
    return data[: start + size // 2]


def damaged(work: Path) -> bytes:
    """The 32-bit console program; its optional header claims to reach beyond the file, so the
    section table, which follows it, lies there too. e_lfanew is right."""
    data = bytearray(console_x86(work))
    struct.pack_into("<H", data, pe_offset(data) + 20, 0xFFF0)
    return bytes(data)


def signed(work: Path) -> bytes:
    (work / "plain.exe").write_bytes(console_x64(work))
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]
    subject = ["-subj", "/CN=maltriage sample", "-days", "3650"]
    run("openssl", "req", "-x509", *key, *subject, work=work)
    sign = ["osslsigncode", "sign", "-certs", "cert.pem", "-key", "key.pem", "-h", "sha256"]
    run(*sign, "-in", "plain.exe", "-out", "signed.exe", work=work)
    return (work / "signed.exe").read_bytes()


def unsigned(data: bytes) -> bytes:
    """`data` (PE32+) without its certificate table, checksum and the pointer to the table."""
    out = bytearray(data)
    optional = pe_offset(out) + 24
    table = optional + 112 + 4 * 8
    (start,) = struct.unpack_from("<I", out, table)
    out[optional + 64 : optional + 68] = bytes(4)
    out[table : table + 8] = bytes(8)
    return bytes(out[: start or len(out)])


@dataclass(frozen=True)
class Sample:
    """A file of this folder: how it is built and what it is there to show."""

    name: str
    build: Callable[[Path], bytes]
    shows: str


SAMPLES = (
    Sample("console-x64.exe", console_x64, "64-bit console program"),
    Sample("console-x86.exe", console_x86, "32-bit console program"),
    Sample("damaged-x86.exe", damaged, "headers damaged: the section table lies past the end"),
    Sample("debug-x86.exe", debug, "debug directory with the path of a PDB file"),
    Sample("dotnet.exe", dotnet, ".NET program with version information"),
    Sample("driver-x64.sys", driver, "native subsystem, imports from ntoskrnl.exe"),
    Sample("gui-x86.exe", gui, "resources: icon, dialog, version information"),
    Sample("library-x64.dll", library, "three exported functions"),
    Sample("overlay-x86.exe", overlay, "an overlay of text behind the last section"),
    Sample("packed-x86.exe", packed, "a section .pack of pseudo-random bytes"),
    Sample(SIGNED, signed, "certificate table with a self-made signature"),
    Sample("truncated-x86.exe", truncated, "cut in the middle of the section .text"),
)


def build(sample: Sample) -> bytes:
    """The bytes of a sample, built in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "build")
        shutil.copytree(HERE / "src", work)
        data = sample.build(work)
    here = HERE / sample.name
    if sample.name == SIGNED and here.exists():
        kept = here.read_bytes()
        return kept if unsigned(kept) == unsigned(data) else data
    return data


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    files = {sample.name: build(sample) for sample in SAMPLES}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["name", "sha256", "shows"])
    for sample in SAMPLES:
        rows.writerow([sample.name, hashlib.sha256(files[sample.name]).hexdigest(), sample.shows])
    files["manifest.csv"] = text.getvalue().encode()
    if check:
        other = [n for n, data in files.items() if (HERE / n).read_bytes() != data]
        print("differs: " + ", ".join(other) if other else f"{len(files)} files are as built")
        return 1 if other else 0
    for name, data in files.items():
        (HERE / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
