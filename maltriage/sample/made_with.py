"""What a program was made with, as its headers say: compiler, linker, packer, installer.

The Rich header of Microsoft's linker lists each tool that made an object of the program, with its
build number; the linker's version, section names, one imported library and the mark of what is
carried say the rest. Each of these can be copied from another file, so it is a hint and no proof.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from maltriage.sample.byteplot import pe_offset
from maltriage.sample.pe import EFI, Headers
from maltriage.sample.types import TOOL_KINDS, Layout, Tool

PACKERS = {
    "UPX": "UPX0 UPX1 UPX2",
    "ASPack": ".aspack .adata ASPack",
    "MPRESS": ".MPRESS1 .MPRESS2",
    "Petite": ".petite",
    "NsPack": ".nsp0 .nsp1 nsp0 nsp1",
    "VMProtect": ".vmp0 .vmp1 .vmp2",
    "Themida": ".themida .winlice WinLicen",
    "Enigma": ".enigma1 .enigma2",
    "FSG": "FSG!",
    "PECompact": "PEC2 PECompact2",
    "MEW": "MEW",
    "kkrunchy": "kkrunchy",
    "Yoda's Protector": ".yP",
    "Yoda's Crypter": ".y0da",
    "PEBundle": "pebundle",
    "RLPack": "RLPack .rlpack",
    "SVKProtector": ".svkp",
    "": ".packed .spack .taz",
}
"""Names of sections that a packer leaves, by packer; the last are of several."""
PACKER_OF = {
    section.lower(): packer for packer, sections in PACKERS.items() for section in sections.split()
}
UNPACKED = frozenset(("UPX",))
"""Those of them that `scan --carve` takes off."""
PROTECTORS = frozenset(
    ("VMProtect", "Themida", "Enigma", "Yoda's Protector", "Yoda's Crypter", "SVKProtector")
)
SIGNATURES = (
    ("NSIS", b"\xef\xbe\xad\xdeNullsoftInst"),
    ("Inno Setup", b"zlb\x1a"),
    ("Inno Setup", b"rDlPtS"),
    ("AutoIt script", b"\xa3\x48\x4b\xbe\x98\x6c\x4a\xa9\x99\x4c\x53\x0a\x86\xd6\x48\x7d"),
    ("7-Zip archive", b"7z\xbc\xaf\x27\x1c"),
    ("RAR archive", b"Rar!\x1a\x07"),
    ("cabinet", b"MSCF\0\0\0\0"),
    ("MSI package", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("zip archive", b"PK\x03\x04"),
)
"""Signatures in the overlay of an installer or self-extractor."""
INSTALLERS = frozenset(("NSIS", "Inno Setup", "AutoIt script", "PyInstaller"))
"""Those of them that name the tool that made the file."""
OPENED = frozenset(("7-Zip archive", "NSIS", "RAR archive", "cabinet", "zip archive"))
"""Those of them that `scan --carve` looks into."""
BY_LIBARCHIVE = frozenset(("RAR archive", "cabinet"))
"""Those of these that it needs libarchive for."""
IN_RESOURCES = ("AutoIt script", "7-Zip archive", "RAR archive", "cabinet")
"""Those of them that are looked for in resources, too: long enough to be there by no chance."""
RESOURCES_WITHIN = 1 << 22
"""Bytes of the resources that are searched."""
_CABINET = (3, 1)
"""Minor and major version of a cabinet, its only one, 24 bytes from its start."""
LEAST_ENTROPY = 5.0
"""Of a section with resources that is searched: texts and icons alone have less, most of them."""
_TRIED = 16
"""Places of a signature that are tried."""
PYINSTALLER = b"MEI\x0c\x0b\x0a\x0b\x0e"
"""The cookie at the end of a PyInstaller archive, which has no signature at its start."""
CARRIED_MIN_BYTES = 4096
"""Least size of what is carried."""
_SHELLS = {".ndata": "NSIS", ".wixburn": "WiX"}
"""Names of sections that an installer's shell has."""
_IEXPRESS = "WEXTRACT".encode("utf-16-le")
"""The name of the self-extractor that Windows itself makes, in its version information."""
SIGNATURE_WITHIN, SHORT_WITHIN = 65536, 64
"""Bytes from the start of the overlay that are searched for a signature, and for one of `SHORT`
bytes or fewer, which any text may hold."""
SHORT = 4

