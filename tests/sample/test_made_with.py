"""What headers say of the tools that a program was made with."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hostile.make import CASES, Pe
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.layout import make_layout
from maltriage.sample.made_with import (
    DELPHI_STAMP,
    LEAST_ENTROPY,
    PACKER_OF,
    VISUAL_BASIC,
    VISUAL_C,
    Carried,
    carried,
    in_order,
    made_with,
    rich_header,
    studio_of,
)
from maltriage.sample.pe import read_headers
from maltriage.sample.types import TOOL_KINDS, Layout, Region, Tool

LINKER = 26
"""Of the linker's version, from the PE signature on."""
KEY = 0x5A17C0DE


def tools(data: bytes) -> dict[str, str]:
    """The text of each kind."""
    headers = read_headers(data)
    assert headers is not None
    layout, _ = make_layout(data, headers)
    return {tool.kind: tool.text for tool in made_with(data, headers, carried(data, layout))}


def rich(*pairs: tuple[int, int], key: int = KEY) -> bytes:
    """A Rich header with one object of each (product, build)."""
    words = [0x536E6144, 0, 0, 0]
    for product, build in pairs:
        words += [product << 16 | build, 1]
    return struct.pack(f"<{len(words)}I", *(word ^ key for word in words)) + struct.pack(
        "<4sI", b"Rich", key
    )


def built(linker: tuple[int, int], *pairs: tuple[int, int], name: bytes = b"") -> bytes:
    """console-x86.exe with another linker, a Rich header, and the name of its first section."""
    made = Pe()
    made.put("<BB", made.pe + LINKER, *linker)
    head = bytes(made.data[:64]) + rich(*pairs) if pairs else bytes(made.data[: made.pe])
    if name:
        made.put("<8s", made.section(0), name)
    moved = bytearray(head.ljust(made.pe, b"\0") if len(head) <= made.pe else b"")
    assert moved, "the Rich header has no room"
    made.data[: made.pe] = moved
    return made.bytes()


@pytest.mark.parametrize(
    ("linker", "pairs", "compiler"),
    [
        ((6, 0), [(0x0B, 8966)], f"{VISUAL_C} 6.0"),
        ((7, 10), [(0x5F, 3077), (0x0B, 8966)], f"{VISUAL_C} 2003"),
        ((9, 0), [(0x84, 30729), (0x6E, 50727)], f"{VISUAL_C} 2008"),
        ((8, 0), [(0x5F, 3077)], f"{VISUAL_C} 2005"),  # objects of an older one besides
        ((14, 0), [(0x105, 24215)], f"{VISUAL_C} 2015"),
        ((14, 16), [(0x104, 27030)], f"{VISUAL_C} 2017"),
        ((14, 29), [(0x105, 30139), (0x104, 27412)], f"{VISUAL_C} 2019"),
        ((14, 36), [(0x105, 35225)], f"{VISUAL_C} 2022"),
        ((6, 0), [(0x0D, 8169)], f"{VISUAL_BASIC} 6.0"),
        ((99, 0), [(0x999, 1)], VISUAL_C),
    ],
)
def test_the_rich_header_names_the_compiler(
    linker: tuple[int, int], pairs: list[tuple[int, int]], compiler: str
) -> None:
    assert tools(built(linker, *pairs))["compiler"] == compiler


@pytest.mark.parametrize(
    ("linker", "name", "found"),
    [
        ((2, 38), b".text", {"compiler": "MinGW"}),  # by the other sections that it has
        ((2, 25), b"CODE", {"compiler": "MinGW"}),  # without the stub of Borland's linker
        ((3, 0), b".symtab", {"compiler": "Go"}),
        ((9, 0), b".text", {"linker": "Microsoft Linker 9.0"}),
        ((14, 0), b".text", {"linker": "Microsoft or LLVM linker 14.0"}),
        ((99, 1), b".text", {}),
        ((99, 1), b"UPX0", {"packer": "UPX"}),
        ((99, 1), b".vmp0", {"protector": "VMProtect"}),
        ((99, 1), b".packed", {}),  # several packers use it
        ((99, 1), b".ndata", {"installer": "NSIS"}),
    ],
)
def test_linkers_and_sections(linker: tuple[int, int], name: bytes, found: dict[str, str]) -> None:
    assert tools(built(linker, name=name)) == found


def marked(
    linker: tuple[int, int], stub: bytes = b"", stamp: int = 1, **sections: bytes
) -> dict[str, str]:
    """The tools of a program with a DOS stub, and bytes at the start of its first sections, which
    get these names; it has no other mark."""
    return tools(blank(linker, stub, stamp, **sections).bytes())


def blank(linker: tuple[int, int], stub: bytes, stamp: int, **sections: bytes) -> Pe:
    made = Pe(built(linker))
    made.data[64 : 64 + len(stub)] = stub
    made.put("<I", made.pe + 8, stamp)
    for index in range(made.count):
        made.put("<8s", made.section(index), b"part%d" % index)
        offset, size = made.raw(index)
        made.data[offset : offset + size] = bytes(size)
    for index, (name, content) in enumerate(sections.items()):
        made.put("<8s", made.section(index), name.replace("_", ".", 1).encode())
        offset, _ = made.raw(index)
        made.data[offset : offset + len(content)] = content
    return made


