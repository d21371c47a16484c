"""What installers of NSIS carry: every packing, names, damage, going on from any place."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import time
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source.archive.nsis_writer import SIGNATURE, Pack, installer, packed
from source.archive.walking import walk

from maltriage.source.archive.kinds import kind_of_bytes
from maltriage.source.archive.limits import Archives
from maltriage.source.archive.nsis import MAX_DICTIONARY, MAX_HEADER
from maltriage.source.archive.nsis_bzip2 import MOST_BLOCKS
from maltriage.source.archive.walk import Member, Trouble
from maltriage.source.self_extracting import packed as archives_in

A, B = b"MZ" + b"\1" * 700 + bytes(range(256)) * 20, b"MZ" + b"\2" * 70_000
FILES = {"a.exe": A, "notes.txt": b"hello", "PLUGINSDIR/b.dll": B, "empty": b"", "": A[::-1] + b"x"}
EACH = ("copy", "zlib", "stored", "bzip2", "lzma", "x86")


def found(data: bytes, limits: Archives | None = None) -> list[object]:
    return [
        (item.path, item.error.code)
        if isinstance(item, Trouble)
        else item and (item.path, item.data)
        for item in walk(data, limits).items("nsis")
    ]


WANTED = [("x!a.exe", A), None, ("x!PLUGINSDIR/b.dll", B), None, None]


@pytest.mark.parametrize(("pack", "solid"), [*product(EACH, (False, True))][1:])
def test_every_packing(pack: str, solid: bool) -> None:
    if (pack, solid) == ("copy", True):
        return  # there is none
    for text, wider, checksum in (("wide", False, True), ("ansi", True, False)):
        data = installer(FILES, pack, text, solid=solid, wider=wider, checksum=checksum)  # type: ignore[arg-type]
        assert kind_of_bytes(data) == "nsis"
        assert found(data) == WANTED
        assert found(data + b"behind it") == WANTED
    assert found(installer(FILES, "copy")) == WANTED


@pytest.mark.parametrize("text", ["ansi", "ansi 2", "wide", "wide 2"])
def test_names(text: str) -> None:
    files = {"PLUGINSDIR/caf\xe9.exe": A, "dir\\x.exe": A, "dir/x.exe": B}
    data = installer(files, text=text)  # type: ignore[arg-type]
    assert [item[0] for item in found(data)] == [  # type: ignore[index]
        "x!PLUGINSDIR/caf\xe9.exe",
        "x!dir/x.exe",
        "x!dir/x.exe#2",
    ]


def test_without_a_name_it_is_called_by_its_place() -> None:
    data = installer({"": A})
    assert found(data) == [("x!data@0x0", A)]
    about = b"no header that is known"
    data = packed(
        (len(about)).to_bytes(4, "little") + about + len(A).to_bytes(4, "little") + A, "zlib"
    )
    first = bytes(4) + SIGNATURE + len(about).to_bytes(4, "little")
    data = first + (32 + len(data)).to_bytes(4, "little") + data + bytes(4)
    assert found(data) == [("x!data@0x0", A)]


@pytest.mark.parametrize(("pack", "solid"), [("lzma", True), ("zlib", False), ("copy", False)])
def test_going_on_from_any_place(pack: str, solid: bool) -> None:
    data = installer(FILES, pack, solid=solid)  # type: ignore[arg-type]
    for number in range(1, 5):
        first = walk(data)
        items = first.items("nsis")
        for _ in range(number):
            next(items)
        rest = walk(data, start=first.cursor())
        got = [item and (item.path, item.data) for item in rest.items("nsis")]  # type: ignore[union-attr]
        assert got == WANTED[number:]


@pytest.mark.parametrize("pack", ["zlib", "lzma", "bzip2"])
def test_a_damaged_file_leaves_the_others(pack: Pack) -> None:
    """Where each is packed by itself."""
    data, own = installer({"a.exe": A, "b.exe": B}, pack), packed(A, pack)
    at = data.index(own)
    broken = data[: at + 12] + bytes(len(own) - 12) + data[at + len(own) :]
    damaged, whole = found(broken)  # of deflated bytes other ones may come out
    assert damaged != ("x!a.exe", A)
    assert whole == ("x!b.exe", B)


def test_damage() -> None:
    whole = installer(FILES, "zlib")
    for size in (10, 27, 30, 60):
        ((_, code),) = found(whole[:size])  # type: ignore[misc]
        assert code == "damaged-archive"
    cut = found(installer(FILES, "copy")[:-9000])
    assert cut[0] == WANTED[0]
    assert cut[-1] == ("x", "damaged-archive")
    assert found(bytes(4) + b"\0" * 40)[0] == ("x", "damaged-archive")
    lie = whole[:28] + (1 << 30 | 1 << 31).to_bytes(4, "little") + whole[32:]
    assert found(lie) == [("x", "damaged-archive")]
    huge = b"\x5d" + (MAX_DICTIONARY + (1 << 20)).to_bytes(4, "little") + bytes(100)
    data = bytes(4) + SIGNATURE + (100).to_bytes(4, "little") + (200).to_bytes(4, "little") + huge
    assert found(data) == [("x", "damaged-archive")]


def test_caps() -> None:
    many = installer({f"{n}.exe": b"" for n in range(50)}, "copy")
    assert found(many, Archives(members=20))[-1] == ("x", "archive-members")
    bomb = installer({"a.exe": b"MZ" + bytes(3_000_000)}, "lzma", solid=True)
    assert found(bomb, Archives(unpacked=1 << 20))[-1] == ("x", "archive-size")
    unwanted = installer({"a.txt": bytes(3_000_000), "b.exe": A}, "lzma", solid=True)
    assert found(unwanted, Archives(unpacked=1 << 20)) == [None, ("x", "archive-size")]
    assert found(installer({"a.exe": B * 20, "b.exe": A}, solid=True)) == [
        ("x!a.exe", "too-large"),
        ("x!b.exe", A),
    ]


def test_too_much_bzip2() -> None:
    many = installer({f"{n}.exe": A for n in range(MOST_BLOCKS + 4)}, "bzip2")
    *read, last = found(many)
    assert last == ("x", "archive-time")
    assert read == [(f"x!{n}.exe", A) for n in range(MOST_BLOCKS - 1)]  # the header is one, too


def test_a_script_without_end() -> None:
    """Names are made of what is met alone."""
    count = (MAX_HEADER - 2_000_000) // 28
    about = bytes(4) + struct.pack("<II", 0, 0) * 2
    about += struct.pack("<II", 68, count) + struct.pack("<II", 68 + 28 * count, 0) * 5
    about += struct.pack("<7i", 20, 1, 1, 0, 0, 0, 0) * count + b"\0\0" + b"x" * 1_000_000
    data = packed(struct.pack("<I", len(about)) + about + struct.pack("<I", len(A)) + A, "lzma")
    first = bytes(4) + SIGNATURE + struct.pack("<II", len(about), 32 + len(data))
    began = time.monotonic()
    ((path, content),) = found(first + data + bytes(4))
    assert (path[:9], content) == ("x!" + "\u7878" * 7, A)
    assert time.monotonic() - began < 10


def test_where_it_lies_in_a_program() -> None:
    data, shell = installer(FILES), b"MZ" + bytes(1000)
    (place,) = archives_in(shell + data + b"behind it")
    assert (place.start, place.end, place.kind) == (len(shell), len(shell + data), "nsis")
    (cut,) = archives_in(shell + data[:-100])
    assert cut.end == len(shell + data) - 100
    assert not list(archives_in(shell + SIGNATURE))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_stop_it(drawn: st.DataObject) -> None:
    """Of an installer with some bytes changed, every file is read or is in trouble."""
    pack = drawn.draw(st.sampled_from(EACH))
    solid = drawn.draw(st.booleans()) and pack != "copy"
    data = bytearray(installer({"a.exe": A, "b.exe": A[::-1]}, pack, solid=solid))
    for at in drawn.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=8)):
        data[at] = drawn.draw(st.integers(0, 255))
    items = list(walk(bytes(data), Archives(unpacked=1 << 24)).items("nsis"))
    assert all(item is None or isinstance(item, Member | Trouble) for item in items)


@given(st.binary(max_size=200))
def test_no_bytes_behind_the_signature_stop_it(data: bytes) -> None:
    list(walk(bytes(4) + SIGNATURE + data).items("nsis"))


@pytest.mark.skipif(shutil.which("makensis") is None, reason="no makensis")
@pytest.mark.parametrize("solid", ["", "/SOLID "])
@pytest.mark.parametrize("how", ["zlib", "bzip2", "lzma"])
@pytest.mark.parametrize("unicode", ["true", "false"])
def test_those_of_makensis(
    how: str, solid: str, unicode: str, tmp_path: Path, samples_dir: Path
) -> None:
    programs = [samples_dir / name for name in ("gui-x86.exe", "console-x64.exe")]
    noise = tmp_path / "noise.exe"  # which is stored
    noise.write_bytes(b"MZ" + random.Random(0).randbytes(200_000))
    script = tmp_path / "setup.nsi"
    script.write_text(
        f"""Unicode {unicode}
SetCompressor {solid}{how}
OutFile "{tmp_path / "setup.exe"}"
InstallDir "$TEMP"
Section
SetOutPath "$INSTDIR"
{chr(10).join(f'File "{path}"' for path in (*programs, noise))}
File "/oname=$PLUGINSDIR{chr(92)}p.dll" "{samples_dir / "debug-x86.exe"}"
SectionEnd
"""
    )
    subprocess.run(["makensis", "-V1", script], check=True)
    data = (tmp_path / "setup.exe").read_bytes()
    places = [place for place in archives_in(data) if place.kind == "nsis"]
    assert len(places) == 1
    inside = data[places[0].start : places[0].end]
    got = {item.path: item.data for item in walk(inside).items("nsis") if isinstance(item, Member)}
    assert {
        f"x!{path.name}": path.read_bytes() for path in (*programs, noise)
    }.items() <= got.items()
    assert got["x!PLUGINSDIR/p.dll"] == (samples_dir / "debug-x86.exe").read_bytes()