VISUAL_C = "Microsoft Visual C/C++"
VISUAL_BASIC = "Microsoft Visual Basic"
_VISUAL_C = {
    0x0A: "6.0",
    0x0B: "6.0",
    0x15: "6.0",
    0x16: "6.0",
    0x1C: "2002",
    0x1D: "2002",
    0x5F: "2003",
    0x60: "2003",
    0x6D: "2005",
    0x6E: "2005",
    0x83: "2008",
    0x84: "2008",
    0xAA: "2010",
    0xAB: "2010",
    0xCE: "2012",
    0xCF: "2012",
    0xE0: "2013",
    0xE1: "2013",
}
"""Versions of Visual Studio by the product number of its compilers for C and C++."""
_SINCE_2015 = (0x104, 0x105)
_BUILDS = ((30401, "2022"), (27508, "2019"), (24911, "2017"), (0, "2015"))
"""First builds of the versions that share the product numbers of 2015."""
_LINKERS = {
    (6, 0): "6.0",
    (7, 0): "2002",
    (7, 10): "2003",
    (8, 0): "2005",
    (9, 0): "2008",
    (10, 0): "2010",
    (11, 0): "2012",
    (12, 0): "2013",
}
_COMPILERS = (
    *(((19, 30), "2022"), ((19, 20), "2019"), ((19, 10), "2017"), ((19, 0), "2015")),
    *(((18, 0), "2013"), ((17, 0), "2012"), ((16, 0), "2010"), ((15, 0), "2008")),
    *(((14, 0), "2005"), ((13, 10), "2003"), ((13, 0), "2002"), ((12, 0), "6.0")),
)
"""First versions of the compiler of each Visual Studio, the newest first."""
_VERSIONS = (*dict.fromkeys(_VISUAL_C.values()), *(v for _, v in reversed(_BUILDS)))
"""Versions of Visual C++, the oldest first."""
_BORLAND = (2, 25)
_GO = ((3, 0), (1, 0))
"""Versions that the linkers of Borland and Go write."""
_GNU_MAJOR, _LLVM_MAJOR = 2, 14
"""Major versions of the linkers of GNU and LLVM, which others write too: 2 is that of Borland,
Watcom, Free Pascal, LCC, PureBasic and some packers."""
_BORLAND_STUB, _WATCOM_STUB = b"must be run under Win32", b"this is a Windows "
"""Parts of what their linkers write into the DOS stub."""
DELPHI_STAMP = 0x2A425E19
"""The time that Delphi 4 to 2006 write into any program: 1992-06-19T22:22:17Z."""
_DELPHI_SECTIONS = frozenset(("CODE", ".itext"))
_FREE_PASCAL = re.compile(rb"FPC (\d{1,2}(?:\.\d{1,2}){1,3})")
_GNU_SECTIONS = (".eh_fram", ".debug_", ".stab", ".buildid", ".rossym")
"""Beginnings of the names of sections that GNU's compiler and linker make; the last is made of
theirs, in ReactOS."""
_GNU_RUNTIME = (b"GCC: (", b"Mingw", b"MINGW32", b"libgcc_s_", b"_Jv_RegisterClasses")
_GNU_START = b"__p__environ"
"""What the start code of MinGW imports, and that of no other compiler with this linker version."""
_CYGWIN = (b"cygwin1.dll", b"msys-1.0.dll", b"msys-2.0.dll")
_IMPORT_BYTES = 32768
"""Bytes from the import directory on that are searched for names."""
_FIRST_BYTES, _LAST_BYTES = 4096, 16384
"""Bytes of a section, from its start and before its end, where the marks of a runtime lie: its
objects are the first and the last ones of a program."""
MAX_RICH = 1024
"""Bytes behind the DOS header that are searched for a Rich header."""


@dataclass(frozen=True)
class Carried:
    """What an installer or self-extractor carries, and in how many bytes.

    `tool`: that made it, where its signature tells.
    """

    name: str
    size: int
    place: Literal["overlay", "resources"]
    tool: str | None


def made_with(data: bytes, headers: Headers, inside: Carried | None) -> list[Tool]:
    """The tools that a program names, those that say most of it first.

    Args:
        data: the whole file.
        headers: from `read_headers`.
        inside: from `carried`.
    """
    return in_order([*_packer(headers), *_installer(headers, inside), *_compiler(data, headers)])


