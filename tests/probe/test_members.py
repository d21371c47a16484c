"""Chunks of archives as workers prepare them, and what is said of what is no sample."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path

import pytest
from corpus.synthetic import program, seven_zipped, tarred, zipped
from hostile.make import sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maltriage.probe import members
from maltriage.probe.members import Chunk, ChunkOptions, is_archive, prepare_members
from maltriage.probe.prepare import Again, Prepared, PrepareOptions
from maltriage.sample.errors import SampleError
from maltriage.sample.views import BodySpec
from maltriage.source.archive import limits
from maltriage.source.archive.limits import Archives
from maltriage.source.files import Rejected

WORK = PrepareOptions((BodySpec(64),), archives=Archives())
FILES = {f"{i}.exe": program(0, i, size=2000) for i in range(5)}


def chunks(path: str | Path, how: ChunkOptions, work: PrepareOptions = WORK) -> list[Chunk]:
    done, cursor = [], None
    while True:
        chunk = prepare_members(str(path), work, how, cursor)
        assert isinstance(chunk, Chunk)
        done.append(chunk)
        cursor = chunk.cursor
        if cursor is None:
            return done


def said(chunk: Chunk) -> list[str]:
    return [
        os.path.basename(item.path) + (f" {item.code}" if isinstance(item, Rejected) else "")
        for item in chunk.items
    ]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_chunks(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a"
    path.write_bytes(pack({**FILES, "notes.txt": b"hello"}))
    found = [said(chunk) for chunk in chunks(path, ChunkOptions(2, 60))]
    assert found == [["a!0.exe", "a!1.exe"], ["a!2.exe", "a!3.exe"], ["a!4.exe", "a members"]]
    one = [said(chunk) for chunk in chunks(path, ChunkOptions(9, 0.0))]
    assert [len(items) for items in one] == [1, 1, 1, 1, 1, 0, 1]
    step = chunks(path, ChunkOptions(9, 60, step=True))
    assert [said(chunk) for chunk in step] == one
    last = step[-1].items[0]
    assert isinstance(last, Rejected)
    assert last.reason.startswith("1 of the 6 files in it is neither a PE file")
    assert not last.failed


def test_files_that_cannot_be_read_are_counted_too(tmp_path: Path) -> None:
    """Over chunks, too."""
    packed = bytearray(zipped({"notes.txt": b"hello", **FILES, "z.txt": b"hello"}, None))
    packed[packed.index(b"0.exe") + 60] ^= 255
    (tmp_path / "a").write_bytes(packed)
    for samples in (1, 9):
        done = chunks(tmp_path / "a", ChunkOptions(samples, 60))
        items = [item for chunk in done for item in chunk.items]
        unread, last = (item for item in items if isinstance(item, Rejected))
        assert unread.failed
        assert last.reason.startswith("2 of the 7 files in it are neither a PE file")


def test_chunks_end_at_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_CHUNK_BYTES", 3000)
    (tmp_path / "a").write_bytes(zipped(FILES))
    assert [len(p.items) for p in chunks(tmp_path / "a", ChunkOptions(9, 60))] == [1] * 5 + [0]


def test_equal_content_is_prepared_once(tmp_path: Path) -> None:
    """Over chunks too; files that only begin and end alike are told apart."""
    alike = [FILES["0.exe"][:1000] + bytes((i,)) + FILES["0.exe"][1001:] for i in range(3)]
    files = {f"{i:02d}.exe": alike[i % 3] for i in range(12)}
    (tmp_path / "a").write_bytes(zipped(files))
    for samples in (2, 9):
        done = chunks(tmp_path / "a", ChunkOptions(samples, 60))
        items = [item for chunk in done for item in chunk.items]
        assert [Path(item.path).name for item in items] == [f"a!{name}" for name in files]
        assert [type(item) for item in items] == [Prepared] * 3 + [Again] * 9
        for number, item in enumerate(items[3:]):
            assert isinstance(item, Again)
            assert Path(item.of).name == f"a!{number % 3:02d}.exe"


def test_equal_carriers_carry_the_same(tmp_path: Path) -> None:
    carrier = sample("console-x86.exe") + bytes(5000) + sample("library-x64.dll")
    (tmp_path / "a").write_bytes(zipped({f"{i}.exe": carrier for i in range(4)}))
    work = replace(WORK, archives=Archives(carve=8))
    for samples in (1, 9):  # over chunks, they are searched again
        done = chunks(tmp_path / "a", ChunkOptions(samples, 60), work)
        items = [item for chunk in done for item in chunk.items]
        names = [item.path.rpartition("a!")[2] for item in items]
        assert names == [
            n for i in range(4) for n in (f"{i}.exe", names[1].replace("0", str(i), 1))
        ]
        assert "!carved@" in names[1]
        again = [item for item in items if isinstance(item, Again)]
        assert len(again) == (0 if samples == 1 else 6)
        assert [item.of.rpartition("a!")[2] for item in again] == names[:2] * (len(again) // 2)


def test_what_is_said_of_an_archive(tmp_path: Path) -> None:
    cases = {
        "docx": (zipped({"a.xml": b"<a/>", "b.png": b""}, None), ["docx not-pe"]),
        "empty": (zipped({}, None), ["empty not-pe"]),
        "sealed": (zipped({"a.exe": FILES["0.exe"], "b": b"x"}, "s"), ["sealed password"]),
        "large": (zipped({"a.exe": b"MZ" + bytes(5000)}, None), ["large!a.exe too-large"]),
        "clean": (zipped({"a.exe": FILES["0.exe"]}), ["clean!a.exe"]),
    }
    work = PrepareOptions(WORK.views, max_size=4096, archives=Archives())
    for name, (data, expected) in cases.items():
        (tmp_path / name).write_bytes(data)
        (chunk,) = chunks(tmp_path / name, ChunkOptions(9, 60), work)
        assert said(chunk) == expected
    (tmp_path / "a.exe").write_bytes(FILES["0.exe"])
    assert isinstance(prepare_members(str(tmp_path / "a.exe"), WORK, ChunkOptions(9, 60)), Prepared)
    (tmp_path / "a.txt").write_bytes(b"hello")
    with pytest.raises(SampleError):
        prepare_members(str(tmp_path / "a.txt"), WORK, ChunkOptions(9, 60))
    assert is_archive(str(tmp_path / "clean!a.exe"))
    assert not is_archive(str(tmp_path / "a.exe"))


def test_one_member_and_an_archive_in_an_archive(tmp_path: Path) -> None:
    inner = tarred({"x.exe": FILES["0.exe"], "y.exe": FILES["1.exe"]}, "gz")
    (tmp_path / "a").write_bytes(zipped({"b.tar.gz": inner, "z.exe": FILES["2.exe"]}))
    for name, expected in (
        ("a!z.exe", ["a!z.exe"]),
        ("a!b.tar.gz", ["a!b.tar.gz!x.exe", "a!b.tar.gz!y.exe"]),
        ("a!b.tar.gz!y.exe", ["a!b.tar.gz!y.exe"]),
        ("a!none", ["a!none not-found"]),
    ):
        (chunk,) = chunks(tmp_path / name, ChunkOptions(9, 60))
        assert said(chunk) == expected


def test_what_is_no_program_is_not_missing_however_it_is_read(tmp_path: Path) -> None:
    texts = zipped({"b.txt": b"text", "c.txt": b"text"}, None)
    (tmp_path / "a.zip").write_bytes(zipped({"a.txt": b"text", "in.zip": texts}, None))
    for name, code, begins in (
        ("a.txt", "not-pe", "it is neither"),
        ("in.zip", "not-pe", "an archive without"),
        ("none.txt", "not-found", "no such file"),
    ):
        for how in (ChunkOptions(9, 60), ChunkOptions(9, 60, step=True), ChunkOptions(9, 0)):
            found = chunks(tmp_path / f"a.zip!{name}", how)
            (item,) = [item for chunk in found for item in chunk.items]
            assert isinstance(item, Rejected)
            assert (item.code, item.reason.startswith(begins)) == (code, True), (name, how)


def _pack(kind: str, files: dict[str, bytes]) -> bytes:
    if kind == "7z":
        return seven_zipped(files)
    if kind == "zip":
        return zipped(files, None)
    if kind == "gz":
        return gzip.compress(next(iter(files.values())))
    return tarred(files, kind.partition("tar")[2])


def _in_another(data: bytes, kind: str) -> bytes:
    return zipped({f"inner.{kind}": data, "last.exe": FILES["0.exe"]}, None)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["zip", "7z", "tar", "targz", "gz"])
@given(
    sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=5),
    damage=st.none() | st.integers(1, 200),
    cap=st.sampled_from(["none", "unpacked", "members", "ratio", "size"]),
    step=st.booleans(),
    seconds=st.sampled_from([0.0, 60.0]),
    samples=st.integers(1, 3),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_chunk_goes_on_or_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    nested: bool,
    sizes: list[int],
    damage: int | None,
    cap: str,
    step: bool,
    seconds: float,
    samples: int,
) -> None:
    """A 7z of 46 KB stopped a scan for good once: its cap was told over and over."""
    monkeypatch.setattr(members, "MAX_CHUNK_BYTES", 30_000)
    monkeypatch.setattr(limits, "RATIO_FROM", 10_000)
    data = _pack(kind, {f"{i}.exe": b"MZ" + bytes(size) for i, size in enumerate(sizes)})
    data = data[: len(data) - damage] if damage else data
    (tmp_path / "a").write_bytes(_in_another(data, kind) if nested else data)
    allowed = Archives(
        unpacked=20_000 if cap == "unpacked" else 1 << 30,
        members=2 if cap == "members" else 100,
        ratio=3 if cap == "ratio" else 1 << 20,
    )
    max_size = 15_000 if cap == "size" else 1 << 20
    work = PrepareOptions(WORK.views, max_size=max_size, archives=allowed)
    cursor, before, told = None, (), []
    for _ in range(30):
        try:
            chunk = prepare_members(
                str(tmp_path / "a"), work, ChunkOptions(samples, seconds, step=step), cursor
            )
        except SampleError:
            return
        if not isinstance(chunk, Chunk):
            return
        told += [item.code for item in chunk.items if isinstance(item, Rejected)]
        cursor = chunk.cursor
        if cursor is None:
            assert len([code for code in told if code.startswith("archive-")]) <= 1
            return
        assert cursor.at > before
        before = cursor.at
    raise AssertionError(f"no end: {told}")
