"""Programs that other readers unpack have a record each, however an archive lists them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import py7zr
import pytest
from corpus.synthetic import zipped
from hostile.make import byteplot, sample

from maltriage.probe.members import Chunk, ChunkOptions, prepare_members
from maltriage.probe.prepare import PrepareOptions
from maltriage.sample.errors import SampleError
from maltriage.sample.views import byteplot as byteplot_of
from maltriage.source.archive.entries import MAX_NAME, Names
from maltriage.source.archive.kinds import kind_of_bytes
from maltriage.source.archive.limits import Archives
from maltriage.source.archive.sevens import MANY, _Sink
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample

PROGRAM = sample("console-x86.exe")
READING = Reading(archives=Archives())


def tarred(kind: bytes) -> bytes:
    info = tarfile.TarInfo("x.exe")
    info.size, info.type = len(PROGRAM), kind
    # Python writes no content for a type that it does not know.
    return info.tobuf() + PROGRAM.ljust(-(-len(PROGRAM) // 512) * 512, b"\0") + bytes(1024)


@pytest.mark.parametrize("kind", [b"0", b"Z", b"8", b"A"])
def test_a_file_of_a_type_that_no_standard_has(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(tarred(kind))
    assert read_sample(str(tmp_path / "a.tar"), READING).data == PROGRAM


def test_folders_of_a_tar_are_members(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}")
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
    (tmp_path / "a.tar").write_bytes(stream.getvalue())
    with pytest.raises(SampleError, match="after the first 10 in it are left out"):
        read_sample(str(tmp_path / "a.tar"), Reading(archives=Archives(members=10)))


@pytest.mark.parametrize("attributes", [0x10, 0x400 | 0x8000 | 0xA1FF << 16, 0x8000 | 0xC000 << 16])
def test_a_file_of_a_7z_whatever_its_attributes_say(
    tmp_path: Path, attributes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, a link and a socket have no content."""
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w") as archive:
        archive.writef(io.BytesIO(PROGRAM), "x.exe")
        archive.header.files_info.files[-1]["attributes"] = attributes
    with py7zr.SevenZipFile(tmp_path / "a.7z") as archive:
        (row,) = archive.files.files_list
        assert row["attributes"] == attributes
    assert read_sample(str(tmp_path / "a.7z"), READING).data == PROGRAM


def test_a_file_that_comes_byte_by_byte() -> None:
    """Its first bytes decide whether it is wanted, once they are there."""

    class Opening:
        max_size = 1 << 20

        def wanted(self, name: str, head: bytes) -> bool:
            return head[:2] == b"MZ"

    sink = _Sink(0, "x.exe", Opening())  # type: ignore[arg-type]
    for byte in PROGRAM[:700]:
        sink.write(bytes((byte,)))
    assert sink.wanted
    assert bytes(sink.data) == PROGRAM[:700]
    other = _Sink(0, "x.txt", Opening())  # type: ignore[arg-type]
    other.write(b"A" * 700)
    assert not other.wanted


def test_a_zip_in_the_comment_of_a_zip(tmp_path: Path) -> None:
    """The list of one reader is the first one's, of another the second's."""
    shown, hidden = zipped({"a.exe": PROGRAM}, None), zipped({"x.exe": PROGRAM}, None)
    at = hidden.rindex(b"PK\x05\x06")
    both = hidden[: at + 20] + len(shown).to_bytes(2, "little") + shown
    (tmp_path / "a.zip").write_bytes(both)
    options = PrepareOptions((byteplot_of(16),), archives=Archives())
    found = prepare_members(str(tmp_path / "a.zip"), options, ChunkOptions(9, 60.0))
    assert isinstance(found, Chunk)
    paths = {item.path.partition("!")[2]: getattr(item, "code", None) for item in found.items}
    assert paths == {"a.exe": None, "": "archive-unlisted"}
    (tmp_path / "b.zip").write_bytes(hidden)
    alone = prepare_members(str(tmp_path / "b.zip"), options, ChunkOptions(9, 60.0))
    assert isinstance(alone, Chunk)
    assert [getattr(item, "code", None) for item in alone.items] == [None]


@pytest.mark.parametrize("marker", [b"PK\x07\x08", b"PK00"])
def test_a_zip_that_was_or_might_have_been_of_several_parts(tmp_path: Path, marker: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(marker + zipped({"x.exe": PROGRAM}, None))
    assert zipfile.is_zipfile(tmp_path / "a.zip")
    assert read_sample(str(tmp_path / "a.zip"), READING).data == PROGRAM


def test_frames_that_are_passed_by() -> None:
    for number in range(16):
        assert kind_of_bytes(bytes((0x50 + number, 0x2A, 0x4D, 0x18)) + bytes(60)) == "zst"


def test_names_are_cut_and_stay_different() -> None:
    names = Names()
    first, second = (names("x" * 100_000) for _ in range(2))
    assert (len(first), second) == (MAX_NAME, f"{first}#2")


def test_a_picture_that_unpacks_to_many_times_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(byteplot(b"MZ" + bytes(1 << 27), 1 << 14))
    with pytest.raises(SampleError) as caught:
        read_sample(str(tmp_path / "a.png"))
    assert caught.value.code == "too-large"
    assert "more than 250 times as many" in caught.value.reason


def test_a_list_of_many_times_the_files_that_are_read(tmp_path: Path) -> None:
    """It is read anew for each chunk: no chunk is begun."""
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w") as archive:
        for number in range(MANY * 2 + 1):
            archive.writef(io.BytesIO(PROGRAM if not number else b"x"), f"{number}.exe")
    for members in (3, 2):
        with pytest.raises(SampleError) as caught:
            read_sample(str(tmp_path / "a.7z"), Reading(archives=Archives(members=members)))
        assert ("none is read" in caught.value.reason) is (members == 2)
    assert caught.value.code == "archive-members"
