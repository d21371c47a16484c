"""Tables that share their parts: what they would cost is known before a parser reads them."""

from __future__ import annotations

import os
import struct
import time

import pytest
from hostile.corpus import directory, extended
from hostile.make import Pe, sample
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample import bounds
from maltriage.sample.bounds import (
    MAX_DEBUG,
    copies_too_much,
    has_too_many_debug,
    has_too_many_imports,
    section_ranges,
)
from maltriage.sample.identity import identify
from maltriage.sample.layout import make_layout
from maltriage.sample.notices import observe
from maltriage.sample.pe import MAX_SECTIONS, pe_offset, read_headers

SECONDS = 5.0
"""Far above what reading takes, and far below what LIEF would take."""


def sharing(
    libraries: int, thunks: int, *, delayed: bool = False, name: int = 0, wide: bool = False
) -> bytes:
    """A program whose import descriptors share one array of thunks.

    Args:
        delayed: of the delayed imports instead.
        name: bytes of the one name that all thunks point to; 0: they are ordinals.
    """
    size, width = (32 if delayed else 20), (8 if wide else 4)
    pe = Pe(sample("library-x64.dll" if wide else "console-x86.exe"))
    table = size * (libraries + 1)
    array, text = table + 16, table + 16 + width * (thunks + 1)
    pe, at, rva = extended(pe, bytes(text + 2 + name + 1))
    for row in range(libraries):
        if delayed:
            fields = (1, rva + table, 0, rva + array, rva + array, 0, 0, 0)
        else:
            fields = (rva + array, 0, 0, rva + table, rva + array)
        struct.pack_into(f"<{len(fields)}I", pe.data, at + size * row, *fields)
    pe.data[at + table : at + table + 6] = b"a.dll\0"
    value = rva + text if name else (1 << (8 * width - 1)) | 1
    entries = value.to_bytes(width, "little") * thunks
    pe.data[at + array : at + array + len(entries)] = entries
    pe.data[at + text + 2 : at + text + 2 + name] = b"A" * name
    pe.put("<II", directory(pe, 13 if delayed else 1)[0], rva, table)
    return pe.bytes()


def stacked(sections: int, more: int) -> bytes:
    """A program whose sections all have the same bytes, nearly all of the file."""
    pe = Pe()
    row = bytes(pe.data[pe.section(0) : pe.section(1)])
    data = pe.data[: pe.table] + row * sections + os.urandom(more)
    struct.pack_into("<H", data, pe.pe + 6, sections)
    for i in range(sections):
        place = pe.table + 40 * i + 8
        struct.pack_into("<4I", data, place, 0x1000, 0x1000 * (i + 1), len(data) - 512, 512)
    return bytes(data)