BORLAND = b"\xba\x10\0\x0e\x1fThis program must be run under Win32\r\n$7"
WATCOM = b"this is a Windows NT windowed executable\r\n$"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (partial(marked, (2, 25), stamp=DELPHI_STAMP), {"compiler": "Borland Delphi"}),
        (partial(marked, (2, 25), BORLAND, CODE=b""), {"compiler": "Borland Delphi"}),
        (partial(marked, (2, 25), BORLAND, _itext=b""), {"compiler": "Borland Delphi"}),
        (
            partial(marked, (2, 25), BORLAND, _data=b"Borland C++ - Copy"),
            {"compiler": "Borland C++"},
        ),
        (partial(marked, (2, 25), BORLAND, _text=b"GCC: ("), {"linker": "Turbo Linker 2.25"}),
        (partial(marked, (2, 18), WATCOM, AUTO=b""), {"compiler": "Watcom C/C++"}),
        (
            partial(marked, (2, 42), _data=b"FPC 2.4.2 [2010/11/10]"),
            {"compiler": "Free Pascal 2.4.2"},
        ),
        (partial(marked, (2, 42), _data=b"FPC: frames per cycle"), {}),
        (partial(marked, (2, 37), _data=b"\xff Go buildinf:"), {"compiler": "Go"}),
        (partial(marked, (2, 37), _rdata=b"GCC: (GNU) 4.8.3"), {"compiler": "MinGW"}),
        (partial(marked, (2, 25), _rdata=b"Mingw runtime failure:"), {"compiler": "MinGW"}),
        (partial(marked, (2, 25), _CRT=b"", _tls=b""), {"compiler": "MinGW"}),
        (partial(marked, (2, 23), _eh_fram=b""), {"compiler": "MinGW"}),
        (partial(marked, (2, 37), _text=b"GCC: (GNU) 4.8.3"), {}),  # a text of the program
        (partial(marked, (2, 50)), {}),
    ],
)
def test_a_linker_of_version_2_needs_a_mark(
    found: Callable[[], dict[str, str]], said: dict[str, str]
) -> None:
    assert found() == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"__p__environ", {"compiler": "MinGW"}),
        (b"cygwin1.dll", {"compiler": "GCC for Cygwin"}),
        (b"__p__fmode", {}),  # Microsoft's start code has it as well
    ],
)
def test_the_start_code_of_gnu_is_known_by_its_imports(name: bytes, said: dict[str, str]) -> None:
    """Where names of sections say nothing, and the runtime is older than its texts."""
    made = blank((2, 56), b"", 1)
    headers = read_headers(made.bytes())
    assert headers is not None
    start = headers.offset_of(headers.directories["import"][0])
    assert start is not None
    assert tools(made.put(f"<{len(name)}s", start + 40, name).bytes()) == said


def test_an_efi_image_of_the_gnu_linker_was_not_made_by_mingw() -> None:
    made = Pe(built((2, 38)))
    made.put("<H", made.pe + 24 + 68, 10)
    assert tools(made.bytes()) == {"linker": "GNU linker 2.38"}


@pytest.mark.parametrize(
    ("version", "studio"),
    [
        ("13.10.6030", "2003"),
        ("12.00.8168", "6.0"),
        ("19.00.24215", "2015"),
        ("19.16.27030", "2017"),
        ("19.44", "2022"),
        ("6.0", None),
        ("", None),
        ("x", None),
    ],
)
def test_the_studio_of_a_compiler(version: str, studio: str | None) -> None:
    assert studio_of(version) == studio


def test_a_mark_of_four_bytes_counts_where_an_archive_begins(samples_dir: Path) -> None:
    stub = (samples_dir / "console-x86.exe").read_bytes()
    for overlay, name in (
        (b"PK\x03\x04", "zip archive"),
        (b"magic numbers of archives, one a line: ".ljust(99) + b"PK\x03\x04 zlb\x1a", None),
        (b"Rar!\x1a\x07" + bytes(40) + b"\xef\xbe\xad\xdeNullsoftInst", "RAR archive"),
    ):
        data = stub + overlay + bytes(range(256)) * 20
        layout, _ = make_layout(data, read_headers(data))
        inside = carried(data, layout)
        assert (inside and inside.name) == name


CABINET = b"MSCF" + bytes(4) + (5000).to_bytes(4, "little") + bytes(12) + b"\x03\x01"
AUTOIT = bytes.fromhex("a3484bbe986c4aa9994c530a86d6487d")
IEXPRESS = "WEXTRACT.EXE".encode("utf-16-le")


