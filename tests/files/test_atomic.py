"""What is written is whole or not there, whatever ends its writer."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from maltriage.files import atomic
from maltriage.files.atomic import (
    PART,
    PartFile,
    PartFolder,
    part_pattern,
    remove_leftovers,
    replace_file,
    replace_text,
    write_file,
)

posix = pytest.mark.skipif(os.name != "posix", reason="modes and signals as POSIX has them")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with replace_file(path, sync=True) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
        (part,) = set(names(tmp_path)) - {"a.bin"}
        assert re.fullmatch(part_pattern("a[.]bin"), part)
    assert path.read_bytes() == b"new"
    write_file(path, b"newer")
    assert path.read_bytes() == b"newer"
    with replace_text(path, errors="surrogateescape") as text:
        text.write("ä\udcff\r\n\n")
    assert path.read_bytes() == b"\xc3\xa4\xff\r\n\n"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("raised", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file_alone(tmp_path: Path, raised: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    for write in (replace_file, replace_text):
        with pytest.raises(type(raised)), write(path):  # type: ignore[operator]
            raise raised
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["a.txt"]


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(OSError, match="a"):
        write_file(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a"]


@posix
@pytest.mark.parametrize("numbered", [False, True])
def test_a_writer_that_is_killed_leaves_the_old_file_whole(tmp_path: Path, numbered: bool) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = (
        "import pathlib, sys, time\n"
        "from maltriage.files.atomic import PartFile\n"
        "file = PartFile(pathlib.Path(sys.argv[1]), numbered=sys.argv[2] == 'True')\n"
        "file.stream.write(b'new' * 100_000)\n"
        "file.stream.flush()\n"
        "print(file.part.name, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(path), str(numbered)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = process.stdout.readline().strip()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin", left]
    write_file(path, b"newer")  # its part may be of a process that lives
    assert names(tmp_path) == ["a.bin", left]
    os.utime(tmp_path / left, (0, 0))
    write_file(path, b"newest")
    assert path.read_bytes() == b"newest"
    assert names(tmp_path) == (["a.bin", left] if numbered else ["a.bin"])
    if numbered:
        whole(path, b"last")
        assert path.read_bytes() == b"last"
        assert names(tmp_path) == ["a.bin"]


def whole(path: Path, data: bytes) -> None:
    file = PartFile(path, numbered=True)
    file.stream.write(data)
    file.commit()


@posix
def test_numbered_parts_that_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    living = PartFile(path, numbered=True)
    (tmp_path / "a.csv.2.part").write_bytes(b"of a process that was killed just now")
    others = ["a.csv.x.part", "b.csv.part", "a.csv.part.txt", "aXcsv.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"of somebody else")
    os.mkfifo(tmp_path / "a.csv.7.part")
    (tmp_path / "a.csv.8.part").mkdir()
    (tmp_path / "a.csv.9.part").symlink_to(tmp_path / "b.csv.part")
    (tmp_path / "a.csv.3.part").write_bytes(b"of a process that was killed long ago")
    for name in [living.part.name, *others, *(f"a.csv.{number}.part" for number in (3, 7, 8, 9))]:
        os.utime(tmp_path / name, (0, 0), follow_symlinks=False)
    before = names(tmp_path)
    whole(path, b"whole")
    assert names(tmp_path) == sorted({*before, "a.csv"} - {"a.csv.3.part"})
    living.discard()


def test_numbered_names(tmp_path: Path) -> None:
    """Of two that write one file neither takes the other's part."""
    path = tmp_path / "a.csv"
    one, two = PartFile(path, numbered=True), PartFile(path, numbered=True)
    assert [one.part.name, two.part.name] == ["a.csv.part", "a.csv.2.part"]
    one.stream.write(b"one")
    one.commit(sync=True)
    three = PartFile(path, numbered=True)
    assert three.part.name == "a.csv.part"
    one.discard()  # is whole: the name is another's now
    assert three.part.exists()
    for file in (two, three):
        file.discard()
    assert names(tmp_path) == ["a.csv"]
    assert path.read_bytes() == b"one"


def test_a_file_system_without_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise OSError(next(iter(atomic._NO_FSYNC)), "not here")

    monkeypatch.setattr(os, "fsync", refuse)
    with replace_file(tmp_path / "a", sync=True) as stream:
        stream.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


@posix
def test_a_folder_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "one"
    with PartFolder(path) as building, PartFolder(path) as slower:
        (building.part / "x").write_bytes(b"1")
        assert building.part.name.endswith(PART)
        assert not path.exists()
        assert building.commit()
        assert (path / "x").read_bytes() == b"1"
        assert not slower.commit()  # the name is taken, and what has it stays
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path)] == [0o700] * 2
    assert names(path.parent) == ["one"]

    def interrupted() -> None:
        with PartFolder(tmp_path / "cache" / "two") as building:
            (building.part / "x").write_bytes(b"1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(path.parent) == ["one"]


def test_leftovers(tmp_path: Path) -> None:
    """Old ones of that name go, files and folders; of a folder counts what was written last."""
    token, earlier = "0" * 16, "a" * 32
    for name in (f"k.{token}.part", f"k.{earlier}.part", "k.part", "k", f"kk.{token}.part"):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))
    for name in (f"f.{token}.part", f"f.{earlier}.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / f"f.{token}.part" / "x", (0, 0))
    remove_leftovers(tmp_path, part_pattern("k|f"))
    assert names(tmp_path) == [f"f.{earlier}.part", "k", "k.part", f"kk.{token}.part"]
    remove_leftovers(tmp_path / "gone", part_pattern("k"))
