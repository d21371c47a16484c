"""Functions and instructions, against what nm and objdump say of the same programs."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hostile.make import Pe, sample
from hypothesis import given
from hypothesis import strategies as st
from probe.inspect import builds

from maltriage.probe.inspect import code, functions, tables
from maltriage.probe.inspect.image import Budget, Image
from maltriage.sample.findings import Listing
from maltriage.sample.pe import Section

BITS = (32, 64)


def text_of(image: Image) -> Section:
    assert image.headers is not None
    return next(s for s in image.headers.sections if s.executable)


def found_in(image: Image) -> functions.Functions:
    architecture = image.architecture
    assert architecture is not None
    section = text_of(image)
    exports = tables.exports(image)
    return functions.find(image, section, exports, architecture[0], section.start)


def listing(image: Image, focus: int, end: int, budget: int = 4096) -> Listing:
    architecture = image.architecture
    assert architecture is not None
    section = text_of(image)
    engine = code.Disassembler(image, *architecture, tables.imports(image))
    delta = section.rva - section.start
    return engine.listing(found_in(image), focus, end, delta, Budget(budget))


def offset_of(image: Image, address: int) -> int:
    found = image.offset(address - image.base)
    assert found is not None
    return found


@pytest.mark.parametrize("bits", BITS)
def test_starts_are_functions_by_nm(bits: int) -> None:
    """What the file says (exports, .pdata, entry point) and direct calls start functions, all of
    them; of the functions that the linker knows most are found."""
    image = Image(builds.program(bits))
    found = found_in(image)
    known = {offset_of(image, at) for at in builds.symbols(bits).values()}
    sure = {at for at, how in found.known.items() if how in ("export", "entry", "call")}
    assert sure
    # An import's stub is called, and has a symbol that nm does not count as a function of text.
    stubs = {at for at in sure if image.data[at : at + 2] == b"\xff\x25"}
    assert sure - stubs <= known
    assert len(known & set(found.starts)) > 0.5 * len(known)
    if bits == 64:
        assert "exception" in found.known.values()


def test_the_rest_of_a_function_is_no_function() -> None:
    """A row of the exception directory that goes on with another's unwind information."""
    image = Image(builds.program(64))
    place, section = image.directory("exception"), text_of(image)
    assert place is not None
    begin, _, unwind = struct.unpack_from("<3I", image.data, place[0] + 12 * 3)
    start = section.start + begin - section.rva
    assert found_in(image).known[start] == "exception"
    at = image.offset(unwind)
    assert at is not None
    changed = bytearray(image.data)
    changed[at] |= 4 << 3
    found = found_in(Image(bytes(changed)))
    assert found.known.get(start) != "exception"
    assert start not in found.ends


def test_what_follows_a_function_at_once_and_belongs_to_it_is_part_of_it() -> None:
    begin, finish = np.array([10, 20, 50, 70]), np.array([20, 30, 60, 80])
    chained = np.array([False, True, True, False])
    assert functions._whole(begin, finish, chained) == [(10, 30), (70, 80)]


def test_a_page_is_no_place() -> None:
    """`adrp` of arm64 gives a page; a later instruction takes a place of it."""
    image = Image(builds.program(64))
    found = found_in(image)
    rva = next(entry.rva for entry in tables.imports(image).entries if entry.rva)
    engine = code.Disassembler(image, "arm64", False, tables.imports(image))
    operands = f"x16, #0x{image.base + rva:x}"
    assert engine._comment(0, 4, "ldr", operands, found, 0) is not None
    assert engine._comment(0, 4, "adrp", operands, found, 0) is None


def test_numbers_of_an_image_that_begins_at_zero_are_no_addresses() -> None:
    """EFI programs: any length is as large as an address."""
    program = Image(builds.program(64))
    engine = code.Disassembler(program, "x64", False, tables.Table([]))
    told = "eax, [rbx + 0x140001000]"
    assert list(engine._targets(0, "lea", told)) == [0x140001000 - program.base]
    pe = Pe(bytes(program.data))
    pe.put("<Q", pe.pe + 24 + 24, 0)
    low = code.Disassembler(Image(pe.bytes()), "x64", False, tables.Table([]))
    assert list(low._targets(0, "lea", "eax, [rbx + 0x2010]")) == []
    assert list(low._targets(0, "call", "0x2010")) == [0x2010]
    assert list(low._targets(0x100, "lea", "rax, [rip + 0x10]")) == [0x110]


