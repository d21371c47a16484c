"""Headers of a PE file, read by LIEF or, where it gives up, by pefile.

All other modules use `Headers`, whichever parser made them. Raw ranges are those that the Windows
loader would map, which can differ from the section table (see `loader_start`).
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from maltriage.sample.bounds import (
    copies_too_much,
    has_too_many_debug,
    has_too_many_imports,
    section_ranges,
)
from maltriage.sample.byteplot import pe_offset
from maltriage.sample.mapped import is_mapped

PAGE = 0x1000
MAX_SECTIONS = 1000
"""Sections read from one file: LIEF reads no more. The rest is one region."""
MAX_WARNINGS = 5
MAX_NAME = 256
"""Bytes read of a long section name."""
COFF_SYMBOL_BYTES = 18

PE32_PLUS = 0x20B
"""Magic of the optional header of a 64-bit program."""
NATIVE = 1
"""Subsystem of drivers, and of programs that run without the Windows API."""
EFI = range(10, 14)
"""Values of Subsystem that name an EFI image: application, two kinds of driver, ROM."""
MACHINES = {
    0x0: "none",
    0x14C: "x86",
    0x8664: "x64",
    0x1C0: "arm",
    0x1C4: "armnt",
    0xAA64: "arm64",
    0x200: "ia64",
    0xEBC: "efi-bytecode",
}

DIRECTORIES = (
    "export",
    "import",
    "resource",
    "exception",
    "certificate",
    "reloc",
    "debug",
    "architecture",
    "globalptr",
    "tls",
    "load_config",
    "bound_import",
    "iat",
    "delay_import",
    "clr",
)
"""Names of the data directories, in their order in the optional header."""


@dataclass(frozen=True)
class Section:
    """A row of the section table: file range [start, start + size) and where it is mapped."""

    name: str
    start: int
    size: int
    rva: int
    virtual_size: int
    executable: bool

    @property
    def mapped(self) -> int:
        """Bytes of the file range that the loader maps: to the end of the last page in use."""
        pages = -(-self.virtual_size // PAGE) * PAGE
        return min(self.size, pages) if self.virtual_size else self.size


@dataclass(frozen=True)
class Headers:
    """The headers of a PE file, as far as `sample` uses them."""

    parser: Literal["lief", "pefile"]
    machine: int
    subsystem: int
    bits: int
    timestamp: int
    image_base: int
    entry_rva: int
    header_size: int
    sections: tuple[Section, ...]
    directories: dict[str, tuple[int, int]]
    """(RVA, size) by name; of `certificate` the first is a file offset."""
    warnings: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()
    """Directories that no parser may read, by name."""
    binary: Any = field(default=None, repr=False)
    """The parser's own object, used by `identity` and `signature` alone; None: by
    `read_headers(bare=True)`."""

    @property
    def disarmed(self) -> bool:
        """Whether Machine and Subsystem are zero, as public sets ship their files."""
        return self.machine == 0 and self.subsystem == 0

    def offset_of(self, rva: int) -> int | None:
        """File offset of an RVA, None where nothing in the file is mapped there."""
        for whole_pages in (False, True):  # sections may be closer to each other than a page
            for first, virtual, whole, start in self._mapped:
                if first <= rva < (whole if whole_pages else virtual):
                    return start + rva - first
        return rva if 0 < rva < self.header_size else None

    @cached_property
    def _mapped(self) -> list[tuple[int, int, int, int]]:
        """Of each section its RVA, where it ends by its virtual size and as mapped, and its offset.
        Once: a program may have a thousand sections, and ask for ten thousand RVAs."""
        return [
            (s.rva, s.rva + min(s.mapped, s.virtual_size or s.mapped), s.rva + s.mapped, s.start)
            for s in self.sections
        ]


def read_headers(data: bytes, *, bare: bool = False) -> Headers | None:
    """Headers by LIEF, else by pefile, else None. Never raises because of the file's content.

    A mapped file, and one whose sections overlap a lot, is read by pefile alone, as LIEF would copy
    all of it; so is one with an import table or a debug directory that is too long, which is not
    read.

    Args:
        bare: read no table of a directory, which is where parsers take too long.
    """
    pe = pe_offset(data)
    if pe is None:
        return None
    if bare:
        return _by_pefile(data, pe, _ALL)
    crowded = copied = debug = False
    with suppress(struct.error):  # headers that are cut off
        sections = section_ranges(data, pe, MAX_SECTIONS)
        copied = copies_too_much(data, sections)
        crowded = has_too_many_imports(data, pe, sections)
        debug = has_too_many_debug(data, pe)
    if crowded or copied or debug or is_mapped(data):
        unread = (_IMPORTS if crowded else _NONE) | (_DEBUGS if debug else _NONE)
        return _by_pefile(data, pe, unread)
    return _by_lief(data, pe) or _by_pefile(data, pe)


def decode_name(raw: str | bytes) -> str:
    """A section's name up to its first NUL; bytes that are not UTF-8 as \\xNN."""
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogateescape")
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def loader_start(pointer: int, file_alignment: int) -> int:
    """The file offset that the loader maps: `pointer` rounded down to 512 if aligned to it."""
    return pointer & ~0x1FF if file_alignment >= 0x200 else pointer


