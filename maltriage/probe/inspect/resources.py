"""Reads the leaves of the resource tree: type, name, language, and place of their bytes."""

from __future__ import annotations

import struct

from maltriage.probe.inspect.image import Image
from maltriage.probe.inspect.strings import ELLIPSIS
from maltriage.sample.findings import ResourceRef

MAX_ENTRIES = 8192
"""Entries of directories read in all: a tree may point to itself."""
MAX_NAME = 64
"""Characters of a name."""
_LEVELS = 3
_DIRECTORY, _ENTRY, _DATA = 16, 8, 16
_HIGH = 0x8000_0000


def leaves(image: Image) -> list[ResourceRef]:
    """Every resource whose bytes are in the file, in file order."""
    place = image.directory("resource")
    if place is None:
        return []
    found: list[ResourceRef] = []
    # Depth first, with a bound on all entries, for a tree that loops.
    left = MAX_ENTRIES
    todo: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    while todo and left > 0:
        at, path = todo.pop()
        entries = _entries(image.data, place[0], at, left)
        left -= len(entries) + 1
        for key, target in reversed(entries):
            name = _key(image.data, place[0], key, len(path))
            if target & _HIGH and len(path) < _LEVELS - 1:
                todo.append((target & ~_HIGH, (*path, name)))
            elif not target & _HIGH:
                leaf = _leaf(image, place[0] + target, (*path, name))
                if leaf is not None:
                    found.append(leaf)
    return sorted(found, key=lambda leaf: (leaf.start, leaf.end))


def _entries(data: bytes, root: int, at: int, limit: int) -> list[tuple[int, int]]:
    """(name or number, target) of the entries of a directory `at` bytes into the tree."""
    start = root + at
    if start + _DIRECTORY > len(data):
        return []
    named, numbered = struct.unpack_from("<HH", data, start + 12)
    first = start + _DIRECTORY
    count = min(named + numbered, limit, (len(data) - first) // _ENTRY)
    return [struct.unpack_from("<II", data, first + i * _ENTRY) for i in range(count)]


def _key(data: bytes, root: int, key: int, level: int) -> str:
    if key & _HIGH:
        start = root + (key & ~_HIGH)
        if start + 2 > len(data):
            return "(name outside the file)"
        (length,) = struct.unpack_from("<H", data, start)
        raw = data[start + 2 : start + 2 + 2 * min(length, MAX_NAME)]
        cut = ELLIPSIS if length > MAX_NAME else ""
        return raw.decode("utf-16le", "backslashreplace") + cut
    import pefile

    if level == 0:
        return str(pefile.RESOURCE_TYPE.get(key, f"#{key}")).removeprefix("RT_")
    if level == _LEVELS - 1:
        primary, sub = key & 0x3FF, key >> 10
        name = pefile.LANG.get(primary)
        # Not pefile's own look-up: it gives another language where it knows no such region.
        details = pefile.SUBLANG.get(sub, ()) if isinstance(name, str) else ()
        called = str(next((detail for detail in details if str(name) in detail), name or ""))
        text = called.removeprefix("SUBLANG_").removeprefix("LANG_").lower().replace("_", " ")
        return f"{text} (0x{key:x})" if text else f"0x{key:x}"
    return f"#{key}"


def _leaf(image: Image, at: int, path: tuple[str, ...]) -> ResourceRef | None:
    if at + _DATA > len(image.data):
        return None
    rva, size = struct.unpack_from("<II", image.data, at)
    start = image.offset(rva)
    if start is None or not size:
        return None
    kind, name, language = (*path, "", "", "")[:_LEVELS]
    return ResourceRef(kind, name, language, start, min(start + size, len(image.data)))
