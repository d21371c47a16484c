"""Puts tables of a program back where its linker had them."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from maltriage.source.upx.memory import (
    EXPORT,
    IMPORT,
    RELOCATION,
    RESOURCE,
    Headers,
    Image,
    Lists,
    aligned,
)

MAX_IMPORTS = MAX_EXPORTS = 1 << 16
MAX_RELOCATIONS, MAX_RESOURCES = 1 << 22, 1 << 14
"""Most of each that are put back: lists without end are made in a few bytes."""
_PAGE = 0x1000
_HIGH = 1 << 31


def imports(image: Image, inner: Headers, outer: Headers, kept: Image, lists: Lists) -> None:
    """Write the names and numbers of imports where the linker had them.

    Args:
        kept: the section of the packed program that has its own imports, and names of libraries.
    """
    table, size = inner.directory(IMPORT)
    if not table or size <= 20:
        return
    at, names = lists.number(), lists.number()
    wide, (packed_table, _) = 8 if inner.wide else 4, outer.directory(IMPORT)
    libraries = list(_libraries(lists.image, at, kept, packed_table, wide))
    lengths = sum(len(library.name) for library in libraries)
    name_at = first = names + aligned(lengths, 2)
    for row, library in enumerate(libraries):
        place = table + 20 * row
        thunk = library.table + image.base
        if names:
            image.put(names, library.name)
            image.put_number(place + 12, names)
            names += len(library.name)
        else:  # the pointers to names are in the image
            image.put(image.number(place + 12), library.name)
        image.put_number(place + 16, thunk)
        for function in library.functions:
            if isinstance(function, int):
                image.put_number(thunk, function, wide)
            elif names:
                name_at -= (name_at - first) % 2
                image.put(name_at + 2, function)
                image.put_number(thunk, name_at, wide)
                name_at += 2 + len(function)
            else:
                image.put(image.number(thunk, wide) + 2, function)
            thunk += wide
        image.put_number(thunk, 0, wide)


@dataclass(frozen=True)
class _Library:
    """Of imports: a library, the place of its table in the image, and its functions: by name, or
    what stands in the table for one by its number."""

    name: bytes
    table: int
    functions: list[bytes | int]


def _libraries(lists: Image, at: int, kept: Image, table: int, wide: int) -> Iterator[_Library]:
    count = 0
    while (where := lists.number(at)) and count <= MAX_IMPORTS:
        name, place = kept.text(table + where), lists.number(at + 4)
        functions: list[bytes | int] = []
        at += 8
        while kind := lists.number(at, 1):
            if kind == 1:
                found = lists.text(at + 1)
                functions.append(found)
                at += 1 + len(found)
            elif kind == 0xFF:
                functions.append(lists.number(at + 1, 2) | 1 << 8 * wide - 1)
                at += 3
            else:
                functions.append(kept.number(table + lists.number(at + 1), wide))
                at += 5
            if count + len(functions) > MAX_IMPORTS:
                raise ValueError("imports without end")
        yield _Library(name, place, functions)
        at += 1
        count += 1 + len(functions)


def relocations(image: Image, inner: Headers, lists: Lists) -> None:
    """Write addresses in the image, and the list of where they are, as they were."""
    table, size = inner.directory(RELOCATION)
    if not table or not size or inner.stripped:
        return
    if size == 8:
        image.put(table, struct.pack("<II", 0, 8))
        return
    at, big = lists.number(), lists.number(1)
    places, end = _places(lists.image, at)
    wide, kind = (8, 10) if inner.wide else (4, 3)
    for place in places:
        address = int.from_bytes(lists.image.take(place, wide), "big")
        image.put_number(image.base + place, address + inner.base + image.base, wide)
    found = [(image.base + place, kind) for place in places]
    if big & 6:
        low, end = _words(lists.image, end)
        found += [(image.base + place, 2 if big & 4 else 1) for place in low]
        if big & 6 == 6:
            high, _ = _words(lists.image, end + 4)
            found += [(image.base + place, 1) for place in high]
    made = bytearray()
    for page, group in itertools.groupby(sorted(found), lambda item: item[0] // _PAGE):
        entries = [number << 12 | place % _PAGE for place, number in group]
        entries += [0] * (len(entries) % 2)
        made += struct.pack(f"<II{len(entries)}H", page * _PAGE, 8 + 2 * len(entries), *entries)
    image.put(table, bytes(made))
    inner.set_directory(RELOCATION, table, len(made))


def _places(lists: Image, at: int) -> tuple[list[int], int]:
    """Where addresses are in the image, each told by its distance from the one before, and the end
    of that list."""
    found, place = [], -4
    while step := lists.number(at, 1):
        at += 1
        if step >= 0xF0:
            step = (step & 15) << 16 | lists.number(at, 2)
            at += 2
            if not step:
                step = lists.number(at)
                at += 4
        place += step
        found.append(place)
        if len(found) > MAX_RELOCATIONS:
            raise ValueError("relocations without end")
    return found, at + 1


def _words(lists: Image, at: int) -> tuple[list[int], int]:
    found = []
    while number := lists.number(at):
        found.append(number)
        at += 4
        if len(found) > MAX_RELOCATIONS:
            raise ValueError("relocations without end")
    return found, at


def exports(image: Image, inner: Headers, outer: Headers, kept: Image) -> None:
    """Move the table of exports back, which UPX leaves as it is but for its place."""
    (new, size), (old, packed_size) = inner.directory(EXPORT), outer.directory(EXPORT)
    if not size or new == old:
        return
    moved = Image(bytearray(kept.take(old, packed_size)), old)

    def move(address: int) -> int:
        place = moved.number(address)
        moved.put_number(address, place + new - old)
        return place

    functions, names = moved.number(old + 20), moved.number(old + 24)
    if max(functions, names) > MAX_EXPORTS:
        raise ValueError("exports without end")
    move(old + 12)
    table, named, _ = (move(old + field) for field in (28, 32, 36))
    for number in range(functions):
        if old <= moved.number(table + 4 * number) < old + packed_size:  # it is another library's
            move(table + 4 * number)
    for number in range(names):
        move(named + 4 * number)
    image.put(new, bytes(moved.raw))


def resources(image: Image, inner: Headers, outer: Headers, kept: Image) -> None:
    """Put resources that were not packed where they were, and their tree."""
    (new, size), (old, packed_size) = inner.directory(RESOURCE), outer.directory(RESOURCE)
    if not size or not packed_size:
        return
    tree, end = bytearray(kept.take(old, len(kept.raw) - (old - kept.base))), 16
    leaves: list[int] = []
    todo = [(0, 0)]
    while todo:
        at, depth = todo.pop()
        named, numbered = struct.unpack_from("<HH", tree, at + 12)
        count = named + numbered
        end = max(end, at + 16 + 8 * count)
        if depth > 2 or end > len(tree) or len(todo) + len(leaves) > MAX_RESOURCES:
            raise ValueError("a tree of resources without end")
        for entry in range(at + 16, at + 16 + 8 * count, 8):
            name, below = struct.unpack_from("<II", tree, entry)
            if name >> 31:
                (length,) = struct.unpack_from("<H", tree, name & ~_HIGH)
                end = max(end, (name & ~_HIGH) + 2 + 2 * length)
            if below >> 31:
                todo.append((below & ~_HIGH, depth + 1))
            else:
                leaves.append(below)
                end = max(end, below + 16)
    left = len(image.raw)
    for leaf in leaves:
        address, length = struct.unpack_from("<II", tree, leaf)
        if address > old:
            left -= length
            if left < 0:
                raise ValueError("resources without end")
            place = kept.number(address - 4)
            image.put(place, kept.take(address, aligned(length, 4)))
            struct.pack_into("<I", tree, leaf, place)
    if not image.number(new + 12):
        image.put(new, bytes(tree[:end]))
