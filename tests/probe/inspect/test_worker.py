"""Hot ranges of whole files, real and hostile, through the call that a worker makes."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import msgspec
import pytest
from corpus.synthetic import write_dump, write_png
from hostile.make import CASES, Pe, byteplot, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from probe.inspect import builds

from maltriage.probe.inspect import functions, resources, worker
from maltriage.probe.inspect.image import Image
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import (
    HEX_BYTES,
    MAX_EXCERPTS,
    Inspected,
    InspectOptions,
    inspect,
    look,
)
from maltriage.sample.errors import SampleError
from maltriage.sample.layout import make_layout
from maltriage.sample.pe import read_headers
from maltriage.sample.types import Layout, Region
from maltriage.source.samples import read_sample


def layout_of(data: bytes) -> Layout:
    return make_layout(data, read_headers(data))[0]


def range_at(data: bytes, start: int, size: int = 256) -> Range:
    region = layout_of(data).region_at(start)
    assert region is not None
    return Range(start, min(start + size, region.end), start, region)


def everywhere(data: bytes, step: int) -> list[Range]:
    """A range of half a step in each step of each region, and one byte of each region."""
    found = []
    for region in layout_of(data).regions[:64]:
        if region.size:
            found.append(Range(region.start, region.start + 1, region.start, region))
        for at in range(region.start + 1, region.end - step, step):
            found.append(Range(at, at + step // 2, at, region))
    return found


def one(data: bytes, start: int, size: int = 256, snap: bool = True) -> Inspected:
    (found,) = look(data, [range_at(data, start, size)], parse=True, snap=snap)
    return found


def shown(found: list[Inspected]) -> int:
    """Bytes of the sample in all that is found, but for names."""
    total = 0
    for item in found:
        total += len(item.hex) // 2
        content = item.content
        assert content is not None
        for listing in (content.code, content.il):
            for i in listing.instructions if listing else ():
                total += len(i.hex) // 2 + len(i.comment or "")
        for text in content.strings:
            total += len(text.text) * (1 if text.encoding == "ascii" else 2)
    return total


def test_kinds_of_content() -> None:
    data = sample("gui-x86.exe")
    kinds = {}
    for name, at in {
        "header": 0,
        "code": 0x500,
        "strings": data.index(b"Argument domain"),
        "imports": 0x2E80,
        "resource": data.index("maltriage authors".encode("utf-16le")),
        "fill": 0x3680,
    }.items():
        found = one(data, at).content
        assert found is not None
        kinds[name] = found.kind
        assert found.notes == []
    assert all(name == kind for name, kind in kinds.items())
    net = builds.assembly()
    at = net.index(b"WriteLine")
    found = one(net, at, 16).content
    assert found is not None
    assert (found.kind, found.metadata) == ("metadata", "stream #Strings")
    assert any("WriteLine" in text.text for text in found.strings)
    exported = sample("library-x64.dll")
    found = one(exported, exported.index(b"sample_adler32\0"), 15).content
    assert found is not None
    assert (found.kind, found.exports) == ("exports", ["sample_adler32"])


def test_a_range_of_several_resources_names_them() -> None:
    """And their directory is none of them, though the first begins in the range."""
    data = sample("gui-x86.exe")
    leaves = resources.leaves(Image(data))
    icon, dialog, group, version = leaves
    content = one(data, dialog.end - 16, 100, snap=False).content
    assert content is not None
    assert (content.kind, content.resource) == ("resource", dialog)
    assert content.notes[0] == "the range also holds GROUP_ICON #1, VERSION #1"
    content = one(data, group.start, 20, snap=False).content
    assert content is not None
    assert (content.resource, content.notes) == (group, [])
    content = one(data, icon.start - 300, 310, snap=False).content
    assert content is not None
    assert (content.kind, content.resource) == ("resource", None)
    assert content.notes[0] == "the directory of resources, and ICON #1"
    assert version.end > group.end


def test_many_resources_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_RESOURCES", 1)
    data = sample("gui-x86.exe")
    dialog = resources.leaves(Image(data))[1]
    content = one(data, dialog.end - 16, 100, snap=False).content
    assert content is not None
    assert content.notes[0] == "the range also holds GROUP_ICON #1 and 1 more"


def test_addresses_of_a_range() -> None:
    data = sample("console-x86.exe")
    found = one(data, 0x500, snap=False)
    assert found.content is not None
    assert (found.start, found.end) == (0x500, 0x600)
    assert (found.content.rva, found.content.va) == (0x1100, 0x401100)
    assert found.hex == data[0x500:0x510].hex()
    overlay = sample("overlay-x86.exe")
    content = one(overlay, len(overlay) - 300).content
    assert content is not None
    assert (content.rva, content.va, content.kind) == (None, None, "strings")
    assert content.strings[0].text.startswith("record 0")


def test_a_range_snaps_to_the_function_it_cuts() -> None:
    data = builds.program(64)
    layout = layout_of(data)
    start = data.index(b"MZ") + next(
        r.start + builds.symbols(64)["exported_sum"] - layout.image_base - (r.rva or 0)  # type: ignore[operator]
        for r in layout.regions
        if r.name == ".text"
    )
    found = one(data, start + 5, 200)
    assert found.content is not None
    assert found.start == start
    assert found.content.snapped[0] == 5
    assert found.content.code is not None
    assert (found.content.code.function, found.content.code.start) == ("exported_sum", start)


def test_a_disarmed_program_is_disassembled_by_a_guess() -> None:
    pe = Pe(sample("console-x86.exe"))
    data = pe.put("<H", pe.pe + 4, 0).bytes()
    content = one(data, 0x500).content
    assert content is not None
    assert content.code is not None
    assert (content.code.architecture, content.code.guessed) == ("x86", True)
    unknown = one(pe.put("<H", pe.pe + 4, 0x1C0).bytes(), 0x500).content
    assert unknown is not None
    assert unknown.code is None
    assert unknown.notes == ["code for a processor that is not decoded here"]


def test_packed_code_is_not_disassembled() -> None:
    pe = Pe(sample("packed-x86.exe"))
    data = pe.bytes()
    noise = next(r for r in layout_of(data).regions if r.name == ".pack")
    start, size = pe.raw(0)
    pe.data[start : start + size] = data[noise.start : noise.start + size]
    content = one(pe.bytes(), start, 1024).content
    assert content is not None
    assert (content.kind, content.code) == ("data", None)
    assert any("compressed or encrypted" in note for note in content.notes)


def with_text(raw: bytes, behind: int = 0x40) -> tuple[bytes, int]:
    """A program with bytes in its code, `behind` bytes after the start of the section, and where
    they are; a return is before them."""
    pe = Pe(sample("console-x86.exe"))
    start, _ = pe.raw(0)
    at = start + behind
    pe.data[at - 1 : at + len(raw)] = b"\xc3" + raw
    return pe.bytes(), at


TEXTS = {
    "names": b"CreateToolhelp32Snapshot\0\0\0\0Heap32ListFirst\0Heap32ListNext\0".ljust(
        256, b"\xc3"
    ),
    "a request": b"://\0GET \0\0\0\0 HTTP/1.1\r\nAccept: */*\r\nUser-Agent: x\r\n\0".ljust(
        256, b"\x55"
    ),
    "wide": "Software\\Run".encode("utf-16le").ljust(256, b"\x8b"),
    "one letter": b"A" * 40 + b"\xc3" * 216,
    "fields": b"".join(b"d%d=\0\0\0&" % i for i in range(11, 43)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_among_code_is_listed_as_text(name: str) -> None:
    data, at = with_text(TEXTS[name])
    content = one(data, at, 256, snap=False).content
    assert content is not None
    assert (content.kind, content.code) == ("strings", None)
    if name != "fields":
        first = {
            "names": "CreateToolhelp32",
            "one letter": "AAAA",
            "a request": " HTTP/1.1",
            "wide": "Software",
        }[name]
        assert content.strings[0].text.startswith(first)


def test_instructions_end_where_a_text_begins_which_is_listed_as_text() -> None:
    code = bytes.fromhex("558bec83ec10e8000000008be55dc3")
    data, at = with_text(code + b"\0http://example.com/gate.php\0" + code * 4)
    content = one(data, at, 80, snap=False).content
    assert content is not None
    assert content.code is not None
    text = at + len(code) + 1
    assert all(item.offset < text for item in content.code.instructions)
    assert content.code.left >= at + 80 - text
    assert [item.text for item in content.strings] == ["http://example.com/gate.php"]


@pytest.mark.parametrize(
    "raw",
    [
        "41574156415541545557565348 83ec28 4889cb 31c0 c3",  # AWAVAUATUWVSH
        "6a006a006a006a006a006a00 ff1500104000 c3",  # jjjjjj in UTF-16
        "505152535657 8bf0 8b4508 8b4d0c 03c1 5f5e5b5a5958 c3",
    ],
)
def test_code_that_looks_like_letters_is_code(raw: str) -> None:
    data, at = with_text(bytes.fromhex(raw) + bytes.fromhex("8bc18bd08945fc") * 12)
    content = one(data, at, 64, snap=False).content
    assert content is not None
    assert content.code is not None
    assert content.code.instructions[0].offset == at


def test_noise_without_the_start_of_a_function_is_not_disassembled() -> None:
    """So short a range may have less than 7 bits per byte."""
    data, at = with_text(random.Random(3).randbytes(200))
    content = one(data, at, 200, snap=False).content
    assert content is not None
    assert (content.kind, content.code) == ("data", None)
    assert any("more than code has" in note for note in content.notes)


def test_a_table_is_not_disassembled() -> None:
    row = bytes.fromhex("feffffeefdfffefeffb5c0f8")
    data, at = with_text(row * 20)
    content = one(data, at, 200, snap=False).content
    assert content is not None
    assert (content.kind, content.code) == ("data", None)
    assert content.notes == ["does not read as compiled code: data, or encrypted code"]


def test_a_table_of_pointers_that_are_all_ones_is_not_disassembled() -> None:
    """Lists of constructors of MinGW: -1, then 0. Zeros decode, and so does all behind them."""
    table = (b"\xff" * 8 + bytes(8)) * 2 + bytes(120)
    data, at = with_text(table)
    content = one(data, at, 120, snap=False).content
    assert content is not None
    assert content.code is None
    assert content.notes == ["does not read as compiled code: data, or encrypted code"]


def test_an_instruction_that_is_cut_does_not_make_code_a_table() -> None:
    """Two bytes of its end do not decode, which is no run."""
    ends = bytes.fromhex("ffff") + bytes.fromhex("8bc18bd08945fc") * 12
    data, at = with_text(ends)
    content = one(data, at, 64, snap=False).content
    assert content is not None
    assert content.code is not None


def test_lying_metadata_is_a_note_and_no_code() -> None:
    data = bytearray(builds.assembly())
    at = data.index(b"BSJB")
    data[at : at + 4] = b"XXXX"
    content = one(bytes(data), 0x260).content
    assert content is not None
    assert (content.code, content.il) == (None, None)
    assert content.notes == [".NET metadata could not be read"]


@pytest.mark.parametrize("name", ["gui-x86.exe", "library-x64.dll", "dotnet.exe", "signed-x64.exe"])
def test_excerpts_are_bounded(name: str) -> None:
    data = sample(name)
    found = look(data, everywhere(data, 96), parse=True, snap=True)
    hexdumps = sum(len(item.hex) // 2 for item in found)
    assert shown(found) <= MAX_EXCERPTS + hexdumps
    sixteen = look(data, everywhere(data, 512)[:16], parse=True, snap=True)
    assert 200 < shown(sixteen) <= MAX_EXCERPTS


@pytest.mark.parametrize("case", sorted(set(CASES) - {"sections_65535_present"}))
def test_hostile_files(case: str) -> None:
    data = CASES[case]()
    ranges = everywhere(data, max(64, len(data) // 40))
    for snap in (True, False):
        found = look(data, ranges, parse=True, snap=snap)
        assert len(found) <= len(ranges)
        for item in found:
            assert item.content is not None
            assert item.region.start <= item.start < item.end <= item.region.end
            msgspec.json.encode(item.content.kind)


@pytest.mark.parametrize("cut", [64, 200, 400, 600, 1024, 2048, 5000])
def test_truncated_files(cut: int) -> None:
    data = sample("gui-x86.exe")[:cut]
    for item in look(data, everywhere(data, 64), parse=True, snap=True):
        assert item.content is not None
        assert item.end <= cut


@settings(max_examples=60)
@given(
    st.integers(0, 3000),
    st.binary(min_size=1, max_size=300),
    st.sampled_from(["gui-x86.exe", "dotnet.exe", "driver-x64.sys"]),
)
def test_damaged_files(at: int, junk: bytes, name: str) -> None:
    data = bytearray(sample(name))
    data[at : at + len(junk)] = junk[: max(0, len(data) - at)]
    found = look(bytes(data), everywhere(bytes(data), 700), parse=True, snap=True)
    for item in found:
        assert item.content is not None
        assert 0.0 <= item.content.entropy <= 8.0
        assert not any("could not be read (" in note for note in item.content.notes)


@given(st.binary(min_size=1, max_size=2000))
def test_any_bytes(data: bytes) -> None:
    region = Region("(whole file)", "unparsed", 0, len(data))
    (found,) = look(data, [Range(0, len(data), 0, region)], parse=True, snap=True)
    assert found.content is not None
    assert found.content.kind in ("strings", "data", "fill")
    assert found.hex == data[:HEX_BYTES].hex()


def test_a_slow_file_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_SECONDS", -1.0)
    content = one(sample("gui-x86.exe"), 0x500).content
    assert content is not None
    assert content.kind == "data"
    assert content.notes[0].startswith("not looked into")
    assert content.snapped == (0, 0)


def test_behind_the_section_table_are_no_fields() -> None:
    data = bytearray(sample("gui-x86.exe"))
    content = one(bytes(data), 0x3C0, 0x40).content
    assert content is not None
    assert (content.kind, content.fields, content.notes) == ("fill", [], [])
    data[0x3C0:0x3D8] = b"hidden behind the table."
    content = one(bytes(data), 0x3C0, 0x20).content
    assert content is not None
    assert (content.kind, [text.text for text in content.strings]) == (
        "strings",
        ["hidden behind the table."],
    )


def test_a_large_section_is_searched_in_few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "MAX_SCANNED", 2048)
    places = []
    find = functions.find

    def counted(image, section, exports, architecture, near):  # type: ignore[no-untyped-def]
        places.append(near)
        return find(image, section, exports, architecture, near)

    monkeypatch.setattr(functions, "find", counted)
    data = sample("gui-x86.exe")
    text = next(region for region in layout_of(data).regions if region.name == ".text")
    ranges = [Range(at, at + 100, at, text) for at in range(text.start, text.end - 100, 200)]
    found = look(data, ranges, parse=True, snap=True)
    assert sum(item.content is not None and item.content.code is not None for item in found) > 5
    assert len(places) == len(set(places)) <= 2 + text.size // 1024


@pytest.mark.parametrize("at", [0, 0x84, 0x500, 0x2E80, 0x3900])
def test_a_range_without_bytes_has_nothing_in_it(at: int) -> None:
    data = sample("gui-x86.exe")
    region = layout_of(data).region_at(at)
    assert region is not None
    empty, whole = Range(at, at, at, region), Range(at, region.end, at, region)
    for ranges in ([empty], [whole, empty]):
        found = look(data, ranges, parse=True, snap=True)[-1]
        assert (found.start, found.end, found.hex) == (at, at, "")
        assert found.content is not None
        assert (found.content.kind, found.content.notes) == ("data", ["no bytes"])


def test_what_fails_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("hostile\x1b")

    monkeypatch.setattr(worker.tables, "imports", fail)
    content = one(sample("gui-x86.exe"), 0x2E80).content
    assert content is not None
    assert content.notes == ["imports could not be read (RuntimeError)"]


def test_dlls_and_exports_that_are_not_listed_are_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.tables, "LISTED_DLLS", 1)
    monkeypatch.setattr(worker.tables, "LISTED_NAMES", 1)
    data = sample("gui-x86.exe")
    content = one(data, 0x2E00, 0x800).content
    assert content is not None
    assert len(content.imports) == 1
    assert content.notes == ["2 more DLLs are in this range, not listed"]
    exported = sample("library-x64.dll")
    content = one(exported, exported.index(b"sample_adler32\0"), 64).content
    assert content is not None
    assert len(content.exports) == 1
    assert content.notes[0].endswith("in this range, not listed")


def options(data: bytes, *formats: str) -> InspectOptions:
    kinds = formats or ("pe", "png", "bytes")
    return InspectOptions(hashlib.sha256(data).hexdigest(), formats=kinds)  # type: ignore[arg-type]


def test_a_file_that_changed_is_a_failure(tmp_path: Path) -> None:
    data = sample("console-x86.exe")
    path = tmp_path / "a.exe"
    path.write_bytes(data + b"!")
    with pytest.raises(SampleError) as caught:
        inspect(str(path), [range_at(data, 0)], options(data))
    assert (caught.value.code, caught.value.failed) == ("changed", True)
    assert "changed meanwhile (its bytes are others)" in caught.value.reason


def test_a_byteplot_is_the_program_in_it(tmp_path: Path) -> None:
    data = sample("gui-x86.exe")
    data = data[: len(data) // 256 * 256]
    (tmp_path / "a.exe").write_bytes(data)
    (tmp_path / "b.png").write_bytes(byteplot(data))
    ranges = [range_at(data, at) for at in (0, 0x500, 0x2E80)]
    program = inspect(str(tmp_path / "a.exe"), ranges, options(data))
    assert inspect(str(tmp_path / "b.png"), ranges, options(data)) == program


def test_a_dump_has_strings_and_no_headers(tmp_path: Path) -> None:
    data = sample("gui-x86.exe")
    path = write_dump(tmp_path / "a.bytes", data, 0x400000)
    assert read_sample(str(path)).data == data
    region = Region("00400000", "range", 0, len(data), 0x400000)
    at = data.index(b"Argument domain")
    ranges = [Range(0, 256, 0, region), Range(at, at + 200, at, region)]
    header, text = inspect(str(path), ranges, options(data))
    assert header.content is not None
    assert text.content is not None
    assert (header.content.kind, header.content.fields) == ("data", [])
    assert (text.content.kind, text.content.code) == ("strings", None)
    assert text.content.rva == text.content.va == 0x400000 + text.start


def test_a_picture_has_a_hexdump_only(tmp_path: Path) -> None:
    pixels = bytes(range(1, 65)) * 48
    path = write_png(tmp_path / "a.png", pixels, width=64)
    region = Region("(whole file)", "unparsed", 0, len(pixels))
    (found,) = inspect(str(path), [Range(64, 128, 64, region)], options(pixels, "picture"))
    assert (found.content, found.hex) == (None, bytes(range(1, 17)).hex())
