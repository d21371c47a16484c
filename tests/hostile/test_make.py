"""The malformed files are malformed in the way their names say, and only there."""

from __future__ import annotations

import io

import pefile
import pytest
from hostile.make import CASES, ESCAPE_NAME, ESCAPE_PATH, MARKUP_NAME, Pe, byteplot, sample
from PIL import Image

from maltriage.sample.hexdump import MAX_BLOCKS, DumpError, parse_dump


def parse(name: str) -> pefile.PE:
    return pefile.PE(data=CASES[name](), fast_load=True)


def test_each_case_gives_the_same_bytes_again_and_no_two_are_equal() -> None:
    made = {name: make() for name, make in CASES.items()}
    assert made == {name: make() for name, make in CASES.items()}
    assert len(set(made.values())) == len(made)


@pytest.mark.parametrize(
    "name", ["empty", "one_byte", "mz_only", "text_as_exe", "headers_past_end", "e_lfanew_outside"]
)
def test_no_pe_by_its_headers(name: str) -> None:
    with pytest.raises(pefile.PEFormatError):
        parse(name)


def test_section_counts() -> None:
    assert parse("sections_65535").FILE_HEADER.NumberOfSections == 0xFFFF
    assert parse("no_sections").sections == []
    present = CASES["sections_65535_present"]()
    table = present.index(b".text\0\0\0")
    assert present[table::40].count(b".") == 0xFFFF


@pytest.mark.parametrize(
    ("name", "section"),
    [("section_named_markup", MARKUP_NAME), ("section_named_escape", ESCAPE_NAME)],
)
def test_section_names(name: str, section: bytes) -> None:
    assert parse(name).sections[0].Name.rstrip(b"\0") == section
    assert len(CASES[name]()) == len(sample("console-x86.exe"))


def test_pdb_path() -> None:
    pe = pefile.PE(data=CASES["pdb_path_escape"]())
    assert pe.DIRECTORY_ENTRY_DEBUG[0].entry.PdbFileName.startswith(ESCAPE_PATH)


def test_section_ranges() -> None:
    size = len(sample("console-x86.exe"))
    first, second = parse("overlapping_sections").sections[:2]
    assert first.PointerToRawData < second.PointerToRawData
    assert second.PointerToRawData < first.PointerToRawData + first.SizeOfRawData
    table = Pe(CASES["unsorted_sections"]())  # pefile sorts what it reads
    starts = [start for start, length in map(table.raw, range(table.count)) if length]
    assert starts == sorted(starts, reverse=True)
    assert len(starts) > 5
    assert parse("section_past_end").sections[-1].PointerToRawData > size
    assert parse("section_of_4gb").sections[0].SizeOfRawData == 0xFFFF_FFFF


def test_certificate_tables() -> None:
    size = len(sample("signed-x64.exe"))
    for name in ("certificate_covers_all", "certificate_from_header"):
        table = parse(name).OPTIONAL_HEADER.DATA_DIRECTORY[4]
        assert table.VirtualAddress + table.Size == size
        assert table.VirtualAddress < 512


def test_resource_loop() -> None:
    pe = pefile.PE(data=CASES["resource_loop"](), fast_load=True)
    rva = pe.OPTIONAL_HEADER.DATA_DIRECTORY[2].VirtualAddress
    entry = pe.get_data(rva + 16, 8)
    assert entry[4:] == b"\0\0\0\x80"


def test_hex_dumps() -> None:
    with pytest.raises(DumpError, match="line 3"):
        parse_dump(CASES["dump_with_a_wrong_line"]())
    assert parse_dump(CASES["dump_that_jumps"]()).rest == 16 * MAX_BLOCKS


def test_pictures() -> None:
    assert Image.open(io.BytesIO(CASES["png_rgb"]())).mode == "RGB"
    assert CASES["png_bomb"]()[16:24] == (60_000).to_bytes(4, "big") * 2
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(CASES["png_cut"]())).load()
    data = sample("console-x86.exe")
    plot = Image.open(io.BytesIO(byteplot(data, width=100)))
    assert plot.mode == "L"
    assert plot.tobytes().rstrip(b"\0") == data.rstrip(b"\0")
