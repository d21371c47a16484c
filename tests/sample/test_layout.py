from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import pefile
import pytest
from hostile.make import CASES, Pe
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample import pe as pe_module
from maltriage.sample.hexdump import Dump
from maltriage.sample.layout import DUMP_RANGES, dump_layout, entropy, make_layout
from maltriage.sample.pe import read_headers
from maltriage.sample.types import Layout, Notice


def layout_of(data: bytes) -> tuple[Layout, list[Notice]]:
    return make_layout(data, read_headers(data))


def assert_covers(data: bytes, layout: Layout) -> None:
    """Every byte belongs to exactly one region, and every anchor lies in the file."""
    at = 0
    for region in layout.regions:
        assert region.start == at < region.end
        at = region.end
    assert at == len(data)
    assert all(0 <= offset < len(data) for offset in layout.anchors.values())


def rva_of(layout: Layout, offset: int) -> int | None:
    """Where a byte of the file is mapped."""
    region = layout.region_at(offset)
    assert region is not None
    return None if region.rva is None else region.rva + offset - region.start


def test_a_plain_program(samples_dir: Path) -> None:
    data = (samples_dir / "console-x64.exe").read_bytes()
    layout, notices = layout_of(data)
    assert_covers(data, layout)
    assert (layout.parser, layout.bits, layout.machine) == ("lief", 64, "x64")
    other = pefile.PE(data=data, fast_load=True)
    names = [r.name for r in layout.regions if r.kind == "section"]
    assert names == [s.Name.rstrip(b"\0").decode() for s in other.sections if s.SizeOfRawData]
    entry = other.OPTIONAL_HEADER.AddressOfEntryPoint
    assert layout.anchors["entry"] == other.get_offset_from_rva(entry)
    assert rva_of(layout, layout.anchors["entry"]) == entry
    assert notices == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("console-x86.exe", "pe32"), ("console-x64.exe", "pe32+"), ("dotnet.exe", ".net")],
)
def test_kinds_and_the_header_of_32_bit_programs(samples_dir: Path, name: str, kind: str) -> None:
    data = (samples_dir / name).read_bytes()
    layout, _ = layout_of(data)
    assert layout.kind == kind
    assert ("pe32" in layout.anchors) == (layout.bits == 32)
    if layout.bits == 32:
        assert data[layout.anchors["pe32"] :][:4] == b"PE\0\0"
    sections = [r.start for r in layout.regions if r.kind == "section"]
    assert layout.anchors["second_section"] == sections[1]


def test_an_efi_image_is_a_kind_of_its_own(samples_dir: Path) -> None:
    data = bytearray((samples_dir / "console-x86.exe").read_bytes())
    subsystem = int.from_bytes(data[60:64], "little") + 24 + 68
    data[subsystem : subsystem + 2] = (10).to_bytes(2, "little")
    layout, _ = layout_of(bytes(data))
    assert layout.efi
    assert layout.kind == "efi"
    assert layout.bits == 32
    data[subsystem : subsystem + 2] = b"\0\0"
    layout, _ = layout_of(bytes(data))
    assert not layout.efi
    assert layout.kind == "pe32"


def test_overlay_and_certificate(samples_dir: Path) -> None:
    overlay, _ = layout_of((samples_dir / "overlay-x86.exe").read_bytes())
    assert overlay.regions[-1].kind == "overlay"
    assert overlay.anchors["overlay"] == overlay.regions[-1].start
    signed, _ = layout_of((samples_dir / "signed-x64.exe").read_bytes())
    assert any(region.kind == "certificate" for region in signed.regions)


def test_machines_and_subsystems_without_a_name() -> None:
    """Neither is refused, nor is anything said of it on stderr, which warnings would be."""
    pe = Pe()
    pe.put("<H", pe.pe + 4, 0xBEEF).put("<H", pe.pe + 24 + 68, 0x7777)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        headers = read_headers(pe.bytes())
    assert headers is not None
    assert (headers.parser, headers.machine, headers.subsystem) == ("lief", 0xBEEF, 0x7777)
    layout, _ = make_layout(pe.bytes(), headers)
    assert layout.machine == "0xbeef"


