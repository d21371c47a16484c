"""Imports and exports, against pefile's reading of the same files."""

from __future__ import annotations

import struct
import time

import pefile
import pytest
from hostile.make import Pe, sample
from hypothesis import given
from hypothesis import strategies as st
from probe.inspect import builds

from maltriage.probe.inspect import tables
from maltriage.probe.inspect.image import Image
from maltriage.sample.layout import make_layout
from maltriage.sample.pe import read_headers

NATIVE = ("console-x86.exe", "console-x64.exe", "gui-x86.exe", "driver-x64.sys", "dotnet.exe")


@pytest.mark.parametrize("name", NATIVE)
def test_imports_are_those_that_pefile_reads(name: str) -> None:
    data = sample(name)
    theirs = {
        (entry.dll.decode(), item.name.decode(), item.address)
        for entry in pefile.PE(data=data).DIRECTORY_ENTRY_IMPORT
        for item in entry.imports
    }
    image = Image(data)
    table = tables.imports(image)
    assert {(e.dll, e.name, image.base + (e.rva or 0)) for e in table.entries} == theirs
    for entry in table.entries:
        assert any(data[low + 2 : high - 1].decode() == entry.name for low, high in entry.places)


@pytest.mark.parametrize("relative", [0, 1])
def test_delayed_imports_end_where_the_loader_ends(relative: int) -> None:
    """At a descriptor without a name: what follows is other data."""
    pe = Pe(sample("gui-x86.exe"))
    image = Image(pe.bytes())
    own = tables.imports(image)
    offset, size = pe.raw(0)
    rva = struct.unpack_from("<I", pe.data, pe.section(0) + 12)[0]
    name, names, addresses = (offset + at for at in (0, 32, 64))
    table = offset + 96
    assert size > 400
    base = 0 if relative else image.base
    pe.data[offset : offset + 400] = bytes(400)
    pe.put("12s", name, b"DELAYED.dll").put("<H8s", offset + 300, 0, b"Function")
    pe.put("<I", names, rva + 300).put("<I", addresses, 0x1234)
    places = (rva + 0 + base, 0, rva + 64 + base, rva + 32 + base)
    pe.put("<5I", table, relative, *places)
    pe.put("64s", table + 64, b"This program cannot be run in DOS mode, says what follows it. \r\n")
    pe.put("<II", pe.pe + 24 + 96 + 8 * 13, rva + 96, 64)
    found = tables.imports(Image(pe.bytes()))
    more = {(e.dll, e.name) for e in found.entries} - {(e.dll, e.name) for e in own.entries}
    assert more == {("DELAYED.dll", "Function")}
    assert [head.dll for head in found.heads][len(own.heads) :] == ["DELAYED.dll"]


@pytest.mark.parametrize("bits", [32, 64])
def test_exports_are_those_that_pefile_reads(bits: int) -> None:
    for data in (builds.program(bits), sample("library-x64.dll")):
        symbols = pefile.PE(data=data).DIRECTORY_ENTRY_EXPORT.symbols
        table = tables.exports(Image(data))
        assert {(e.name, e.rva) for e in table.entries} == {
            (s.name.decode(), s.address) for s in symbols
        }
        assert table.entries


def test_what_a_range_covers() -> None:
    data = sample("gui-x86.exe")
    table = tables.imports(Image(data))
    at = data.index(b"MessageBoxA") if b"MessageBoxA" in data else data.index(b"EndDialog")
    ((row,), _) = tables.imported_in(table, at, at + 4)
    assert row.dll == "USER32.dll"
    assert len(row.functions) == 1
    assert tables.imported_in(table, 0, 0x200) == ([], 0)
    whole, _ = tables.imported_in(table, 0, len(data))
    assert {row.dll for row in whole} == {"KERNEL32.dll", "msvcrt.dll", "USER32.dll"}
    name = next(e for e in table.entries if e.name == "Sleep")
    for low, high in name.places:
        assert table.covered(low, high) == high - low
    assert table.covered(0, 0x200) == 0


def test_many_functions_are_counted_not_listed() -> None:
    entries = [tables.Entry("a.dll", f"f{i}", ((i, i + 1),)) for i in range(100)]
    ((row,), left) = tables.imported_in(tables.Table(entries), 0, 100)
    assert (len(row.functions), row.more) == (tables.LISTED_NAMES, 100 - tables.LISTED_NAMES)
    assert left == 0
    names, left = tables.exported_in(tables.Table(entries), 0, 100)
    assert (len(names), left) == (tables.LISTED_NAMES, 100 - tables.LISTED_NAMES)


def test_dlls_with_functions_in_a_range_come_first() -> None:
    """Those that are not listed are counted."""
    heads = [tables.Entry(f"{i}.dll", "", ((i, i + 1),)) for i in range(40)]
    entries = [tables.Entry(f"{i}.dll", "f", ((50 + i, 51 + i),)) for i in (3, 30, 39)]
    rows, left = tables.imported_in(tables.Table(entries, heads), 0, 100)
    assert [row.dll for row in rows[:4]] == ["3.dll", "30.dll", "39.dll", "0.dll"]
    assert (len(rows), left) == (tables.LISTED_DLLS, 40 - tables.LISTED_DLLS)


