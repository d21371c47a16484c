"""Fields of a 32-bit PE header by their place: the view `header` reads them byte by byte.

Importing this costs nothing. `maltriage.probe.inspect.header` gives the values of one file's
fields under the same names.
"""

from __future__ import annotations

from typing import NamedTuple

from maltriage.sample.pe import DIRECTORIES


class Field(NamedTuple):
    """Bytes [start, end) from the PE signature on."""

    start: int
    end: int
    name: str


_COFF = (
    ("Machine", 2),
    ("NumberOfSections", 2),
    ("TimeDateStamp", 4),
    ("PointerToSymbolTable", 4),
    ("NumberOfSymbols", 4),
    ("SizeOfOptionalHeader", 2),
    ("Characteristics", 2),
)
_OPTIONAL = (
    ("Magic", 2),
    ("MajorLinkerVersion", 1),
    ("MinorLinkerVersion", 1),
    ("SizeOfCode", 4),
    ("SizeOfInitializedData", 4),
    ("SizeOfUninitializedData", 4),
    ("AddressOfEntryPoint", 4),
    ("BaseOfCode", 4),
    ("BaseOfData", 4),
    ("ImageBase", 4),
    ("SectionAlignment", 4),
    ("FileAlignment", 4),
    ("MajorOperatingSystemVersion", 2),
    ("MinorOperatingSystemVersion", 2),
    ("MajorImageVersion", 2),
    ("MinorImageVersion", 2),
    ("MajorSubsystemVersion", 2),
    ("MinorSubsystemVersion", 2),
    ("Reserved1", 4),
    ("SizeOfImage", 4),
    ("SizeOfHeaders", 4),
    ("CheckSum", 4),
    ("Subsystem", 2),
    ("DllCharacteristics", 2),
    ("SizeOfStackReserve", 4),
    ("SizeOfStackCommit", 4),
    ("SizeOfHeapReserve", 4),
    ("SizeOfHeapCommit", 4),
    ("LoaderFlags", 4),
    ("NumberOfRvaAndSizes", 4),
)


def _fields() -> tuple[Field, ...]:
    sizes = [
        ("PE signature", 4),
        *((f"COFF {name}", size) for name, size in _COFF),
        *((f"Optional {name}", size) for name, size in _OPTIONAL),
        *((f"Directory {name}", 8) for name in DIRECTORIES),
        (f"Directory {len(DIRECTORIES)}", 8),
    ]
    found, at = [], 0
    for name, size in sizes:
        found.append(Field(at, at + size, name))
        at += size
    return tuple(found)


PE32_FIELDS = _fields()
"""From the signature to the last data directory, without gaps."""


def names_in(start: int, end: int) -> list[str]:
    """Names of the fields that share a byte with [start, end), from the PE signature on."""
    return [field.name for field in PE32_FIELDS if field.start < end and start < field.end]