@pytest.mark.parametrize("bits", BITS)
def test_a_function_has_its_name_and_bounds(bits: int) -> None:
    image, symbols = Image(builds.program(bits)), builds.symbols(bits)
    found = found_in(image)
    start = offset_of(image, symbols["exported_sum"])
    around = found.around(start + 4)
    assert around is not None
    assert (around.start, around.name) == (start, "exported_sum")
    assert around.end <= offset_of(image, symbols["main"])
    entry = found.around(offset_of(image, image.base + image.headers.entry_rva))  # type: ignore[union-attr]
    assert entry is not None
    assert entry.name == "entry point"


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shift", [0, 1, 2, 3, 5, 8, 13])
def test_a_listing_is_in_step_with_objdump(bits: int, shift: int) -> None:
    """From wherever in a known function a range begins, instructions are those of objdump."""
    image, symbols = Image(builds.program(bits)), builds.symbols(bits)
    start = offset_of(image, symbols["main"])
    result = listing(image, start + shift, start + 80)
    assert result.synchronised == {32: "call", 64: "exception"}[bits]
    theirs = builds.instructions(bits)
    ours = {image.base + (i.rva or 0): i.mnemonic for i in result.instructions}
    assert len(ours) > 10
    assert set(ours) <= set(theirs)
    first = result.instructions[0]
    assert first.offset <= start + shift < first.offset + len(first.hex) // 2
    assert all(image.data[i.offset :].startswith(bytes.fromhex(i.hex)) for i in result.instructions)
    last = result.instructions[-1]
    assert result.left == max(0, start + 80 - last.offset - len(last.hex) // 2)


@pytest.mark.parametrize("bits", BITS)
def test_operands_are_explained(bits: int) -> None:
    """Imports through stubs and tables by name, strings in quotes, exports by name."""
    image = Image(builds.program(bits))
    start = offset_of(image, builds.symbols(bits)["main"])
    comments = {i.comment for i in listing(image, start, start + 120).instructions}
    comments |= {i.comment for i in listing(image, start + 60, start + 180).instructions}
    assert '"a string that main refers to"' in comments
    assert "msvcrt.dll!puts" in comments
    assert "KERNEL32.dll!GetModuleFileNameA" in comments
    assert "exported_sum" in comments


def test_a_guess_is_called_one() -> None:
    pe = Pe(sample("console-x86.exe"))
    pe.put("<H", pe.pe + 4, 0)
    assert Image(pe.bytes()).architecture == ("x86", True)
    pe = Pe(sample("console-x64.exe"))
    assert Image(pe.bytes()).architecture == ("x64", False)
    assert Image(pe.put("<H", pe.pe + 4, 0).bytes()).architecture == ("x64", True)
    assert Image(pe.put("<H", pe.pe + 4, 0x200).bytes()).architecture is None
    image = Image(pe.put("<H", pe.pe + 4, 0).bytes())
    assert listing(image, text_of(image).start, text_of(image).start + 64).guessed


def arm64(words: list[int], table: list[tuple[int, int]]) -> Image:
    """A program of these instructions; its .pdata is `table`: (RVA, packed data)."""
    pe = Pe(sample("console-x64.exe"))
    pe.put("<H", pe.pe + 4, 0xAA64)
    start, size = pe.raw(0)
    pe.data[start : start + size] = struct.pack(f"<{len(words)}I", *words).ljust(size, b"\0")
    (place,) = struct.unpack_from("<I", pe.data, pe.pe + 24 + 112 + 3 * 8)
    at = Image(pe.bytes()).offset(place)
    assert at is not None
    for index, row in enumerate(table):
        pe.put("<II", at + 8 * index, *row)
    pe.put("<I", pe.pe + 24 + 112 + 3 * 8 + 4, 8 * len(table))
    return Image(pe.bytes())


def test_arm64() -> None:
    """Calls, prologues and the exception directory give the starts; words are decoded."""
    nop, ret, save = 0xD503201F, 0xD65F03C0, 0xA9BF7BFD
    call = 0x94000000 | 3  # three words on
    rva = 0x1000
    image = arm64([nop, call, ret, nop, save, ret, nop, nop, ret], [(rva + 24, 3 << 2 | 1)])
    start = text_of(image).start
    found = found_in(image)
    assert {at - start: found.known[at] for at in found.starts if at < start + 40} == {
        16: "call",
        24: "exception",
    }
    around = found.around(start + 28)
    assert around is not None
    assert (around.start, around.end) == (start + 24, start + 36)
    result = listing(image, start + 20, start + 36)
    assert (result.architecture, result.synchronised) == ("arm64", "call")
    assert [i.mnemonic for i in result.instructions] == ["ret", "nop", "nop", "ret"]


def test_zeros_at_the_end_of_a_section_are_no_code() -> None:
    image = Image(builds.program(64))
    section = text_of(image)
    end = section.start + section.size
    assert image.data[end - 8 : end] == bytes(8)
    assert listing(image, end - 8, end).instructions == []
    assert found_in(image).around(end - 4) is None


def test_what_does_not_decode_is_bytes() -> None:
    """0x06 and 0x0e are no instructions in 64-bit code."""
    pe = Pe(sample("console-x64.exe"))
    start, size = pe.raw(0)
    pe.data[start : start + size] = b"\x06\x0e" * (size // 2)
    result = listing(Image(pe.bytes()), start + 256, start + 300)
    assert {i.mnemonic for i in result.instructions} == {".byte"}
    assert len(result.instructions) == 24
    assert result.left == 20


def test_the_budget_ends_a_listing() -> None:
    image = Image(builds.program(32))
    start = offset_of(image, builds.symbols(32)["main"])
    short = listing(image, start, start + 120, budget=20).instructions
    assert 0 < sum(len(i.hex) // 2 + len(i.comment or "") for i in short) <= 20


@given(
    st.binary(min_size=1, max_size=512),
    st.integers(0, 600),
    st.integers(1, 600),
    st.sampled_from([0x14C, 0x8664, 0xAA64]),
)
def test_any_bytes_are_listed(junk: bytes, focus: int, length: int, machine: int) -> None:
    pe = Pe(sample("console-x86.exe" if machine == 0x14C else "console-x64.exe"))
    start, size = pe.raw(0)
    pe.data[start : start + size] = junk.ljust(size, b"\xcc")
    image = Image(pe.put("<H", pe.pe + 4, machine).bytes())
    result = listing(image, start + focus, start + focus + length)
    assert len(result.instructions) <= code.MAX_INSTRUCTIONS
    at = None
    for item in result.instructions:
        assert image.data[item.offset :].startswith(bytes.fromhex(item.hex))
        assert at is None or item.offset >= at
        at = item.offset + len(item.hex) // 2
    if machine != 0xAA64:  # there, a start that is not aligned may leave bytes out
        assert sum(len(i.hex) // 2 for i in result.instructions) >= min(
            length, len(result.instructions)
        )
