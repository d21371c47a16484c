from __future__ import annotations

import struct

import pytest
from hostile.make import Pe, sample
from hypothesis import given
from hypothesis import strategies as st

from maltriage.probe.inspect import header
from maltriage.probe.inspect.image import Image


def by_name(data: bytes) -> dict[str, tuple[int, int, str]]:
    fields = header.fields(Image(data), 0, len(data))
    return {field.name: (field.offset, field.size, field.value) for field in fields}


@pytest.mark.parametrize("name", ["console-x86.exe", "console-x64.exe", "dotnet.exe"])
def test_fields_are_where_the_format_has_them(name: str) -> None:
    pe, found = Pe(sample(name)), by_name(sample(name))
    assert found["COFF Machine"][:2] == (pe.pe + 4, 2)
    assert found["Optional AddressOfEntryPoint"][:2] == (pe.pe + 24 + 16, 4)
    entry = struct.unpack_from("<I", pe.data, pe.pe + 40)[0]
    assert found["Optional AddressOfEntryPoint"][2] == f"0x{entry:x}"
    wide = name == "console-x64.exe"
    assert found["Optional ImageBase"][1] == (8 if wide else 4)
    assert found["Optional Magic"][2] == ("0x20b (pe32+)" if wide else "0x10b (pe32)")
    assert found["Optional Subsystem"][2] == "0x3 (windows_cui)"
    assert found["DOS stub"][0] == 64
    assert found["Section 1"][0] == pe.section(0)
    assert found["Section 1"][2].startswith(".text r-x, 0x")
    place = found["Directory import"]
    assert place[:2] == (pe.pe + 24 + (112 if wide else 96) + 8, 8)


@pytest.mark.parametrize("name", ["console-x86.exe", "library-x64.dll"])
def test_fields_do_not_overlap_and_cover_the_headers(name: str) -> None:
    """Every byte from the start to the end of the section table is in one field."""
    pe = Pe(sample(name))
    end = pe.section(pe.count)
    fields = [f for f in header.fields(Image(pe.bytes()), 0, end) if f.offset < end]
    at = 0
    for field in fields:
        assert field.offset == at
        at = field.offset + field.size
    assert at == end


def test_a_range_has_the_fields_that_it_touches() -> None:
    pe = Pe(sample("console-x86.exe"))
    names = [f.name for f in header.fields(Image(pe.bytes()), pe.pe + 5, pe.pe + 7)]
    assert names == ["COFF Machine", "COFF NumberOfSections"]
    assert header.fields(Image(pe.bytes()), pe.pe + 5, pe.pe + 5) == []


def test_values_have_meanings() -> None:
    pe = Pe(sample("console-x86.exe"))
    pe.put("<I", pe.pe + 8, 1_600_000_000)
    found = by_name(pe.put("8s", pe.section(0), b"\x1b]52;c;").bytes())
    assert found["COFF TimeDateStamp"][2] == "0x5f5e1000 (2020-09-13T12:26:40Z)"
    assert found["COFF Machine"][2] == "0x14c (i386)"
    assert found["Section 1"][2].startswith("\x1b]52;c; ")  # whoever shows it cleans it
    assert "executable_image" in found["COFF Characteristics"][2]


def test_the_time_of_a_reproducible_build_is_no_date() -> None:
    """The debug directory says so by an entry of type 16."""
    pe = Pe(sample("debug-x86.exe"))
    pe.put("<I", pe.pe + 8, 1_600_000_000)
    assert "(2020" in by_name(pe.bytes())["COFF TimeDateStamp"][2]
    headers = Image(pe.bytes()).headers
    assert headers is not None
    at = headers.offset_of(headers.directories["debug"][0])
    assert at is not None
    found = by_name(pe.put("<I", at + 12, 16).bytes())
    assert found["COFF TimeDateStamp"][2].endswith("(a hash: the build is reproducible)")


def test_the_rich_header_names_the_tools() -> None:
    pe = Pe(sample("console-x86.exe"))
    key = 0x1234_5678
    words = [0x536E6144 ^ key, key, key, key, (0x0103 << 16 | 27412) ^ key, 3 ^ key]
    rich = struct.pack("<6I", *words) + b"Rich" + struct.pack("<I", key)
    grown = 0x80 + len(rich)
    data = pe.data[:0x80] + rich + pe.data[pe.pe :]
    struct.pack_into("<I", data, 60, grown)
    found = by_name(bytes(data))
    assert found["Rich header"] == (0x80, len(rich), "259.27412 ×3")
    assert found["DOS stub"][:2] == (64, 64)
    assert found["PE signature"][0] == grown


@given(st.binary(min_size=1, max_size=400), st.integers(0, 600), st.integers(0, 1200))
def test_any_bytes_are_read(junk: bytes, at: int, length: int) -> None:
    pe = Pe(sample("console-x86.exe"))
    pe.data[at + 2 : at + 2 + len(junk)] = junk
    fields = header.fields(Image(pe.bytes()), at, at + length)
    assert len(fields) <= header.MAX_FIELDS
    for field in fields:
        assert field.size > 0
        assert len(field.value) < 2048
