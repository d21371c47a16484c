"""Files in archives and in archives in them: names, order, caps, and going on from any place."""

from __future__ import annotations

import io
import itertools
import os
import re
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import py7zr
import pytest
from corpus.synthetic import seven_zipped, squeezed, tarred, zipped
from source.archive.nsis_writer import installer

from maltriage.source.archive import limits as archive_limits
from maltriage.source.archive import sevens
from maltriage.source.archive.entries import Names
from maltriage.source.archive.kinds import KINDS, kind_of_bytes
from maltriage.source.archive.limits import Archives
from maltriage.source.archive.tars import MAX_HEADER
from maltriage.source.archive.walk import Cursor, Member, Trouble, Walk

A, B, C = (b"MZ" + bytes([i]) * 700 for i in range(3))
PASSED = {"a.exe": A, "notes.txt": b"hello", "d/b.exe": B, "empty": b""}
MIB = 1 << 20


def walk(archive: bytes, limits: Archives | None = None, **options: object) -> Walk:
    return Walk(
        io.BytesIO(archive),
        "x",
        len(archive),
        limits or Archives(),
        options.pop("max_size", MIB),  # type: ignore[arg-type]
        lambda name, head: head[:2] == b"MZ",
        **options,  # type: ignore[arg-type]
    )


def shown(item: Member | Trouble | None) -> object:
    """The path of a member, the code of a trouble with its path, None for other files."""
    if isinstance(item, Trouble):
        return item.path, item.error.code
    return item and item.path


def found(archive: bytes, limits: Archives | None = None, **options: object) -> list[object]:
    kind = kind_of_bytes(archive)
    assert kind is not None
    return [shown(item) for item in walk(archive, limits, **options).items(kind)]


ARCHIVES = {
    "zip": zipped(PASSED, None),
    "aes": zipped(PASSED),
    "7z": seven_zipped(PASSED, None),
    "aes7z": seven_zipped(PASSED, "malware"),
    "tar": tarred(PASSED),
    **{f"tar.{packed}": tarred(PASSED, packed) for packed in ("gz", "bz2", "xz", "zst")},
    "nsis": installer(PASSED),
    "solid nsis": installer(PASSED, solid=True),
}


def test_all_kinds_are_tried_and_documented() -> None:
    here = {name for name, kind in KINDS.items() if not kind.by_libarchive}
    assert {kind_of_bytes(archive) for archive in ARCHIVES.values()} == here
    text = (Path(__file__).parents[3] / "docs" / "reference" / "inputs.md").read_text(
        encoding="utf-8"
    )
    section = text[text.index("## Archives") : text.index("| cap |")]
    assert [name for name in KINDS if not re.search(rf"\b{name}\b", section)] == []


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_kind(name: str) -> None:
    assert found(ARCHIVES[name]) == ["x!a.exe", None, "x!d/b.exe", None]
    archive = walk(ARCHIVES[name])
    kind = kind_of_bytes(ARCHIVES[name])
    assert kind is not None
    data = [item.data for item in archive.items(kind) if isinstance(item, Member)]
    assert data == [A, B]


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", "zst"])
def test_a_stream_of_one_file(packed: str) -> None:
    assert found(squeezed(A, packed)) == ["x!x"]
    assert found(squeezed(b"text", packed)) == [None]
    cut = found(squeezed(bytes(range(256)) * 40, packed)[:-9])
    assert cut == [("x", "damaged-archive")] or cut == [None]
    both = squeezed(A, packed) + squeezed(B, packed)  # as `cat a.gz b.gz` makes it
    item = next(walk(both).items(packed))
    assert isinstance(item, Member)
    assert item.data == A + B


@pytest.mark.parametrize("padding", [4, 1 << 16, 1 << 18])
def test_padding_between_xz_streams(padding: int) -> None:
    both = squeezed(A, "xz") + bytes(padding) + squeezed(B, "xz") + bytes(padding)
    item = next(walk(both).items("xz"))
    assert isinstance(item, Member)
    assert item.data == A + B


def holey(size: int) -> bytes:
    """A tar archive of one file, of whose bytes it has only the first: the rest is a hole."""
    info = tarfile.TarInfo("a.exe")
    info.size = 512
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[156:157] = b"S"
    head[386:434] = b"".join(b"%011o\0" % n for n in (0, 512, size, 0))
    head[483:495] = b"%011o\0" % size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + A[:512] + bytes(1024)


