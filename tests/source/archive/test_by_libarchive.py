"""Archives that libarchive reads: names, content, damage, going on from any place; without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from corpus.synthetic import zipped
from source.archive import foreign
from source.archive.walking import walk

from maltriage.sample.errors import SampleError
from maltriage.source.archive import by_libarchive
from maltriage.source.archive.kinds import KINDS, kind_of, kind_of_bytes
from maltriage.source.archive.limits import Archives
from maltriage.source.archive.walk import Cursor, Member, Trouble
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample

A, B = b"MZ" + b"\1" * 700, b"MZ" + b"\2" * 7000
FILES = {"a.exe": A, "notes.txt": b"hello", "b.exe": B, "empty": b""}
ARCHIVES = {
    "cab": foreign.cabinet(FILES),
    "cab, as it is": foreign.cabinet(FILES, packed=False),
    "rar": foreign.rar5(FILES),
    "rar, old": foreign.rar4(FILES),
    "iso": foreign.image(FILES),
    "lzh": foreign.lzh(FILES),
}
CUT = {"cab": 20}
"""Bytes that are left out at the end: it is packed."""
needs_libarchive = pytest.mark.skipif(
    by_libarchive.library() is None, reason="libarchive is not installed here"
)


def shown(item: Member | Trouble | None) -> object:
    if isinstance(item, Trouble):
        return item.path, item.error.code, item.error.reason
    return item and (item.path, item.data)


def found(data: bytes, limits: Archives | None = None) -> list[object]:
    return [shown(item) for item in walk(data, limits).items(kind_of_bytes(data) or "none")]


@needs_libarchive
@pytest.mark.parametrize("name", ARCHIVES)
def test_every_kind(name: str) -> None:
    data = ARCHIVES[name]
    assert kind_of_bytes(data) == name.split(",", maxsplit=1)[0]
    assert KINDS[name.split(",", maxsplit=1)[0]].by_libarchive
    assert found(data) == [("x!a.exe", A), None, ("x!b.exe", B), None]


@needs_libarchive
@pytest.mark.parametrize("name", ARCHIVES)
def test_going_on_from_any_place(name: str) -> None:
    data = ARCHIVES[name]
    whole, cursor = found(data), Cursor()
    one_by_one = []
    for _ in whole:
        part = walk(data, start=cursor)
        one_by_one.append(shown(next(part.items(kind_of_bytes(data) or ""))))
        cursor = part.cursor()
    assert one_by_one == whole
    assert list(walk(data, start=cursor).items(kind_of_bytes(data) or "")) == []


@needs_libarchive
@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_breaks_off_is_damaged(name: str) -> None:
    last = found(ARCHIVES[name][: len(ARCHIVES[name]) - CUT.get(name, 4096)])[-1]
    assert isinstance(last, tuple)
    assert last[:2] == ("x", "damaged-archive")


@needs_libarchive
def test_a_wrong_checksum_is_told_and_what_follows_is_read() -> None:
    data = ARCHIVES["lzh"].replace(b"\1" * 700, b"\3" * 700)
    first, _, second, _ = found(data)
    assert first == (
        "x!a.exe",
        "damaged-archive",
        "a damaged archive (ValueError: wrong checksum)",
    )
    assert second == ("x!b.exe", B)


@needs_libarchive
def test_an_encrypted_archive_is_told() -> None:
    ((path, code, reason),) = found(foreign.rar5(FILES, encrypted=True))  # type: ignore[misc]
    assert (path, code) == ("x", "password")
    assert "libarchive does not read" in reason


@needs_libarchive
def test_caps_hold() -> None:
    for data in ARCHIVES.values():
        *_, last = found(data, Archives(members=1))
        assert isinstance(last, tuple)
        assert last[:2] == ("x", "archive-members")
        *_, last = found(data, Archives(unpacked=1000))
        assert isinstance(last, tuple)
        assert last[:2] == ("x", "archive-size")


@needs_libarchive
def test_archives_in_archives() -> None:
    inner = foreign.image({"setup.exe": A})
    assert found(zipped({"a.img": inner}, None)) == [("x!a.img!setup.exe", A)]
    assert found(foreign.rar5({"a.iso": inner, "b.zip": zipped({"b.exe": B})})) == [
        ("x!a.iso!setup.exe", A),
        ("x!b.zip!b.exe", B),
    ]


@needs_libarchive
@pytest.mark.parametrize("name", ARCHIVES)
def test_one_file_of_an_archive(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(ARCHIVES[name])
    with path.open("rb") as file:
        assert kind_of(file) == name.split(",", maxsplit=1)[0]
        assert file.tell() == 0
    assert read_sample(f"{path}!b.exe", Reading(archives=Archives())).data == B


@needs_libarchive
@pytest.mark.parametrize(
    ("locale", "make", "name"),
    [
        ("C.UTF-8", "image", "\u540d.exe"),
        ("C.UTF-8", "rar5", "\u540d.exe"),
        ("C", "rar5", "\u540d.exe"),
        ("C", "image", "x"),  # which has names in UTF-16: the file is read without
    ],
)
def test_names_that_are_not_ascii(locale: str, make: str, name: str) -> None:
    code = (
        "import sys; from source.archive import foreign;"
        "from source.archive.test_by_libarchive import A, found;"
        f"got = found(foreign.{make}({{'\u540d.exe': A}}));"
        f"assert got == [('x!{name}', A)], got"
    )
    tests = Path(__file__).parents[2]
    here = os.pathsep.join((str(tests), str(tests.parent)))
    env = {**os.environ, "LC_ALL": locale, "PYTHONPATH": here, "PYTHONUTF8": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


@needs_libarchive
def test_no_list_that_names_files_on_the_disk_is_taken(tmp_path: Path) -> None:
    """libarchive would read other files for mtree, if it chose the kind by itself."""
    (tmp_path / "secret").write_bytes(A)
    data = f"#mtree\n./x type=file contents={tmp_path}/secret\n".encode()
    assert kind_of_bytes(data) is None
    for kind in ("rar", "cab", "iso", "lzh"):
        items = [shown(item) for item in walk(data).items(kind)]
        assert all(isinstance(item, tuple) and item[1] == "damaged-archive" for item in items)


@pytest.mark.parametrize("name", ARCHIVES)
def test_without_libarchive_such_an_archive_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_libarchive, "library", lambda: None)
    assert kind_of_bytes(ARCHIVES[name]) is None
    path = tmp_path / "x.iso"
    path.write_bytes(ARCHIVES[name])
    with pytest.raises(SampleError, match="the extra `archives` open it") as caught:
        read_sample(str(path), Reading(archives=Archives()))
    assert caught.value.code == "container"