def _by_lief(data: bytes, pe: int) -> Headers | None:
    import lief

    lief.logging.disable()
    binary = lief.PE.parse(_without_symbols(data, pe), _lief_config())
    if not isinstance(binary, lief.PE.Binary):
        return None
    optional, header = binary.optional_header, binary.header
    alignment = optional.file_alignment
    sections = []
    for section in list(binary.sections)[:MAX_SECTIONS]:
        sections.append(
            Section(
                name=_long_name(decode_name(section.fullname), data, pe),
                start=loader_start(section.pointerto_raw_data, alignment),
                size=section.sizeof_raw_data,
                rva=section.virtual_address,
                virtual_size=section.virtual_size,
                executable=section.has_characteristic(_EXECUTE),
            )
        )
    directories = {
        name: (entry.rva, entry.size)
        for name, entry in zip(DIRECTORIES, binary.data_directories, strict=False)
        if entry.rva
    }
    return Headers(
        parser="lief",
        # Read from the bytes: LIEF has enumerations for these; it warns of a value without a
        # name, and gives a plain number for it.
        machine=_word(data, pe + 4),
        subsystem=_word(data, pe + 24 + 68),
        bits=64 if _word(data, pe + 24) == PE32_PLUS else 32,
        timestamp=header.time_date_stamps,
        image_base=optional.imagebase,
        entry_rva=optional.addressof_entrypoint,
        header_size=optional.sizeof_headers,
        sections=tuple(sections),
        directories=directories,
        binary=binary,
    )


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _without_symbols(data: bytes, pe: int) -> bytes:
    """`data` with an empty COFF symbol table: reading one takes LIEF longer than all else."""
    if not any(data[pe + 12 : pe + 20]):
        return data  # most files: a copy less
    view = memoryview(data)
    return b"".join((view[: pe + 12], bytes(8), view[pe + 20 :]))


def _long_name(name: str, data: bytes, pe: int) -> str:
    """The name behind `/4`, an offset into the COFF string table, as mingw writes it."""
    if not (name.startswith("/") and name[1:].isascii() and name[1:].isdigit()):
        return name
    table, symbols = struct.unpack_from("<II", data, pe + 12)
    start = table + symbols * COFF_SYMBOL_BYTES + int(name[1:])
    if not table or start >= len(data):
        return name
    return decode_name(data[start : start + MAX_NAME]) or name


_config: Any = None
_EXECUTE: Any = None


def _lief_config() -> Any:
    """Parse what regions, anchors and identity need; relocations and the rest cost time."""
    global _config, _EXECUTE  # noqa: PLW0603 - LIEF is imported on first use, once a process
    if _config is None:
        import lief

        _EXECUTE = lief.PE.Section.CHARACTERISTICS.MEM_EXECUTE
        _config = lief.PE.ParserConfig()
        _config.parse_reloc = _config.parse_exceptions = _config.parse_exports = False
        _config.parse_arm64x_binary = False
    return _config


_ALL, _NONE = frozenset(DIRECTORIES), frozenset[str]()
_IMPORTS, _DEBUGS = frozenset(("import",)), frozenset(("debug",))
"""Directories that are not read: of a bare file, of others, of one with too many imports, or with
too many entries for debuggers."""


def _warned(unread: frozenset[str], warnings: list[str]) -> tuple[str, ...]:
    """Warnings of a parser, with our own before them."""
    if unread != _ALL and unread >= _DEBUGS:
        warnings = ["Its debug directory has too many entries: it is not read.", *warnings]
    if unread != _ALL and unread >= _IMPORTS:
        said = "Its imports are too many, or their names too long: the import table is not read."
        warnings = [said, *warnings]
    return tuple(warnings[:MAX_WARNINGS])


def _by_pefile(data: bytes, pe: int, unread: frozenset[str] = _NONE) -> Headers | None:
    import pefile

    try:
        binary = pefile.PE(data=data, fast_load=True)
    except MemoryError:
        raise
    except Exception:  # hostile headers make pefile raise more than its own error
        return None
    optional = binary.OPTIONAL_HEADER
    if optional is None:
        return None
    sections = [
        Section(
            name=_long_name(decode_name(section.Name), data, pe),
            start=loader_start(section.PointerToRawData, optional.FileAlignment),
            size=section.SizeOfRawData,
            rva=section.VirtualAddress,
            virtual_size=section.Misc_VirtualSize,
            executable=bool(section.Characteristics & 0x20000000),
        )
        for section in binary.sections[:MAX_SECTIONS]
    ]
    return Headers(
        parser="pefile",
        machine=binary.FILE_HEADER.Machine,
        subsystem=getattr(optional, "Subsystem", 0),
        bits=64 if optional.Magic == pefile.OPTIONAL_HEADER_MAGIC_PE_PLUS else 32,
        timestamp=binary.FILE_HEADER.TimeDateStamp,
        image_base=optional.ImageBase,
        entry_rva=optional.AddressOfEntryPoint,
        header_size=optional.SizeOfHeaders,
        sections=tuple(sections),
        directories={
            name: (entry.VirtualAddress, entry.Size)
            for name, entry in zip(DIRECTORIES, optional.DATA_DIRECTORY, strict=False)
            if entry.VirtualAddress
        },
        warnings=_warned(unread, binary.get_warnings()),
        unread=unread,
        binary=None if unread == _ALL else binary,
    )