def test_an_overwritten_entry_point() -> None:
    pe = Pe()
    layout, _ = layout_of(pe.put("<I", pe.pe + 24 + 16, 0xCC00FFEE).bytes())
    assert "entry" not in layout.anchors


@pytest.mark.parametrize("case", sorted(CASES))
def test_hostile_files_are_covered(case: str) -> None:
    data = CASES[case]()
    layout, _ = layout_of(data)
    assert_covers(data, layout)


def test_a_file_that_was_cut(samples_dir: Path) -> None:
    data = (samples_dir / "truncated-x86.exe").read_bytes()
    layout, notices = layout_of(data)
    assert_covers(data, layout)
    assert [notice.code for notice in notices] == ["truncated"]


def test_overlaps_keep_file_order() -> None:
    pe = Pe()
    first, size = pe.raw(0)
    pe.put("<II", pe.section(1) + 16, size, first)  # the second claims the bytes of the first
    layout, notices = layout_of(pe.bytes())
    assert_covers(pe.bytes(), layout)
    assert layout.region_at(first).name == ".text"
    assert "overlapping-sections" in {notice.code for notice in notices}


@pytest.mark.parametrize("reader", ["lief", "pefile"])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_sections_that_are_not_shown(
    reader: str, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notice is given where rows are left out, and not for a table that is just read whole."""
    if reader == "pefile":
        monkeypatch.setattr(pe_module, "_by_lief", lambda data, pe: None)
    rows = pe_module.MAX_SECTIONS + more
    pe = Pe()
    pe.put("<H", pe.pe + 6, rows)
    row = bytearray(pe.data[pe.section(0) : pe.section(1)])
    struct.pack_into("<2I", row, 16, 0, 0)  # no bytes in the file: nothing overlaps
    data = bytes(pe.data[: pe.table]) + bytes(row) * rows
    headers = read_headers(data)
    assert headers is not None
    assert (headers.parser, len(headers.sections)) == (reader, min(rows, pe_module.MAX_SECTIONS))
    codes = [notice.code for notice in make_layout(data, headers)[1]]
    assert codes == (["many-sections"] if more > 0 else [])


def test_pefile_reads_what_lief_refuses(samples_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (samples_dir / "gui-x86.exe").read_bytes()
    by_lief, _ = layout_of(data)
    monkeypatch.setattr(pe_module, "_by_lief", lambda data, pe: None)
    by_pefile, _ = layout_of(data)
    assert by_pefile.parser == "pefile"
    assert by_pefile.regions == by_lief.regions
    assert by_pefile.anchors == by_lief.anchors
    assert (by_pefile.bits, by_pefile.machine) == (by_lief.bits, by_lief.machine)


def test_nothing_readable_is_one_region() -> None:
    data = b"MZ" + bytes(200)
    layout, notices = layout_of(data)
    assert [(r.kind, r.start, r.end) for r in layout.regions] == [("unparsed", 0, 202)]
    assert [notice.code for notice in notices] == ["unparsed"]


@given(
    st.integers(0, 0xFFFF),
    st.lists(st.tuples(*[st.integers(0, 0xFFFFFFFF) | st.integers(0, 0x8000)] * 4), max_size=6),
)
def test_any_section_table_is_covered(
    header_size: int, rows: list[tuple[int, int, int, int]]
) -> None:
    pe = Pe()
    pe.put("<I", pe.pe + 24 + 60, header_size)
    for index, row in enumerate(rows):
        pe.put("<IIII", pe.section(index) + 8, *row)
    layout, _ = layout_of(pe.bytes())
    assert_covers(pe.bytes(), layout)


def test_entropy() -> None:
    assert entropy(memoryview(b"")) == 0.0
    assert entropy(memoryview(bytes(100))) == 0.0
    assert entropy(memoryview(bytes(range(256)) * 4)) == pytest.approx(8.0)
    assert entropy(memoryview(b"ab" * 50)) == pytest.approx(1.0)


GOODWARE = os.environ.get("MALTRIAGE_GOODWARE")  # before the tests' own environment hides it


def debian_programs() -> Iterator[Path]:
    for path in sorted(Path(GOODWARE).rglob("*")) if GOODWARE else ():
        if path.is_file() and not path.is_symlink() and path.stat().st_size > 64:
            with path.open("rb") as file:
                if file.read(2) == b"MZ":
                    yield path


@pytest.mark.slow
def test_agrees_with_pefile_on_real_programs() -> None:
    """Sections and entry point of real programs, in $MALTRIAGE_GOODWARE (see CONTRIBUTING)."""
    checked = 0
    for path in debian_programs():
        data = path.read_bytes()
        layout, notices = layout_of(data)
        assert_covers(data, layout)
        codes = {notice.code for notice in notices}
        if codes & {"overlapping-sections", "truncated", "unparsed"}:
            continue
        other = pefile.PE(data=data, fast_load=True)
        ranges = {(r.start, r.end) for r in layout.regions if r.kind == "section"}
        for section in other.sections:
            start = section.PointerToRawData
            if other.OPTIONAL_HEADER.FileAlignment >= 0x200:  # else it is mapped as it lies
                start = other.adjust_PointerToRawData(start)
            if section.SizeOfRawData:
                assert (start, start + section.SizeOfRawData) in ranges, path
        checked += 1
    if not checked:
        pytest.skip("no programs: name a folder of them in MALTRIAGE_GOODWARE")


@given(
    st.lists(st.integers(1, 3_000), min_size=1, max_size=5),
    st.integers(0, 1 << 20),
    st.booleans(),
    st.booleans(),
)
def test_ranges_of_a_dump_cover_it(
    sizes: list[int], first: int, addressed: bool, cut: bool
) -> None:
    """Each byte lies in one range, and its address is the one that the dump gives it."""
    data = os.urandom(sum(sizes) * 16)
    blocks, at, address = list[tuple[int, int]](), 0, first
    for size in sizes if addressed else []:
        blocks.append((at, address))
        at, address = at + 16 * size, address + 16 * size + 0x10010
    rest = blocks.pop()[0] if cut and len(blocks) > 1 else None
    dump = Dump(data, 8 * sum(sizes), tuple(blocks), rest)
    layout, notices = dump_layout(dump)
    assert_covers(data, layout)
    assert {n.code for n in notices} >= {"unmapped"} | ({"many-blocks"} if rest else set())
    assert layout.kind is None
    assert layout.unmapped == dump.unmapped
    assert len(layout.regions) <= 2 * DUMP_RANGES + len(sizes) + 1
    for offset in range(0, len(data), 160):
        block = max((b for b in blocks if b[0] <= offset), default=None)
        known = block is not None and (rest is None or offset < rest)
        assert rva_of(layout, offset) == (block[1] + offset - block[0] if block and known else None)
    for region in layout.regions:
        if region.rva is not None:
            assert int(region.name, 16) == region.rva
            assert region.start in dict(blocks) or region.rva % 4096 == 0
        elif not addressed:
            assert region.name == f"+{region.start:06x}"


def test_a_symbol_table_is_no_overlay() -> None:
    pe = Pe()
    size = len(pe.data)
    pe.put("<II", pe.pe + 12, size, 3)
    table, strings = bytes(3 * 18), struct.pack("<I", 12) + b"strings\0"
    for overlay in (b"", b"appended"):
        data = pe.bytes() + table + strings + overlay
        layout, _ = make_layout(data, read_headers(data))
        end = size + len(table) + len(strings)
        (symbols,) = [r for r in layout.regions if r.name == "(symbols)"]
        assert (symbols.kind, symbols.start, symbols.end) == ("gap", size, end)
        assert [(r.start, r.end) for r in layout.regions if r.kind == "overlay"] == (
            [(end, len(data))] if overlay else []
        )
    for start, count in ((size, 1 << 30), (0x80, 3), (len(data) + 1, 3)):  # not there
        data = bytes(pe.put("<II", pe.pe + 12, start, count).data) + table + strings
        layout, _ = make_layout(data, read_headers(data))
        assert "(symbols)" not in {r.name for r in layout.regions}
