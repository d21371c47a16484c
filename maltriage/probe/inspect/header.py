"""Reads the fields of the headers: their places and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from maltriage.probe.inspect.image import Image
from maltriage.sample.findings import HeaderField
from maltriage.sample.identity import is_reproducible
from maltriage.sample.pe import DIRECTORIES, decode_name

MAX_FIELDS = 128
"""Fields listed of one range."""
MAX_SECTION_ROWS = 96
"""Most section rows, as many as the loader takes."""
MAX_RICH = 12
MAX_FLAGS = 8
_STUB = 64


def fields(image: Image, start: int, end: int) -> list[HeaderField]:
    """Fields that share a byte with [start, end), in file order."""
    found: list[HeaderField] = []
    if end <= start:
        return found
    for item in _all(image):
        if item.offset < end and start < item.offset + item.size:
            found.append(item)
            if len(found) == MAX_FIELDS:
                break
    return found


def _all(image: Image) -> Iterator[HeaderField]:
    pe = image.pe
    if pe is None or getattr(pe, "OPTIONAL_HEADER", None) is None:
        return
    yield from _structure(pe.DOS_HEADER, "DOS", {})
    yield from _stub(image, pe)
    signature = pe.DOS_HEADER.e_lfanew
    yield HeaderField(signature, 4, "PE signature", "PE\\0\\0")
    meanings = _MEANINGS
    if image.headers and is_reproducible(image.data, image.headers):
        meanings = _MEANINGS | {"TimeDateStamp": lambda _: "a hash: the build is reproducible"}
    yield from _structure(pe.FILE_HEADER, "COFF", meanings)
    yield from _structure(pe.OPTIONAL_HEADER, "Optional", _MEANINGS)
    for index, entry in enumerate(pe.OPTIONAL_HEADER.DATA_DIRECTORY):
        name = DIRECTORIES[index] if index < len(DIRECTORIES) else f"{index}"
        place = f"at 0x{entry.VirtualAddress:x}, 0x{entry.Size:x} bytes"
        yield HeaderField(
            entry.get_file_offset(), 8, f"Directory {name}", place if entry.VirtualAddress else "0"
        )
    for index, section in enumerate(pe.sections[:MAX_SECTION_ROWS], 1):
        name = decode_name(section.Name) or "(unnamed)"
        yield HeaderField(
            section.get_file_offset(), section.sizeof(), f"Section {index}", _row(section, name)
        )


def _row(section: Any, name: str) -> str:
    flags = "".join(
        letter if section.Characteristics & bit else "-"
        for letter, bit in (("r", 0x40000000), ("w", 0x80000000), ("x", 0x20000000))
    )
    return (
        f"{name} {flags}, 0x{section.SizeOfRawData:x} bytes at 0x{section.PointerToRawData:x}, "
        f"mapped 0x{section.Misc_VirtualSize:x} at 0x{section.VirtualAddress:x}"
    )


def _structure(structure: Any, prefix: str, meanings: dict[str, Any]) -> Iterator[HeaderField]:
    """The fields of a structure of pefile; of a union only the first name."""
    offsets = structure.__field_offsets__
    names = [group[0] for group in structure.__keys__]
    ends = [*(offsets[name] for name in names[1:]), structure.sizeof()]
    base = structure.get_file_offset()
    for name, stop in zip(names, ends, strict=True):
        value = getattr(structure, name)
        if isinstance(value, bytes):
            text = value.hex() if any(value) else "0"
        else:
            meaning = meanings[name](value) if name in meanings else ""
            text = f"0x{value:x}" + (f" ({meaning})" if meaning else "")
        yield HeaderField(base + offsets[name], stop - offsets[name], f"{prefix} {name}", text)


def _stub(image: Image, pe: Any) -> Iterator[HeaderField]:
    """The DOS program, and the list of tools from Microsoft's linker behind it."""
    end = min(pe.DOS_HEADER.e_lfanew, len(image.data))
    rich = pe.parse_rich_header()
    at = image.data.find(b"Rich", 0x80, end) if rich else -1
    stub_end = 0x80 if at >= 0 else end
    if stub_end > _STUB:
        yield HeaderField(_STUB, stub_end - _STUB, "DOS stub", f"{stub_end - _STUB} bytes")
    if rich and at >= 0:
        pairs = list(zip(rich["values"][::2], rich["values"][1::2], strict=False))
        tools = [f"{key >> 16}.{key & 0xFFFF} ×{count}" for key, count in pairs[:MAX_RICH]]
        more = f" and {len(pairs) - MAX_RICH} more" if len(pairs) > MAX_RICH else ""
        yield HeaderField(0x80, at + 8 - 0x80, "Rich header", ", ".join(tools) + more)


def _named(table: str, beginning: str) -> Any:
    """The name of a value in one of pefile's tables, without their common prefix."""

    def name(value: int) -> str:
        import pefile

        found = str(getattr(pefile, table).get(value) or "")
        return found.removeprefix(beginning).lower()

    return name


def _flags(table: str, beginning: str) -> Any:
    def names(value: int) -> str:
        import pefile

        known = getattr(pefile, table)
        found = [
            name.removeprefix(beginning).lower()
            for name, bit in known
            if isinstance(bit, int) and bit and value & bit == bit
        ]
        return ", ".join(found[:MAX_FLAGS])

    return names


def _time(value: int) -> str:
    if not value:
        return ""
    return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")


_MEANINGS: dict[str, Callable[[int], str]] = {
    "Machine": _named("MACHINE_TYPE", "IMAGE_FILE_MACHINE_"),
    "Subsystem": _named("SUBSYSTEM_TYPE", "IMAGE_SUBSYSTEM_"),
    "TimeDateStamp": _time,
    "Magic": lambda value: {0x10B: "pe32", 0x20B: "pe32+"}.get(value, ""),
    "Characteristics": _flags("image_characteristics", "IMAGE_FILE_"),
    "DllCharacteristics": _flags("dll_characteristics", "IMAGE_DLLCHARACTERISTICS_"),
}