def test_a_name_that_is_cut_says_so() -> None:
    """What MAX_NAME bytes hold is whole."""
    pe = Pe(sample("library-x64.dll"))
    text = Image(pe.bytes()).section_at(pe.raw(0)[0])
    place = Image(pe.bytes()).directory("export")
    assert place is not None
    assert text is not None
    names = Image(pe.bytes()).offset(struct.unpack_from("<10I", pe.data, place[0])[8])
    assert names is not None
    pe.put("<I", names, text.rva)
    for length, shown in ((tables.MAX_NAME, ""), (tables.MAX_NAME + 1, "…"), (1000, "…")):
        pe.data[text.start : text.start + length + 1] = b"A" * length + b"\0"
        found = {entry.name for entry in tables.exports(Image(pe.bytes())).entries}
        assert "A" * tables.MAX_NAME + shown in found


def exporting() -> tuple[Pe, int, int, int]:
    """A library, the offsets of its export directory and of the addresses, and its RVA."""
    pe = Pe(sample("library-x64.dll"))
    image = Image(pe.bytes())
    place = image.directory("export")
    assert place is not None
    addresses = image.offset(struct.unpack_from("<10I", pe.data, place[0])[7])
    assert addresses is not None
    rva = image.headers.directories["export"][0]  # type: ignore[union-attr]
    return pe, place[0], addresses, rva


def test_a_forwarded_export_and_ordinals() -> None:
    pe, place, addresses, rva = exporting()
    fields = struct.unpack_from("<10I", pe.data, place)
    pe.put("<I", addresses, rva + 40 + 4)  # into the export section: a forwarder
    pe.put("<I", place + 24, fields[6] - 1)  # a name less
    table = tables.exports(Image(pe.bytes()))
    assert len(table.entries) == 3
    assert sum(" -> " in e.name and e.rva is None for e in table.entries) == 1
    assert sum(e.name.startswith("#") for e in table.entries) == 1


def test_tables_that_never_end_are_bounded() -> None:
    """Every descriptor names one table of 8,192 functions, and there are as many as fit."""
    pe = Pe(sample("console-x86.exe"))
    image = Image(pe.bytes())
    place = image.directory("import")
    assert place is not None
    row = bytes(pe.data[place[0] : place[0] + 20])
    tail = row * 4000
    data = bytes(pe.data[: place[0]]) + tail
    start = time.process_time()
    table = tables.imports(Image(data))
    assert time.process_time() - start < 2.0
    assert len(table.entries) <= tables.MAX_IMPORTS
    assert len(table.heads) <= tables.MAX_DLLS


@given(
    st.binary(min_size=400, max_size=1600), st.sampled_from(["console-x86.exe", "driver-x64.sys"])
)
def test_any_bytes_are_read(junk: bytes, name: str) -> None:
    """Random bytes in place of the tables: bounded, and every place is in the file."""
    pe = Pe(sample(name))
    table_at = pe.pe + 24 + (96 if name.endswith("x86.exe") else 112)
    start, _ = pe.raw(0)
    (rva,) = struct.unpack_from("<I", pe.data, pe.section(0) + 12)
    pe.data[start : start + len(junk)] = junk
    for index in (0, 1, 13):
        pe.put("<II", table_at + 8 * index, rva, 400)
    data = pe.bytes()
    image = Image(data)
    for table in (tables.imports(image), tables.exports(image)):
        assert len(table.entries) <= tables.MAX_IMPORTS
        for entry in (*table.entries, *table.heads):
            assert all(0 <= low < high <= len(data) for low, high in entry.places)
            assert len(entry.name) <= 16 * tables.MAX_NAME
        assert 0 <= table.covered(start, start + 100) <= 100


def test_a_forwarder_without_a_name_is_no_code() -> None:
    pe, place, addresses, rva = exporting()
    fields = struct.unpack_from("<10I", pe.data, place)
    pe.put("<I", place + 24, 0)  # no names
    pe.put("<I", addresses, rva + 12)  # into the export section
    pe.put("4s", place + 12, b"A.B")
    entry = next(e for e in tables.exports(Image(pe.bytes())).entries if "->" in e.name)
    assert (entry.name, entry.rva) == (f"#{fields[4]} -> A.B", None)


def test_bytes_behind_the_last_page_in_use_are_not_mapped() -> None:
    """The loader maps a section by its virtual size, to the end of a page."""
    pe = Pe()
    headers = read_headers(pe.bytes())
    assert headers is not None
    first, second = headers.sections[:2]
    inflated = second.rva + 0x1000 - first.rva
    pe.put("<I", pe.section(0) + 8, 0x54).put("<I", pe.section(0) + 16, inflated)
    headers = read_headers(pe.bytes().ljust(first.start + inflated, b"\0"))
    assert headers is not None
    assert headers.sections[0].mapped == 0x1000
    assert headers.offset_of(first.rva + 0xFFF) == first.start + 0xFFF
    assert headers.offset_of(second.rva + 4) == second.start + 4
    image = Image(pe.bytes().ljust(first.start + inflated, b"\0"))
    layout, _ = make_layout(image.data, image.headers)
    region = layout.region_at(first.start + 0x1000)
    assert region is not None
    assert (region.name, region.kind, region.rva) == ("(not mapped)", "gap", None)
    # A section that begins within the last page of the one before: as firmware has them.
    pe = Pe()
    pe.put("<I", pe.section(0) + 8, 0x54).put("<I", pe.section(1) + 12, first.rva + 0x200)
    headers = read_headers(pe.bytes())
    assert headers is not None
    assert headers.offset_of(first.rva + 0x204) == second.start + 4
    assert headers.offset_of(first.rva + 0x100) == first.start + 0x100