@pytest.mark.parametrize("packed", ["", "gz"])
def test_holes_of_sparse_files_are_charged(packed: str) -> None:
    archive = holey(MIB)
    archive = squeezed(archive, packed) if packed else archive
    assert found(archive) == ["x!a.exe"]
    (last,) = found(archive, Archives(unpacked=MIB // 2))
    assert isinstance(last, tuple)
    assert last[0] == "x"
    assert last[1] in ("archive-size", "archive-unpacked", "archive-ratio")


def test_many_equal_names_take_no_longer_each() -> None:
    names = Names()
    for number in range(2, 5_002):
        names(f"x#{number}")
    assert names("x") == "x"
    assert [names("x") for _ in range(5_000)] == [f"x#{n}" for n in range(5_002, 10_002)]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("../../x.exe", "/abs.exe", "same", "same#2", "same", "caf\xe9.exe"):
            file.writestr(name, A)
    up, absolute, *same, accent = found(archive.getvalue())
    assert (up, absolute) == ("x!../../x.exe", "x!/abs.exe")
    assert same == ["x!same", "x!same#2", "x!same#3"]
    assert accent == "x!caf\xe9.exe"
    # A name that is no UTF-8, of an archive that does not say it is.
    latin = zipped({"cafX.exe": A}, None).replace(b"cafX", b"caf\xe9")
    assert found(latin) == ["x!caf\udce9.exe"]
    assert found(tarred({"caf\udce9.exe": A})) == ["x!caf\udce9.exe"]


def test_a_name_that_is_no_utf8_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the names of files are Unicode; a name in an archive is not that of a file."""
    monkeypatch.setattr(os, "fsdecode", lambda raw: raw.decode("utf-8", "surrogatepass"))
    latin = zipped({"cafX.exe": A}, None).replace(b"cafX", b"caf\xe9")
    assert found(latin) == ["x!caf\udce9.exe"]


def test_a_7z_file_with_names_that_lead_out_of_it() -> None:
    """Its library refuses them; here no name is a path on the disk."""
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as archive:
        archive.set_encoded_header_mode(False)
        for name in ("ab/cd/x.exe", "bb/cd/x.exe"):
            archive.writestr(A, name)
    data = bytearray(out.getvalue())
    start, size = struct.unpack_from("<QQ", data, 12)
    header = bytes(data[32 + start : 32 + start + size])
    for name, other in (("ab/cd/x.exe", "../../x.exe"), ("bb/cd/x.exe", "../../x.exe")):
        header = header.replace(name.encode("utf-16le"), other.encode("utf-16le"))
    data[32 + start :] = header
    struct.pack_into("<I", data, 28, zlib.crc32(header))
    struct.pack_into("<I", data, 8, zlib.crc32(data[12:32]))
    assert found(bytes(data)) == ["x!../../x.exe", "x!../../x.exe#2"]


def test_archives_in_archives() -> None:
    inner = tarred({"c.exe": C, "t": b""}, "gz")
    outer = zipped({"b.tar.gz": inner, "z.7z": seven_zipped({"a.exe": A}), "b.exe": B}, "virus")
    everything = ["x!b.tar.gz!c.exe", None, "x!z.7z!a.exe", "x!b.exe"]
    assert found(outer) == everything
    deep = found(outer, Archives(nesting=1))
    assert deep == [("x!b.tar.gz", "archive-depth"), ("x!z.7z", "archive-depth"), "x!b.exe"]
    only = found(outer, only="x!b.tar.gz!c.exe")
    assert [item for item in only if item] == ["x!b.tar.gz!c.exe"]
    assert [item for item in found(outer, only="x!z.7z") if item] == ["x!z.7z!a.exe"]


@pytest.mark.parametrize("name", [*ARCHIVES, "nested"])
def test_going_on_from_every_place(name: str) -> None:
    inner = tarred({"c.exe": C, "t": b"", "d.exe": A}, "xz")
    nested = zipped({"a.exe": A, "b.tar.xz": inner, "cut.zip": zipped(PASSED)[:-9], "e.exe": B})
    archive = ARCHIVES.get(name, nested)
    kind = kind_of_bytes(archive)
    assert kind is not None
    pieces: list[object] = []
    cursor, last = Cursor(), Cursor()
    reader = walk(archive)
    for _ in reader.items(kind):
        last = reader.cursor()
    while True:
        reader = walk(archive, cursor_from=cursor)
        items = reader.items(kind)
        more = [shown(item) for item in itertools.islice(items, 1)]
        items.close()  # type: ignore[attr-defined]
        if not more:
            break
        pieces += more
        cursor = reader.cursor()
    assert pieces == found(archive)
    assert replace(cursor, unpacked=0) == replace(last, unpacked=0)
    # An entry is charged once, however often the archive is gone through again; of a stream the
    # headers between its files may be charged in the one case and not in the other.
    assert abs(cursor.unpacked - last.unpacked) <= 10240


@pytest.mark.parametrize("name", ARCHIVES)
def test_caps(name: str) -> None:
    archive = ARCHIVES[name]
    assert found(archive, Archives(members=2)) == ["x!a.exe", None, ("x", "archive-members")]
    assert ("x", "archive-size") in found(archive, Archives(unpacked=800))
    assert found(archive, max_size=700) == [
        ("x!a.exe", "too-large"), None, ("x!d/b.exe", "too-large"), None,
    ]  # fmt: skip


@pytest.mark.parametrize("headers", [False, True])
def test_a_key_of_many_rounds(headers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2^24, which take 6 s for each password; here of the 2^19 that are always written."""
    archive = seven_zipped({"a.exe": A, "b.exe": B}, headers=headers)
    assert found(archive) == ["x!a.exe", "x!b.exe"]
    monkeypatch.setattr(sevens, "MAX_ROUNDS", 18)
    (item,) = walk(archive).items("7z")
    assert isinstance(item, Trouble)
    assert item.error.code == "password"
    assert "keys of 2^19 rounds, above the limit of 2^18" in item.error.reason


@pytest.mark.parametrize("pack", ["zip", "7z", "tar.gz", "tar.xz", "tar.zst", "nested"])
def test_a_bomb(pack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes of zeros in a few KiB: more than `MAX_RATIO` times the archive's size."""
    monkeypatch.setattr(archive_limits, "RATIO_FROM", 3 * MIB)
    zeros = {"a.exe": A, "bomb.exe": b"MZ" + bytes(4 * MIB)}
    if pack == "nested":
        bomb = zipped({"b.zip": zipped(zeros, None)}, None)
    elif "." in pack:
        bomb = tarred(zeros, pack.partition(".")[2])
    else:
        bomb = (zipped if pack == "zip" else seven_zipped)(zeros, None)
    *before, last = found(bomb, max_size=8 * MIB)
    assert last == ("x", "archive-ratio")
    assert len(before) == 1
    lifted = found(bomb, Archives(ratio=10**6), max_size=8 * MIB)[-1]
    assert lifted in ("x!bomb.exe", "x!b.zip!bomb.exe")


def test_a_password_that_is_none_of_those_tried_is_told_once() -> None:
    for pack in (zipped, seven_zipped):
        archive = pack({"a.exe": A, "b.exe": B}, "hunter2")
        assert found(archive) == [("x", "password")]
        right = Archives(passwords=("wrong", "hunter2"))
        assert found(archive, right) == ["x!a.exe", "x!b.exe"]


def test_what_is_in_a_tar_file_besides_files() -> None:
    others = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo(f"type{kind!r}")
        info.type, info.linkname = kind, "/etc/passwd"
        others.append(info)
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    archive = tarred({"a.exe": A}, None, (*others, folder))
    assert found(archive) == [None, None, None, None, "x!a.exe"]


def test_damage_in_the_middle_of_a_tar_file_is_no_end() -> None:
    archive = bytearray(tarred({"a.exe": A, "b.exe": B}))
    archive[1536 + 3] ^= 1  # in the header of b.exe
    assert found(bytes(archive)) == ["x!a.exe", ("x", "damaged-archive")]
    assert found(tarred({"a.exe": A, "b.exe": B})[:-9000]) == [
        "x!a.exe", ("x", "damaged-archive"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_attributes_of_many_bytes_are_not_read(kind: bytes) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, MAX_HEADER + 512
    attributes = info.tobuf() + b"12 path=xyz\n" * (info.size // 12) + bytes(info.size % 12)
    assert found(attributes + tarred({"b.exe": B})) == [("x", "damaged-archive")]
    short = tarfile.TarInfo("short")
    short.type, short.size = tarfile.GNUTYPE_LONGNAME, 6
    before = tarred({"a.exe": A})[:1536] + short.tobuf() + b"a name".ljust(512, b"\0")
    assert found(before + attributes + tarred({"b.exe": B})) == [
        "x!a.exe",
        ("x", "damaged-archive"),
    ]


def test_entries_that_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many names for one file, as bombs without nesting have them, are charged each time."""
    monkeypatch.setattr(archive_limits, "RATIO_FROM", 8 * MIB)
    single = zipped({"a": b"MZ" + bytes(MIB)}, None)
    at = single.index(b"PK\x01\x02")
    local, end = single[:at], single.index(b"PK\x05\x06")
    directory, count = single[at:end] * 200, 200
    tail = bytearray(single[end:])
    tail[8:12] = count.to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    items = found(local + directory + bytes(tail), max_size=2 * MIB)
    assert items[-2:] == [("x", "archive-overlap"), ("x", "archive-ratio")]
    assert 8 <= len(items) <= 31
