"""What reading a program's tables would cost, found before a parser reads them.

Tables may share their parts: a thousand import descriptors with one array of thunks are a thousand
copies of it in LIEF, and a thousand sections may have the same bytes. A few kilobytes could so take
a worker all of its time or memory, and the file its verdict.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

import numpy as np

MAX_IMPORTS = 1 << 16
"""Imported functions beyond which imports are not read. LIEF takes about 1 us and 400 bytes for
each."""
MAX_LIBRARIES = 4096
"""Libraries beyond which imports are not read."""
MAX_NAMES = 64 << 20
"""Bytes of the names of imported functions beyond which imports are not read."""
_MANY = 1024
"""Functions whose names are not measured: no name is longer than `_LONGEST`."""
_LONGEST = 1 << 16
MAX_DEBUG = 64
"""Entries of the debug directory beyond which none is read."""
MAX_COPIED = 4
"""Sections with more bytes together than this many times the file are not copied."""
_COPIED_FROM = 16 << 20
"""Bytes that may be copied from any file."""

_SECTION = 40
_DESCRIPTOR, _DELAYED = struct.Struct("<5I"), struct.Struct("<8I")
_IMPORT, _DEBUG, _DELAY_IMPORT = 1, 6, 13
_DEBUG_BYTES = 28
_TRIES = 8
"""Searches for the end of an array, before it is read as a whole."""

MAX_PLACES = 8
"""Sections over one RVA, and places of it in the file, beyond which tables are not looked for."""


class Ranges:
    """Where sections are mapped, and where they lie in the file.

    Args:
        rows: RVA, virtual size, size in the file and offset of each.
        alignment: of offsets, as the header has it.
    """

    def __init__(self, rows: Iterable[tuple[int, int, int, int]], alignment: int = 0) -> None:
        self.rows = sorted(rows)
        self._starts = [start for start, *_ in self.rows]
        ends = (start + max(virtual, raw) for start, virtual, raw, _ in self.rows)
        self._ends = list(accumulate(ends, max))
        self._offsets = [_rounded(at, alignment) for *_, at in self.rows]

    def places(self, rva: int) -> list[int]:
        """The offsets at which parsers look for an RVA, each once, one more than `MAX_PLACES` at
        most.

        They differ in which of two sizes a section has, in which of two sections over an RVA they
        take, and in how they round an offset. What no section holds is an offset to them.
        """
        last = bisect_right(self._starts, rva) - 1
        if last < 0 or self._ends[last] <= rva:
            return [rva]
        if last == 0 or self._ends[last - 1] <= rva:
            within = rva - self._starts[last]
            return [within + at for at in self._offsets[last]]
        found = set[int]()
        for row in range(last, -1, -1):
            if self._ends[row] <= rva:
                break
            if last - row > MAX_PLACES:
                return list(range(MAX_PLACES + 1))
            start, virtual, raw, _ = self.rows[row]
            if rva < start + max(virtual, raw):
                found.update(rva - start + at for at in self._offsets[row])
        return sorted(found)[: MAX_PLACES + 1]


def _rounded(at: int, alignment: int) -> list[int]:
    """An offset as it is, as the loader rounds it, and as LIEF does."""
    down = at & ~0x1FF if alignment >= 0x200 else at
    up = -(-at // alignment) * alignment if alignment else at
    return [at] if down == up else sorted({at, down, up})


def section_ranges(data: bytes, pe: int, most: int) -> Ranges:
    """Those of the first `most` sections."""
    count, optional = struct.unpack_from("<H12xH", data, pe + 6)
    (alignment,) = struct.unpack_from("<I", data, pe + 24 + 36)
    start = pe + 24 + optional
    rows = data[start : start + _SECTION * min(count, most)]
    rows = rows[: len(rows) - len(rows) % _SECTION]
    found = struct.iter_unpack("<8xIIII16x", rows)
    return Ranges(((rva, virtual, raw, at) for virtual, rva, raw, at in found), alignment)


def copies_too_much(data: bytes, sections: Ranges) -> bool:
    """Whether the sections have many times the bytes of the file together."""
    held = sum(min(raw, max(0, len(data) - at)) for _, _, raw, at in sections.rows)
    return held > max(_COPIED_FROM, MAX_COPIED * len(data))


def has_too_many_imports(data: bytes, pe: int, sections: Ranges) -> bool:
    """Whether imports, delayed ones too, exceed one of the limits above."""
    (magic,) = struct.unpack_from("<H", data, pe + 24)
    wide = magic == 0x20B
    directories = pe + 24 + (112 if wide else 96)
    for number, of in ((_IMPORT, _descriptors), (_DELAY_IMPORT, _delayed)):
        at = directories + 8 * number
        if at + 8 > len(data):
            return False
        (rva,) = struct.unpack_from("<I", data, at)
        if not rva:
            continue
        places = sections.places(rva)
        thunks = _Thunks(data, sections, 8 if wide else 4)
        if len(places) > MAX_PLACES or any(thunks.too_many(of(data, place)) for place in places):
            return True
    return False


def has_too_many_debug(data: bytes, pe: int) -> bool:
    """Whether the debug directory has more than `MAX_DEBUG` entries, which LIEF takes the data of
    each for, though they may share it."""
    (magic,) = struct.unpack_from("<H", data, pe + 24)
    at = pe + 24 + (112 if magic == 0x20B else 96) + 8 * _DEBUG
    if at + 8 > len(data):
        return False
    rva, size = struct.unpack_from("<II", data, at)
    return bool(rva) and size > MAX_DEBUG * _DEBUG_BYTES


class _Thunks:
    """The arrays of thunks of a file, each measured once."""

    def __init__(self, data: bytes, sections: Ranges, width: int) -> None:
        self._data, self._sections, self._width = data, sections, width
        self._zero = bytes(width)
        self._counts: dict[int, int] = {}
        self._at: dict[int, int] = {}
        self._bytes: dict[int, int] = {}

    def too_many(self, descriptors: Iterator[tuple[int, int]]) -> bool:
        """Whether the functions of libraries exceed one of the limits above."""
        functions = names = 0
        for library, pair in enumerate(descriptors):
            functions += max(self.count(table) for table in pair)
            if library >= MAX_LIBRARIES or functions > MAX_IMPORTS:
                return True
            if functions > _MANY:
                names += max(self.name_bytes(table) for table in pair)
            if names > MAX_NAMES:
                return True
        return False

    def count(self, rva: int) -> int:
        """Number of thunks from an RVA to the first that is zero, at most `MAX_IMPORTS` from each
        place of it."""
        if rva not in self._counts:
            places = self._sections.places(rva) if rva else []
            found = max(((self._measured(at), at) for at in places), default=(0, 0))
            self._counts[rva], self._at[rva] = found
            if len(places) > MAX_PLACES:
                self._counts[rva] = MAX_IMPORTS + 1
        return self._counts[rva]

    def _measured(self, offset: int) -> int:
        data, width = self._data, self._width
        end = min(len(data), offset + MAX_IMPORTS * width)
        at = offset
        for _ in range(_TRIES):
            found = data.find(self._zero, at, end + width)
            if found < 0:
                return max(0, end - offset) // width
            at = found + (offset - found) % width  # zeros may begin in the thunk before
            if data[at : at + width] == self._zero:
                return (at - offset) // width
        rest = np.frombuffer(data, f"<u{width}", max(0, end - at) // width, min(at, len(data)))
        zeros = np.flatnonzero(rest == 0)
        return (at - offset) // width + (int(zeros[0]) if len(zeros) else len(rest))

    def name_bytes(self, rva: int) -> int:
        """Bytes of the names that the thunks at an RVA point to."""
        if rva not in self._bytes:
            count = self.count(rva)
            offset = self._at[rva] if count else 0
            thunks = np.frombuffer(self._data, f"<u{self._width}", count, offset)
            by_name = thunks[thunks < 1 << (8 * self._width - 1)]
            values, counts = np.unique(by_name, return_counts=True)
            self._bytes[rva] = sum(
                count * self._length(value)
                for value, count in zip(values.tolist(), counts.tolist(), strict=True)
            )
        return self._bytes[rva]

    def _length(self, rva: int) -> int:
        return max(self._text(place) for place in self._sections.places(rva))

    def _text(self, offset: int) -> int:
        if offset >= len(self._data):
            return 0
        end = self._data.find(b"\0", offset + 2, offset + 2 + _LONGEST)
        return _LONGEST if end < 0 else end - offset


def _descriptors(data: bytes, offset: int) -> Iterator[tuple[int, int]]:
    """The two thunk arrays of each import descriptor, as RVAs, up to an empty one."""
    while offset + _DESCRIPTOR.size <= len(data):
        names, _, _, library, addresses = _DESCRIPTOR.unpack_from(data, offset)
        if not (names or addresses or library):
            return
        yield names, addresses
        offset += _DESCRIPTOR.size


def _delayed(data: bytes, offset: int) -> Iterator[tuple[int, int]]:
    """As `_descriptors`, of delayed imports."""
    while offset + _DELAYED.size <= len(data):
        _, library, _, addresses, names, *_ = _DELAYED.unpack_from(data, offset)
        if not (names or addresses or library):
            return
        yield names, addresses
        offset += _DELAYED.size