def in_order(tools: Iterable[Tool]) -> list[Tool]:
    """Tools by kind, each once: the first of a kind and name, and only the compilers and linkers of
    whoever named one first."""
    kept = dict[tuple[str, str], Tool]()
    builder: str | None = None
    for tool in tools:
        if tool.kind in ("compiler", "linker"):
            builder = builder or tool.by
            if tool.by != builder:
                continue
        kept.setdefault((tool.kind, tool.name.lower()), tool)
    return sorted(kept.values(), key=lambda tool: TOOL_KINDS.index(tool.kind))


def _packer(headers: Headers) -> Iterator[Tool]:
    for section in headers.sections:
        name = PACKER_OF.get(section.name.lower())
        if name:
            yield Tool("protector" if name in PROTECTORS else "packer", name)


def carried(data: bytes, layout: Layout) -> Carried | None:
    """What an installer or self-extractor carries, by its first signature."""
    return _in_overlay(data, layout) or _in_resources(data, layout)


def _in_overlay(data: bytes, layout: Layout) -> Carried | None:
    overlay = next((r for r in layout.regions if r.kind == "overlay"), None)
    if overlay is None or overlay.size < CARRIED_MIN_BYTES:
        return None
    head = data[overlay.start : min(overlay.end, overlay.start + SIGNATURE_WITHIN)]
    found = list[tuple[int, str]]()
    for title, mark in SIGNATURES:
        within = SHORT_WITHIN if len(mark) <= SHORT else SIGNATURE_WITHIN
        if (at := head.find(mark, 0, within + len(mark))) >= 0:
            found.append((at, title))
    name = min(found)[1] if found else None
    if name is None and PYINSTALLER in data[max(overlay.start, overlay.end - 4096) : overlay.end]:
        name = "PyInstaller"
    if name is None:
        return None
    return Carried(name, overlay.size, "overlay", name if name in INSTALLERS else None)


def _in_resources(data: bytes, layout: Layout) -> Carried | None:
    """IExpress, new versions of AutoIt and many droppers keep what they carry as a resource."""
    start = layout.anchors.get("resource")
    region = None if start is None else layout.region_at(start)
    if start is None or region is None or region.entropy < LEAST_ENTROPY:
        return None
    head = data[start : min(region.end, start + RESOURCES_WITHIN)]
    marks = dict(SIGNATURES)
    for name in IN_RESOURCES:
        at = -1
        for _ in range(_TRIED):
            at = head.find(marks[name], at + 1)  # a regular expression takes ten times as long
            if at < 0:
                break
            size, tool = region.end - start - at, name if name in INSTALLERS else None
            if name == "cabinet":
                told = int.from_bytes(head[at + 8 : at + 12], "little")
                size = min(size, told) if tuple(head[at + 24 : at + 26]) == _CABINET else 0
                tool = "IExpress" if size >= CARRIED_MIN_BYTES and _IEXPRESS in head else None
            if size >= CARRIED_MIN_BYTES:
                return Carried(name, size, "resources", tool)
    return None


def _installer(headers: Headers, inside: Carried | None) -> Iterator[Tool]:
    if inside is not None and inside.tool is not None:
        yield Tool("installer", inside.tool)
    for section in headers.sections:
        if section.name in _SHELLS:
            yield Tool("installer", _SHELLS[section.name])


def _compiler(data: bytes, headers: Headers) -> Iterator[Tool]:
    pe = pe_offset(data) or 0
    if len(data) < pe + 28:
        return
    linker = data[pe + 26], data[pe + 27]
    if "clr" in headers.directories:
        yield Tool("language", ".NET")
        return
    names = {section.name for section in headers.sections}
    rich = rich_header(data, pe)
    if any(product == 0x0D for product, _ in rich) or _imports_basic(data, headers):
        yield Tool("compiler", VISUAL_BASIC, "6.0")
    elif rich:
        versions = [v for v in (_visual_c(rich), _LINKERS.get(linker)) if v is not None]
        yield Tool("compiler", VISUAL_C, max(versions, key=_VERSIONS.index, default=None))
    elif linker in _GO and ".symtab" in names:
        yield Tool("compiler", "Go")
    elif linker[0] == _GNU_MAJOR and headers.subsystem in EFI:  # an ELF file that was converted
        yield Tool("linker", "GNU linker", f"{linker[0]}.{linker[1]}")
    elif linker[0] == _GNU_MAJOR:
        yield from _of_linker_2(data, headers, linker, data[64:pe])
    elif linker in _LINKERS:
        yield Tool("linker", "Microsoft Linker", f"{linker[0]}.{linker[1]}")
    elif linker[0] == _LLVM_MAJOR:
        yield Tool("linker", "Microsoft or LLVM linker", f"{linker[0]}.{linker[1]}")