def with_resources(resources: bytes) -> tuple[bytes, Layout]:
    """Resources behind 512 bytes of headers, before other bytes that look like a cabinet."""
    end = 512 + len(resources)
    regions = [
        Region("(headers)", "header", 0, 512),
        Region(".rsrc", "section", 512, end, None, LEAST_ENTROPY),
        Region(".reloc", "section", end, end + 9000),
    ]
    data = bytes(512) + resources + (CABINET + bytes(9000))[:9000]
    return data, Layout("lief", "x86", 32, False, 0, regions, {"resource": 520})


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        (bytes(100) + CABINET + bytes(5000), Carried("cabinet", 5000, "resources", None)),
        (IEXPRESS + CABINET + bytes(9000), Carried("cabinet", 5000, "resources", "IExpress")),
        (CABINET + bytes(4500), Carried("cabinet", 4526, "resources", None)),  # cut off
        (AUTOIT + bytes(4080), Carried("AutoIt script", 4096, "resources", "AutoIt script")),
        (b"7z\xbc\xaf\x27\x1c" + bytes(4090), Carried("7-Zip archive", 4096, "resources", None)),
        (b"Rar!\x1a\x07" + bytes(4090), Carried("RAR archive", 4096, "resources", None)),
        (b"MSCF" + bytes(40) + CABINET + bytes(5000), Carried("cabinet", 5000, "resources", None)),
        (AUTOIT[:15] + bytes(5000), None),
        (CABINET + bytes(100), None),  # too small
        (CABINET[:24] + b"\x03\x00" + bytes(9000), None),
        (b"MSCF" + bytes(9000), None),
        (b"PK\x03\x04" + bytes(9000), None),  # too short a mark
        (b" ", None),
    ],
)
def test_what_lies_in_resources(resources: bytes, wanted: Carried | None) -> None:
    assert carried(*with_resources(bytes(8) + resources)) == wanted


def test_resources_of_texts_and_icons_are_not_searched() -> None:
    data, layout = with_resources(bytes(8) + CABINET + bytes(9000))
    assert carried(data, layout) is not None
    plain = [msgspec.structs.replace(part, entropy=4.9) for part in layout.regions]
    assert carried(data, msgspec.structs.replace(layout, regions=plain)) is None


def test_resources_full_of_what_looks_like_a_cabinet() -> None:
    data, layout = with_resources(b"MSCF" + bytes(4) * (1 << 20))
    began = time.monotonic()
    assert carried(data, layout) is None
    small = CABINET[:8] + bytes(4) + CABINET[12:]
    assert carried(*with_resources(small * 100_000)) is None
    assert time.monotonic() - began < 5


def test_the_shell_of_an_installer(samples_dir: Path) -> None:
    data, headers = bytes(0), read_headers((samples_dir / "gui-x86.exe").read_bytes())
    assert headers is not None
    for name, tool in ((".ndata", "NSIS"), (".wixburn", "WiX")):
        own = replace(headers, sections=(replace(headers.sections[0], name=name),))
        assert made_with(data, own, None) == [Tool("installer", tool)]
    inside = Carried("cabinet", 5000, "resources", "IExpress")
    assert made_with(data, headers, inside) == [Tool("installer", "IExpress")]


def test_an_overlay_names_an_installer_and_dotnet_a_language(samples_dir: Path) -> None:
    stub = (samples_dir / "console-x86.exe").read_bytes()
    setup = stub + bytes(4) + b"\xef\xbe\xad\xdeNullsoftInst" + bytes(range(256)) * 20
    assert tools(setup)["installer"] == "NSIS"
    assert "installer" not in tools(stub + b"PK\x03\x04" + bytes(range(256)) * 20)
    assert tools((samples_dir / "dotnet.exe").read_bytes()) == {"language": ".NET"}


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), min_size=1, max_size=40))
def test_a_rich_header_is_read_as_it_was_written(pairs: list[tuple[int, int]]) -> None:
    head = bytes(64) + rich(*pairs)
    assert rich_header(head + bytes(8), len(head)) == pairs


@given(st.binary(max_size=300))
def test_no_head_stops_it(head: bytes) -> None:
    rich_header(head + b"Rich", len(head) + 4)
    rich_header(bytes(64) + head + b"Rich" + head[:4], 64 + len(head) + 8)


@pytest.mark.parametrize("case", sorted(CASES))
def test_hostile_files_are_looked_at(case: str) -> None:
    data = CASES[case]()
    headers = read_headers(data)
    if headers is not None:
        layout, _ = make_layout(data, headers)
        made_with(data, headers, carried(data, layout))


def test_tools_are_in_order_and_the_first_who_names_a_compiler_is_believed() -> None:
    given_tools = [
        Tool("linker", "Microsoft Linker", "14.36", "die"),
        Tool("packer", "NsPacK", "2.x", "die"),
        Tool("packer", "NsPack"),
        Tool("compiler", "MinGW"),
        Tool("language", ".NET"),
    ]
    found = in_order(given_tools)
    assert [(tool.name, tool.by) for tool in found] == [
        ("NsPacK", "die"),
        (".NET", "headers"),
        ("Microsoft Linker", "die"),
    ]
    assert sorted(found, key=lambda tool: TOOL_KINDS.index(tool.kind)) == found


def test_packers_are_known_by_their_sections_in_any_case() -> None:
    assert {PACKER_OF[name] for name in ("upx0", ".mpress1", ".yp")} == {
        "UPX",
        "MPRESS",
        "Yoda's Protector",
    }