COSTLY = {
    "imports": sharing(3000, 8000),
    "imports-64": sharing(1500, 4000, wide=True),
    "delayed": sharing(2000, 4000, delayed=True),
    "names": sharing(1, 30_000, name=60_000),
    "libraries": sharing(20_000, 0),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_small_file_keeps_its_verdict(name: str) -> None:
    """LIEF took 5 s and 2.8 GB for the first."""
    data = COSTLY[name]
    assert len(data) < 600_000
    began = time.monotonic()
    headers = read_headers(data)
    assert headers is not None
    found, _ = make_layout(data, headers)
    notices = observe(data, headers, found)
    identify(data, headers)
    assert time.monotonic() - began < SECONDS
    assert headers.parser == "pefile"
    assert "import" in headers.unread
    said = [notice.text for notice in notices if notice.code == "parser-warning"]
    assert "import table is not read" in said[0]
    assert {"entry", "import"} <= set(found.anchors) or name == "delayed"


def test_sections_with_the_same_bytes() -> None:
    """LIEF copied the file for each of them."""
    data = stacked(1000, 1 << 20)
    headers = read_headers(data)
    assert headers is not None
    assert (headers.parser, len(headers.sections)) == ("pefile", 1000)
    assert copies_too_much(data, section_ranges(data, Pe(data).pe, MAX_SECTIONS))


@pytest.mark.parametrize(
    "name",
    ["console-x86.exe", "console-x64.exe", "gui-x86.exe", "library-x64.dll", "packed-x86.exe"],
)
def test_plain_programs_are_read_by_lief(name: str) -> None:
    headers = read_headers(sample(name))
    assert headers is not None
    assert (headers.parser, headers.unread) == ("lief", frozenset())


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("delayed", [False, True])
def test_the_limits_are_exact(wide: bool, delayed: bool) -> None:
    for libraries, thunks, too_many in (
        (1, bounds.MAX_IMPORTS, False),
        (2, bounds.MAX_IMPORTS // 2, False),
        (3, bounds.MAX_IMPORTS // 3 + 1, True),
        (bounds.MAX_LIBRARIES, 1, False),
        (bounds.MAX_LIBRARIES + 1, 1, True),
    ):
        data = sharing(libraries, thunks, wide=wide, delayed=delayed)
        pe = Pe(data).pe
        found = has_too_many_imports(data, pe, section_ranges(data, pe, MAX_SECTIONS))
        assert (found, libraries, thunks) == (too_many, libraries, thunks)


@pytest.mark.parametrize("hidden", ["in-memory", "over", "rounded"])
def test_tables_where_other_parsers_look(hidden: str) -> None:
    """Beyond a section's bytes in the file, under another section, at an offset that is rounded."""
    data = bytearray(COSTLY["imports"])
    pe = Pe(bytes(data))
    rows = [pe.section(number) for number in range(struct.unpack_from("<H", data, pe.pe + 6)[0])]
    last = rows[-1]
    _, rva, size, at = struct.unpack_from("<4I", data, last + 8)
    if hidden == "in-memory":
        struct.pack_into("<4I", data, last + 8, size, rva, 16, at)
    elif hidden == "over":
        struct.pack_into("<4I", data, rows[0] + 8, 0x10, rva, 0x200, 0x200)
    else:  # which LIEF rounds up again
        struct.pack_into("<4I", data, last + 8, size, rva, size, at - 0x1FF)
    ranges = section_ranges(bytes(data), pe.pe, MAX_SECTIONS)
    assert at in ranges.places(rva)
    assert has_too_many_imports(bytes(data), pe.pe, ranges)


def test_sections_over_each_other() -> None:
    many = bounds.Ranges([(0x1000, 0x100_0000, 0, 0x200 * n) for n in range(1000)], 0x200)
    assert len(many.places(0x2000)) == bounds.MAX_PLACES + 1
    one = bounds.Ranges([(0x1000, 0x10, 0x200, 0x201)], 0x200)
    assert one.places(0x1004) == [0x204, 0x205, 0x404]
    assert one.places(0x80) == [0x80]  # in the headers


@given(
    st.lists(st.sampled_from([0, 1, 0x80, 0x8000_0000, 0x0100_0000, 0x1234_5678]), max_size=40),
    st.integers(0, 7),
    st.sampled_from([4, 8]),
)
def test_thunks_are_counted_as_one_by_one(values: list[int], shift: int, width: int) -> None:
    data = bytes(shift) + b"".join(value.to_bytes(width, "little") for value in values)
    thunks = bounds._Thunks(data, bounds.Ranges([(0x1000, 0, len(data), 0)]), width)
    expected = 0
    for at in range(shift, len(data) - width + 1, width):
        if not any(data[at : at + width]):
            break
        expected += 1
    assert thunks.count(0x1000 + shift) == (expected if shift < len(data) else 0)


@given(st.binary(max_size=600), st.integers(0, 40))
def test_any_bytes(noise: bytes, at: int) -> None:
    """Headers of noise: an error of the format is the only one."""
    data = bytearray(sample("console-x86.exe")[:1024])
    pe = Pe(bytes(data)).pe
    data[pe + 6 + at : pe + 6 + at + len(noise)] = noise
    read_headers(bytes(data))


@pytest.mark.parametrize("name", ["debug-x86.exe", "console-x64.exe"])
def test_a_debug_directory_that_is_too_long_is_not_read(name: str) -> None:
    """Its entries may share the bytes that a parser takes for each of them."""
    data = bytearray(sample(name))
    pe = pe_offset(bytes(data))
    assert pe is not None
    wide = struct.unpack_from("<H", data, pe + 24) == (0x20B,)
    at = pe + 24 + (112 if wide else 96) + 8 * 6
    (rva,) = struct.unpack_from("<I", data, at)
    for entries, parser in ((MAX_DEBUG, "lief"), (MAX_DEBUG + 1, "pefile")):
        struct.pack_into("<II", data, at, rva or 0x1000, 28 * entries)
        assert has_too_many_debug(bytes(data), pe) is (parser == "pefile")
        headers = read_headers(bytes(data))
        assert headers is not None
        assert headers.parser == parser
    assert headers.unread == {"debug"}
    assert headers.warnings[0] == "Its debug directory has too many entries: it is not read."
    assert identify(bytes(data), headers).pdb_path is None
    whole = identify(sample(name), read_headers(sample(name)))
    assert identify(bytes(data), headers).imphash == whole.imphash
