"""Reads imports and exports: names, their address slots, and the place of each.

Not by pefile or LIEF: lookups are by file offset, and a table that points to itself must cost no
more than another.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

from maltriage.probe.inspect.image import Image
from maltriage.probe.inspect.strings import ELLIPSIS
from maltriage.sample.findings import ImportedNames
from maltriage.sample.pe import decode_name

MAX_DLLS = 512
MAX_IMPORTS = 8192
"""Functions read of all DLLs together."""
MAX_EXPORTS = 8192
MAX_NAME = 256
"""Bytes of a name."""
LISTED_DLLS = 16
LISTED_NAMES = 32
"""DLLs listed of a range, functions listed of each, and exports."""
_DESCRIPTOR, _DELAYED = 20, 32
_EXPORT_DIRECTORY = 40


@dataclass(frozen=True)
class Entry:
    """An imported or exported function; `places` are the file ranges that describe it."""

    dll: str
    name: str
    places: tuple[tuple[int, int], ...]
    rva: int | None = None
    """For an import the RVA of its address slot, for an export that of its code."""

    def touches(self, start: int, end: int) -> bool:
        return any(low < end and start < high for low, high in self.places)


@dataclass
class Table:
    """The entries of a table; for imports also the places that describe each DLL."""

    entries: list[Entry] = field(default_factory=list)
    heads: list[Entry] = field(default_factory=list)

    def by_rva(self) -> dict[int, Entry]:
        return {entry.rva: entry for entry in self.entries if entry.rva is not None}

    def places(self, start: int, end: int) -> list[tuple[int, int]]:
        """The places of entries or DLLs that share a byte with a range, in file order."""
        return sorted(
            (low, high)
            for entry in (*self.entries, *self.heads)
            for low, high in entry.places
            if low < end and start < high
        )

    def covered(self, start: int, end: int) -> int:
        """Bytes of [start, end) that describe an entry or a DLL."""
        total, at = 0, start
        for low, high in self.places(start, end):
            total += max(0, min(high, end) - max(low, at))
            at = max(at, min(high, end))
        return total


class Tables:
    """The tables of one image, each read where it is first asked for."""

    def __init__(self, image: Image) -> None:
        self._image = image

    @cached_property
    def imports(self) -> Table:
        return imports(self._image)

    @cached_property
    def exports(self) -> Table:
        return exports(self._image)


def imports(image: Image) -> Table:
    """The import table and the one of delayed imports."""
    table = Table()
    _descriptors(image, table, "import", _DESCRIPTOR)
    _descriptors(image, table, "delay_import", _DELAYED)
    return table


def _descriptors(image: Image, table: Table, name: str, size: int) -> None:
    place = image.directory(name)
    if place is None:
        return
    at = place[0]
    for _ in range(MAX_DLLS):
        raw = image.data[at : at + size]
        if len(raw) < size or len(table.entries) >= MAX_IMPORTS:
            return
        if size == _DESCRIPTOR:
            names, _, _, dll, addresses = struct.unpack("<5I", raw)
        else:
            relative, dll, _, addresses, names = struct.unpack_from("<5I", raw)
        if not dll:  # where the loader ends, too
            return
        if size == _DELAYED and not relative & 1 and dll >= (base := image.base):
            # addresses, as linkers of the nineties wrote them
            dll, addresses, names = dll - base, addresses - base, names - base
        title, head = _text(image, dll)
        places = ((at, at + size), *([head] if head else []))
        table.heads.append(Entry(title, "", places))
        _thunks(image, table, title, names or addresses, addresses)
        at += size


def _thunks(image: Image, table: Table, dll: str, names: int, addresses: int) -> None:
    """Functions of one DLL: names from the table at RVA `names`, called through `addresses`."""
    pointer = image.pointer
    by_ordinal = 1 << (8 * pointer - 1)
    for index in range(MAX_IMPORTS - len(table.entries)):
        at = image.offset(names + index * pointer)
        if at is None:
            return
        raw = image.data[at : at + pointer]
        value = int.from_bytes(raw, "little")
        if len(raw) < pointer or not value:
            return
        rva = addresses + index * pointer
        places = [(at, at + pointer)]
        slot = image.offset(rva)
        if slot is not None and slot != at:
            places.append((slot, slot + pointer))
        if value & by_ordinal:
            name = f"#{value & 0xFFFF}"
        else:
            name, place = _text(image, value + 2)
            if place is None:
                continue  # bound, or not a name: nothing to show
            places.append((place[0] - 2, place[1]))
        table.entries.append(Entry(dll, name, tuple(places), rva))


def exports(image: Image) -> Table:
    """The export table: functions with a name, and those that have an ordinal only."""
    table = Table()
    place = image.directory("export")
    if place is None or place[0] + _EXPORT_DIRECTORY > len(image.data):
        return table
    low, high = image.headers.directories["export"] if image.headers else (0, 0)
    high += low
    fields = struct.unpack_from("<10I", image.data, place[0])
    title, head = _text(image, fields[3])
    spot = (place[0], place[0] + _EXPORT_DIRECTORY)
    table.heads.append(Entry(title, "", (spot, *([head] if head else []))))
    first, functions, count = fields[4], fields[5:7], fields[6]
    addresses = _numbers(image, fields[7], functions[0], 4)
    names = _numbers(image, fields[8], count, 4)
    ordinals = _numbers(image, fields[9], count, 2)
    named = set()
    for (name_rva, name_at), (ordinal, ordinal_at) in zip(names, ordinals, strict=False):
        if ordinal >= len(addresses):
            continue
        named.add(ordinal)
        name, spelled = _text(image, name_rva)
        rva, at = addresses[ordinal]
        places = [(at, at + 4), (name_at, name_at + 4), (ordinal_at, ordinal_at + 2)]
        if spelled:
            places.append(spelled)
        forwarded = low <= rva < high  # the name of another DLL's function, not code
        if forwarded:
            name = f"{name} -> {_text(image, rva)[0]}"
        table.entries.append(Entry(title, name, tuple(places), None if forwarded else rva))
    for ordinal, (rva, at) in enumerate(addresses):
        if rva and ordinal not in named:
            name, forwarded = f"#{first + ordinal}", low <= rva < high
            if forwarded:
                name = f"{name} -> {_text(image, rva)[0]}"
            entry = Entry(title, name, ((at, at + 4),), None if forwarded else rva)
            table.entries.append(entry)
    return table


def _numbers(image: Image, rva: int, count: int, size: int) -> list[tuple[int, int]]:
    """(value, file offset) of an array in the file, up to the file's end."""
    start = image.offset(rva) if rva else None
    if start is None:
        return []
    count = min(count, MAX_EXPORTS, (len(image.data) - start) // size)
    values = struct.unpack_from(f"<{count}{'I' if size == 4 else 'H'}", image.data, start)
    return [(value, start + i * size) for i, value in enumerate(values)]


def _text(image: Image, rva: int) -> tuple[str, tuple[int, int] | None]:
    """A zero-terminated name, and its file range with the zero; None where it has no bytes."""
    start = image.offset(rva) if rva > 0 else None
    if start is None:
        return "", None
    raw = image.data[start : start + MAX_NAME + 1].split(b"\0", 1)[0]
    cut = ELLIPSIS if len(raw) > MAX_NAME else ""
    raw = raw[:MAX_NAME]
    return decode_name(raw) + cut, (start, min(start + len(raw) + 1, len(image.data)))


def imported_in(table: Table, start: int, end: int) -> tuple[list[ImportedNames], int]:
    """The imports in a range, a DLL a row, those with functions there first; and how many more
    DLLs there are."""
    found: dict[str, dict[str, None]] = {}
    for head in table.heads:
        if head.touches(start, end):
            found.setdefault(head.dll, {})
    for entry in table.entries:
        if entry.touches(start, end):
            found.setdefault(entry.dll, {})[entry.name] = None
    ordered = sorted(found.items(), key=lambda item: not item[1])
    rows = [
        ImportedNames(dll, list(names)[:LISTED_NAMES], max(0, len(names) - LISTED_NAMES))
        for dll, names in ordered[:LISTED_DLLS]
    ]
    return rows, len(found) - len(rows)


def exported_in(table: Table, start: int, end: int) -> tuple[list[str], int]:
    """Names of the exports partly or wholly in a range, and how many more there are."""
    names = dict.fromkeys(entry.name for entry in table.entries if entry.touches(start, end))
    return list(names)[:LISTED_NAMES], max(0, len(names) - LISTED_NAMES)
