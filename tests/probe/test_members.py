"""Portions of archives as workers prepare them, and what is said of what is no sample."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus.synthetic import program, tarred, zipped

from maltriage.probe import members
from maltriage.probe.members import Portion, PortionOptions, is_archive, prepare_members
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.sample.errors import SampleError
from maltriage.sample.views import BodySpec
from maltriage.source.archive.limits import Archives
from maltriage.source.files import Rejected

WORK = PrepareOptions((BodySpec(64),), archives=Archives())
FILES = {f"{i}.exe": program(0, i, size=2000) for i in range(5)}


def portions(path: str | Path, how: PortionOptions, work: PrepareOptions = WORK) -> list[Portion]:
    done, cursor = [], None
    while True:
        portion = prepare_members(str(path), work, how, cursor)
        assert isinstance(portion, Portion)
        done.append(portion)
        cursor = portion.cursor
        if cursor is None:
            return done


def said(portion: Portion) -> list[str]:
    return [
        item.path.rsplit("/", 1)[-1] + (f" {item.code}" if isinstance(item, Rejected) else "")
        for item in portion.items
    ]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_portions(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a"
    path.write_bytes(pack({**FILES, "notes.txt": b"hello"}))
    found = [said(portion) for portion in portions(path, PortionOptions(2, 60))]
    assert found == [["a!0.exe", "a!1.exe"], ["a!2.exe", "a!3.exe"], ["a!4.exe", "a members"]]
    one = [said(portion) for portion in portions(path, PortionOptions(9, 0.0))]
    assert [len(items) for items in one] == [1, 1, 1, 1, 1, 0, 1]
    step = portions(path, PortionOptions(9, 60, step=True))
    assert [said(portion) for portion in step] == one
    last = step[-1].items[0]
    assert isinstance(last, Rejected)
    assert last.reason.startswith("1 of the 6 files in it is neither a PE file")
    assert not last.failed


def test_portions_end_at_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_PORTION_BYTES", 3000)
    (tmp_path / "a").write_bytes(zipped(FILES))
    assert [len(p.items) for p in portions(tmp_path / "a", PortionOptions(9, 60))] == [1] * 5 + [0]


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
        (portion,) = portions(tmp_path / name, PortionOptions(9, 60), work)
        assert said(portion) == expected
    (tmp_path / "a.exe").write_bytes(FILES["0.exe"])
    assert isinstance(
        prepare_members(str(tmp_path / "a.exe"), WORK, PortionOptions(9, 60)), Prepared
    )
    (tmp_path / "a.txt").write_bytes(b"hello")
    with pytest.raises(SampleError):
        prepare_members(str(tmp_path / "a.txt"), WORK, PortionOptions(9, 60))
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
        (portion,) = portions(tmp_path / name, PortionOptions(9, 60))
        assert said(portion) == expected
