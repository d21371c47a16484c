""".NET code and metadata of programs that the tests compile, and of metadata that lies."""

from __future__ import annotations

import struct

import pytest
from hostile.make import sample
from hypothesis import given, settings
from hypothesis import strategies as st
from probe.inspect import builds

from maltriage.probe.inspect import dotnet
from maltriage.probe.inspect.image import Budget, Image


def read(data: bytes) -> dotnet.Assembly:
    found = dotnet.read(Image(data))
    assert found is not None
    return found


def methods(assembly: dotnet.Assembly) -> dict[str, dotnet.Body]:
    return {assembly.method_name(body.row): body for body in assembly.bodies}


def test_methods_have_their_names() -> None:
    assert set(methods(read(builds.assembly()))) == {
        "Demo.Tools.Worker::Run",
        "Demo.Tools.Worker::.ctor",
        "Demo.Tools.Program::Main",
    }
    assert set(methods(read(sample("dotnet.exe")))) == {"Sample::Main"}


def test_a_native_method_has_no_il() -> None:
    """Of an assembly of C++/CLI: its RVA is that of machine code."""
    data = sample("dotnet.exe")
    assembly, image = read(data), Image(data)
    table = assembly._table(dotnet._METHOD)
    start = image.offset(table.rva)
    assert start is not None
    (body,) = assembly.bodies
    changed = bytearray(data)
    changed[start + (body.row - 1) * table.row_size + 4] |= 1
    assert read(bytes(changed)).bodies == []


def test_il_is_that_of_the_method() -> None:
    """From the first instruction to the last, with strings, names and targets."""
    assembly = read(builds.assembly())
    main = methods(assembly)["Demo.Tools.Program::Main"]
    found = assembly.listing(main.start, main.end, 0x1000, Budget(4096))
    assert found is not None
    assert (found.architecture, found.synchronised) == ("il", "method")
    assert found.function == "Demo.Tools.Program::Main"
    lines = [f"{i.mnemonic} {i.operands}".strip() for i in found.instructions]
    assert lines == [
        "newobj Demo.Tools.Worker::.ctor",
        'ldstr "hello"',
        "call Demo.Tools.Worker::Run",
        "call System.Console::WriteLine",
        "ret",
    ]
    first = found.instructions[0]
    assert (first.offset, first.rva) == (main.code, main.code + 0x1000)
    assert (
        b"".join(bytes.fromhex(i.hex) for i in found.instructions)
        == (builds.assembly()[main.code : main.end])
    )


def test_a_string_that_is_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dotnet, "MAX_TEXT", 4)
    assembly = read(builds.assembly())
    main = methods(assembly)["Demo.Tools.Program::Main"]
    found = assembly.listing(main.start, main.end, 0x1000, Budget(4096))
    assert found is not None
    assert found.instructions[1].operands == '"hell…"'


def test_il_from_the_middle_is_in_step() -> None:
    assembly = read(builds.assembly())
    run = methods(assembly)["Demo.Tools.Worker::Run"]
    whole = assembly.listing(run.start, run.end, None, Budget(9999))
    assert whole is not None
    starts = {i.offset for i in whole.instructions}
    third = whole.instructions[8]
    later = assembly.listing(third.offset + 1, run.end, None, Budget(9999))
    assert later is not None
    assert starts & {i.offset for i in later.instructions}
    assert len(whole.instructions) == dotnet.MAX_INSTRUCTIONS
    last = whole.instructions[-1]
    assert last.offset + len(last.hex) // 2 + whole.left == run.end


@pytest.mark.parametrize("delta", [None, 0x1000])
def test_a_branch_names_an_address_that_rows_have(delta: int | None) -> None:
    """The one of the image where there is a section, and the offset in the file without."""
    data = builds.assembly(builds.NESTED)
    assembly, image = read(data), Image(data)
    count = methods(assembly)["Demo.Outer/Middle/Inner::Count"]
    found = assembly.listing(count.start, count.end, delta, Budget(9999))
    assert found is not None
    rows = {i.offset if i.rva is None else image.base + i.rva for i in found.instructions}
    targets = [i.operands for i in found.instructions if i.mnemonic.startswith("br")]
    assert len(targets) >= 2
    assert {int(target, 16) for target in targets} <= rows