def _of_linker_2(
    data: bytes, headers: Headers, linker: tuple[int, int], stub: bytes
) -> Iterator[Tool]:
    """Who made a program whose linker says version 2, by a mark of theirs; nothing without one."""
    names = {section.name for section in headers.sections}
    if linker == _BORLAND and (_BORLAND_STUB in stub or headers.timestamp == DELPHI_STAMP):
        if any(b"Borland C++" in _ends(data, headers, name) for name in (".data", "DATA")):
            yield Tool("compiler", "Borland C++")
        elif headers.timestamp == DELPHI_STAMP or names & _DELPHI_SECTIONS:
            yield Tool("compiler", "Borland Delphi")
        else:
            yield Tool("linker", "Turbo Linker", f"{linker[0]}.{linker[1]}")
    elif _WATCOM_STUB in stub:
        yield Tool("compiler", "Watcom C/C++")
    elif b"Go buildinf:" in (variables := _ends(data, headers, ".data")):  # by its external linker
        yield Tool("compiler", "Go")
    elif pascal := _FREE_PASCAL.search(variables):
        yield Tool("compiler", "Free Pascal", pascal[1].decode())
    else:
        yield from _gnu(data, headers, names)


def _gnu(data: bytes, headers: Headers, names: set[str]) -> Iterator[Tool]:
    """GNU's compiler, for Windows or for Cygwin."""
    rva, _ = headers.directories.get("import", (0, 0))
    start = headers.offset_of(rva) if rva else None
    imports = b"" if start is None else data[start : start + _IMPORT_BYTES]
    constants = _ends(data, headers, ".rdata")
    if any(library in imports for library in _CYGWIN):
        yield Tool("compiler", "GCC for Cygwin")
    elif (
        any(name.startswith(_GNU_SECTIONS) for name in names)
        or names >= {".CRT", ".tls"}
        or _GNU_START in imports
        or any(mark in constants for mark in _GNU_RUNTIME)
    ):
        yield Tool("compiler", "MinGW")


def _ends(data: bytes, headers: Headers, name: str) -> bytes:
    """The first and last bytes of the first section of a name."""
    section = next((s for s in headers.sections if s.name == name), None)
    if section is None:
        return b""
    end = min(section.start + section.size, len(data))
    first = section.start + _FIRST_BYTES
    return data[section.start : min(first, end)] + data[max(first, end - _LAST_BYTES) : end]


def studio_of(version: str) -> str | None:
    """The version of Visual Studio of a compiler `19.29.30133`; None where none is known."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        return None
    number = int(numbers[1]), int(numbers[2])
    return next((studio for first, studio in _COMPILERS if number >= first), None)


def rich_header(data: bytes, pe: int) -> list[tuple[int, int]]:
    """The (product, build) pairs of a Rich header; empty if there is none that can be read.

    Args:
        pe: offset of the PE signature.
    """
    head = data[64 : min(pe, 64 + MAX_RICH)]
    end = head.rfind(b"Rich")
    if end < 0 or len(head) < end + 8:
        return []
    (key,) = struct.unpack_from("<I", head, end + 4)
    start = head.find(struct.pack("<I", key ^ 0x536E6144))  # DanS
    if start < 0 or (end - start) % 8 or end - start < 24:
        return []
    words = struct.unpack_from(f"<{(end - start - 16) // 4}I", head, start + 16)
    return [((word ^ key) >> 16, (word ^ key) & 0xFFFF) for word in words[::2]]


def _visual_c(rich: list[tuple[int, int]]) -> str | None:
    """The newest Visual C++ that compiled an object of the program."""
    builds = [build for product, build in rich if product in _SINCE_2015]
    if builds:
        return next(version for first, version in _BUILDS if max(builds) >= first)
    products = [product for product, _ in rich if product in _VISUAL_C]
    return _VISUAL_C[max(products)] if products else None


def _imports_basic(data: bytes, headers: Headers) -> bool:
    """Whether the import table names the runtime of Visual Basic 5 or 6, found by its text."""
    rva, size = headers.directories.get("import", (0, 0))
    start = headers.offset_of(rva) if rva else None
    if start is None:
        return False
    return b"MSVBVM" in data[start : start + min(size + 1024, 4096)].upper()
