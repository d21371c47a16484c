"""Archives inside programs: found by what they say of themselves, and the programs in them read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from corpus.synthetic import seven_zipped, zipped
from hostile.make import byteplot, sample
from hypothesis import given
from hypothesis import strategies as st
from source.archive.foreign import cabinet, rar5

from maltriage.probe import members
from maltriage.probe.members import Chunk, ChunkOptions, Item, prepare_members
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.sample.errors import SampleError
from maltriage.sample.views import BodySpec
from maltriage.source.archive import by_libarchive
from maltriage.source.archive.limits import Archives
from maltriage.source.files import Rejected
from maltriage.source.reading import Reading
from maltriage.source.samples import read_sample
from maltriage.source.self_extracting import packed, split_packed, take_packed

STUB, GUI, X64 = sample("console-x86.exe"), sample("gui-x86.exe"), sample("console-x64.exe")
FILES = {"in/gui.exe": GUI, "read.me": b"no program" * 100, "x64.exe": X64}
ONE = {"in/gui.exe": GUI}
MAKERS = {
    "7z": lambda: seven_zipped(FILES, None),
    "zip": lambda: zipped(FILES, None),
    "cab": lambda: cabinet(ONE),  # of one block
    "rar": lambda: rar5(FILES),
}
WORK = PrepareOptions((BodySpec(64),), archives=Archives(carve=8))
BY_LIBARCHIVE = pytest.mark.skipif(
    by_libarchive.library() is None, reason="libarchive is not installed"
)
KINDS = ["7z", "zip", *(pytest.param(kind, marks=BY_LIBARCHIVE) for kind in ("cab", "rar"))]


def found(data: bytes, path: Path, work: PrepareOptions = WORK) -> list[Item]:
    path.write_bytes(data)
    made = prepare_members(str(path), work, ChunkOptions(9, 60))
    return made.items if isinstance(made, Chunk) else [made]


@pytest.mark.parametrize("kind", KINDS)
def test_programs_in_it_are_samples(kind: str, tmp_path: Path) -> None:
    """With what self-extractors have before the archive, and a certificate behind it."""
    archive = MAKERS[kind]()
    data = STUB + b";!@Install@!UTF-8!" + archive + b"\x30\x82" * 40
    path = tmp_path / "setup.exe"
    carrier, *inside = found(data, path)
    start = len(STUB) + 18
    assert [archive.start for archive in packed(data)] == [start]
    name = f"{path}!carved@{start:#x}.{kind}"
    assert isinstance(carrier, Prepared)
    # The RAR archive is made without compression, so a search finds what lies in them too.
    inside = [item for item in inside if not item.path.rpartition("!")[2].startswith("carved@")]
    wanted = {"in/gui.exe": GUI} if kind == "cab" else {"in/gui.exe": GUI, "x64.exe": X64}
    assert [item.path for item in inside] == [f"{name}!{inner}" for inner in wanted]
    for item, whole in zip(inside, wanted.values(), strict=True):
        assert isinstance(item, Prepared)
        assert read_sample(item.path, Reading(archives=Archives())).data == whole
        again = prepare_members(item.path, WORK, ChunkOptions(9, 60))
        assert isinstance(again, Prepared)
        assert again.identity == item.identity


def test_pictures_and_texts_of_an_installer_are_no_samples(tmp_path: Path) -> None:
    others = {"icon.png": b"\x89PNG\r\n\x1a\n" + bytes(99), "a.bytes": b"00401000 4D 5A 90 00\n"}
    data = STUB + seven_zipped({**others, "gui.exe": GUI}, None)
    _, *inside = found(data, tmp_path / "setup.exe")
    assert [item.path.rpartition("!")[2] for item in inside] == ["gui.exe"]


def test_in_an_archive_and_as_a_byteplot(tmp_path: Path) -> None:
    data = STUB + seven_zipped({"gui.exe": GUI}, None)
    for wrap, prefix in ((byteplot, ""), (lambda x: zipped({"setup.exe": x}), "!setup.exe")):
        _, inside = found(wrap(data), tmp_path / "a")
        assert inside.path == f"{tmp_path / 'a'}{prefix}!carved@{len(STUB):#x}.7z!gui.exe"
        assert read_sample(inside.path, Reading(archives=Archives())).data == GUI


def test_none_is_opened_unless_asked(tmp_path: Path) -> None:
    data = STUB + seven_zipped(FILES, None)
    assert len(found(data, tmp_path / "a", replace(WORK, archives=Archives()))) == 1


@pytest.mark.parametrize(
    "looks_like",
    [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\1\0", b"MSCF\0\0\0\0", b"PK\3\4"],
)
def test_programs_that_know_archives_have_none(looks_like: bytes, tmp_path: Path) -> None:
    """Their magics are constants of whoever reads them: no error, and nothing is found."""
    for behind in (b"", bytes(600), os.urandom(600), b"PK\5\6" + bytes(18)):
        assert len(found(STUB + looks_like + behind, tmp_path / "a")) == 1


def test_where_a_zip_begins_is_a_guess(tmp_path: Path) -> None:
    """Whoever makes zips has the magic of one, and may carry one too."""
    _, item = found(STUB + b"PK\3\4" + bytes(900) + zipped({"a.exe": GUI}, None), tmp_path / "a")
    assert isinstance(item, Prepared)
    assert item.path.endswith(f"!carved@{len(STUB):#x}.zip!a.exe")


@pytest.mark.parametrize(
    "decoy", [b"Rar!\x1a\x07\1\0" + bytes(99), b"PK\3\4", b"PK\3\4" + bytes(99)]
)
def test_nothing_that_looks_like_one_hides_another(decoy: bytes, tmp_path: Path) -> None:
    """Neither the constants of a program that unpacks archives nor a decoy."""
    archive = seven_zipped({"a.exe": GUI}, None)
    for end in (b"", b"PK\5\6" + bytes(18)):
        _, item = found(STUB + decoy + archive + end, tmp_path / "a")
        assert item.path.endswith(f"!carved@{len(STUB + decoy):#x}.7z!a.exe")


def test_more_archives_than_are_tried_are_named(tmp_path: Path) -> None:
    data = STUB + b"PK\3\4" * 99 + seven_zipped({"a.exe": GUI}, None) + b"PK\5\6" + bytes(18)
    _, item = found(data, tmp_path / "a")
    assert isinstance(item, Rejected)
    assert (item.code, item.failed) == ("carve-limit", False)


def test_an_encrypted_one_is_named(tmp_path: Path) -> None:
    data = STUB + zipped({"gui.exe": GUI}, "secret")
    _, item = found(data, tmp_path / "a")
    assert isinstance(item, Rejected)
    assert (item.code, item.failed) == ("password", True)
    work = replace(WORK, archives=Archives(passwords=("secret",), carve=8))
    assert isinstance(found(data, tmp_path / "a", work)[1], Prepared)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = STUB + seven_zipped(FILES, None)
    *_, last = found(data, tmp_path / "a", replace(WORK, archives=Archives(carve=1)))
    assert isinstance(last, Rejected)
    assert (last.code, last.failed) == ("carve-limit", False)
    monkeypatch.setattr(members, "MAX_CHUNK_BYTES", len(GUI) + 1000)
    *_, last = found(data, tmp_path / "a")
    assert isinstance(last, Rejected)
    assert (last.code, last.failed) == ("carve-limit", False)
    assert last.path.endswith(".7z")


def test_many_that_look_like_one_do_not_cost_much(tmp_path: Path) -> None:
    head = b"MSCF" + bytes(4) + (36).to_bytes(4, "little") + bytes(12) + b"\3\1" + bytes(10)
    data = STUB + head * 100_000 + seven_zipped(FILES, None)
    _, *inside = found(data, tmp_path / "a")
    if by_libarchive.library() is None:  # they are nothing then, and the archive is found
        assert len(inside) == 2
    else:
        (item,) = inside
        assert isinstance(item, Rejected)
        assert item.code == "carve-limit"


def test_paths(tmp_path: Path) -> None:
    assert split_packed("b.zip!a.exe!carved@0x1a.7z!x!y.exe") == (
        "b.zip!a.exe",
        "b.zip!a.exe!carved@0x1a.7z",
        0x1A,
    )
    for other in ("a.7z!x.exe", "a!carved@0x1a.exe!x", "a!carved@0x1a.7z!", "a!carved@1a.7z!x"):
        assert split_packed(other) is None
    (tmp_path / "a.exe").write_bytes(STUB)
    with pytest.raises(SampleError) as caught:
        read_sample(f"{tmp_path / 'a.exe'}!carved@0x400.7z!x.exe", Reading(archives=Archives()))
    assert (caught.value.code, caught.value.failed) == ("not-found", True)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [b"7z\xbc\xaf\x27\x1c", b"MSCF\0\0\0\0", b"PK\3\4", b"PK\5\6", b"Rar!\x1a\x07"]
            ),
            st.binary(max_size=40),
        ),
        max_size=20,
    )
)
def test_what_is_found_lies_in_the_file(parts: list[bytes]) -> None:
    data = b"MZ" + b"".join(parts)
    last = 1
    for archive in packed(data):
        assert last <= archive.start < archive.end <= len(data)
        assert take_packed(data, archive.start) == archive
        last = archive.end