def test_a_type_inside_another_has_the_name_of_both() -> None:
    """Of the program's own, and of a library's (`List<T>.Enumerator` and the like)."""
    assembly = read(builds.assembly(builds.NESTED))
    assert "Demo.Outer/Middle/Inner::Count" in methods(assembly)
    refs = assembly._table(dotnet._TYPE_REF)
    names = {assembly._type(dotnet._TYPE_REF, row + 1) for row in range(len(refs.rows))}
    assert "System.Collections.Generic.Dictionary`2/Enumerator" in names


def test_types_that_are_inside_each_other_end() -> None:
    assembly = read(builds.assembly(builds.NESTED))
    assembly._nested.clear()
    assembly._nested.update({2: 3, 3: 2})
    assert assembly._type(dotnet._TYPE_DEF, 2).count("/") == dotnet.MAX_NESTED


def test_places_in_the_metadata() -> None:
    data = builds.assembly()
    assembly = read(data)
    cases = {
        data.index(b"WriteLine"): "stream #Strings",
        data.index("unexpected letter".encode("utf-16le")): "stream #US",
    }
    for at, name in cases.items():
        place = assembly.place(at, at + 1)
        assert place is not None
        assert place[1] == name
        assert place[0].start <= at < place[0].end
    names = {name for name, _ in assembly._places()}
    assert {"table MethodDef", "table TypeDef", "the CLR header"} <= names
    assert assembly.place(0, 16) is None
    assert dotnet.managed(Image(data))
    assert not dotnet.managed(Image(sample("console-x86.exe")))


def streams(data: bytes) -> tuple[int, dict[bytes, int]]:
    """Offset of the metadata's root, and of the row of each stream."""
    root = data.index(b"BSJB")
    return root, {n: data.index(n + b"\0", root) - 8 for n in (b"#~", b"#Strings", b"#US")}


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_0000, 1 << 20])
def test_streams_that_claim_too_much_are_not_read(size: int) -> None:
    data = bytearray(builds.assembly())
    _, rows = streams(bytes(data))
    for row in rows.values():
        lying = bytearray(data)
        struct.pack_into("<I", lying, row + 4, size)
        assert dotnet.read(Image(bytes(lying))) is None


def test_tables_that_claim_too_many_rows_are_not_read() -> None:
    data = bytearray(builds.assembly())
    root, rows = streams(bytes(data))
    (tables,) = struct.unpack_from("<I", data, rows[b"#~"])
    struct.pack_into("<I", data, root + tables + 24, 0x7FFF_FFFF)
    assert dotnet.read(Image(bytes(data))) is None


def test_methods_that_claim_too_much_code_end_with_the_file() -> None:
    data = bytearray(builds.assembly())
    run = methods(read(bytes(data)))["Demo.Tools.Worker::Run"]
    struct.pack_into("<I", data, run.start + 4, 0xFFFF_FFFF)
    assembly = read(bytes(data))
    body = methods(assembly)["Demo.Tools.Worker::Run"]
    assert body.end == len(data)
    listing = assembly.listing(body.start, body.end, None, Budget(9999))
    assert listing is not None
    assert len(listing.instructions) == dotnet.MAX_INSTRUCTIONS


def test_code_that_is_none_ends_a_listing() -> None:
    data = bytearray(builds.assembly())
    main = methods(read(bytes(data)))["Demo.Tools.Program::Main"]
    data[main.code : main.code + 2] = b"\xfe\xff"
    assembly = read(bytes(data))
    listing = assembly.listing(main.start, main.end, None, Budget(9999))
    assert listing is not None
    assert [i.mnemonic for i in listing.instructions] == [".byte"]


@settings(max_examples=60)
@given(st.integers(0, 1200), st.binary(min_size=1, max_size=64))
def test_any_damage_is_survived(at: int, junk: bytes) -> None:
    """Random bytes over the header of the metadata, its tables, heaps or methods."""
    data = bytearray(builds.assembly())
    start = 0x200 + at
    data[start : start + len(junk)] = junk[: max(0, len(data) - start)]
    assembly = dotnet.read(Image(bytes(data)))
    if assembly is None:
        return
    for body in assembly.bodies:
        assert len(assembly.method_name(body.row)) <= 4 * dotnet.MAX_NAME
        listing = assembly.listing(body.start, body.end, 0, Budget(4096))
        assert listing is None or len(listing.instructions) <= dotnet.MAX_INSTRUCTIONS
    for place in range(start - 64, start + 64, 8):
        assembly.place(place, place + 8)
