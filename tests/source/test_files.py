from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hostile.make import non_utf8_file, sample
from paths import below, links

from maltriage.errors import MaltriageError
from maltriage.files.atomic import PART
from maltriage.sample.errors import SampleError
from maltriage.source import files
from maltriage.source.files import Found, Rejected, WalkOptions, is_result, read_list, walk
from maltriage.source.reading import MAX_IN_PART
from maltriage.source.samples import read_sample
from maltriage.source.stdin import Stdin


def names(root: Path, **options: object) -> list[str]:
    return [
        below(item.path, root)
        for item in walk([str(root)], WalkOptions(**options))  # type: ignore[arg-type]
        if isinstance(item, Found)
    ]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("b.exe", "a.dll", "sub/c.exe", "sub/deep/d.exe", "notes.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"MZ" + name.encode())
    return root


def test_order_depth_and_globs(tree: Path) -> None:
    assert names(tree) == ["a.dll", "b.exe", "notes.txt", "sub/c.exe", "sub/deep/d.exe"]
    assert names(tree, depth=0) == ["a.dll", "b.exe", "notes.txt"]
    assert names(tree, depth=1, include=("*.exe",)) == ["b.exe", "sub/c.exe"]
    assert names(tree, depth=1, include=("*/sub/*.exe",)) == ["sub/c.exe"]
    assert names(tree, include=("*sub*",)) == []  # without a slash it is of names alone
    assert names(tree, exclude=("sub",)) == ["a.dll", "b.exe", "notes.txt"]


class _Listed:
    """An entry of a folder as Windows lists it: `stat` has no numbers of device and file.

    A link is a junction, which is a folder to Python.
    """

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name, self.path = entry.name, entry.path
        self._entry = entry

    def is_symlink(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        found = list(self._entry.stat())
        found[1] = found[2] = 0
        if follow_symlinks:
            return os.stat_result(found)
        tag = 0xA0000003 if self._entry.is_symlink() else 0
        return SimpleNamespace(st_reparse_tag=tag)


def test_folders_that_are_listed_without_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"MZ")
    _list_as_windows(monkeypatch)
    found = list(walk([str(tmp_path)], WalkOptions()))
    assert [below(item.path, tmp_path) for item in found] == ["a/x", "b/x"]


@links
def test_junctions_lead_nowhere_that_links_do_not(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir(exist_ok=True)
    (tmp_path / "outside" / "x.exe").write_bytes(b"MZ")
    (tree / "out").symlink_to(tmp_path / "outside")
    _list_as_windows(monkeypatch)
    found = {below(i.path, tree): i for i in walk([str(tree)], WalkOptions())}
    out = found["out"]
    assert isinstance(out, Rejected)
    assert (out.code, out.reason) == ("symlink", "a link out of the folder")
    assert "out/x.exe" in names(tree, follow=True)


def _list_as_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    @contextmanager
    def listed(folder: str) -> Iterator[list[_Listed]]:
        with scandir(folder) as entries:
            yield [_Listed(entry) for entry in entries]

    monkeypatch.setattr(os, "scandir", listed)
    monkeypatch.setattr(files, "sys", SimpleNamespace(platform="win32"))


@links
def test_links_stay_inside_and_out_of_loops(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.exe").write_bytes(b"MZ")
    (tree / "loop").symlink_to(tree)
    (tree / "out").symlink_to(outside)
    (tree / "out.exe").symlink_to(outside / "secret.exe")
    (tree / "same.exe").symlink_to(tree / "b.exe")
    (tree / "dangling.exe").symlink_to(tree / "gone.exe")
    found = list(walk([str(tree)], WalkOptions()))
    codes = {os.path.basename(i.path): i.code for i in found if isinstance(i, Rejected)}
    assert codes == {
        "loop": "symlink",
        "out": "symlink",
        "out.exe": "symlink",
        "dangling.exe": "symlink",
    }
    assert "same.exe" in names(tree)
    linked = tmp_path / "named"
    linked.symlink_to(tree)
    assert names(linked, depth=0, include=("b.exe",)) == ["b.exe"]


@links
def test_links_that_are_followed_lead_out_and_never_in_circles(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "in").mkdir(parents=True)
    (outside / "secret.exe").write_bytes(b"MZ")
    (outside / "in" / "back").symlink_to(tree)
    (outside / "in" / "above").symlink_to(outside)
    (outside / "one").symlink_to(outside / "two")
    (outside / "two").symlink_to(outside / "one")
    (tree / "out").symlink_to(outside)
    (tree / "out again").symlink_to(outside)
    (tree / "out.exe").symlink_to(outside / "secret.exe")
    (tree / "same.exe").symlink_to(tree / "b.exe")
    (tree / "dangling.exe").symlink_to(tree / "gone.exe")
    (tree / "sub" / "up").symlink_to(tmp_path)
    found = list(walk([str(tree)], WalkOptions(follow=True)))
    whole = ["a.dll", "b.exe", "notes.txt", "out/secret.exe", "out.exe", "same.exe"]
    assert names(tree, follow=True) == [*whole, "sub/c.exe", "sub/deep/d.exe"]
    nothing, seen = "a link to nothing, or in a circle", "a link to a folder already seen"
    assert {below(i.path, tree): i.reason for i in found if isinstance(i, Rejected)} == {
        "dangling.exe": nothing,
        "out/in/above": seen,
        "out/in/back": seen,
        "out/one": nothing,
        "out/two": nothing,
        "out again": seen,
        "sub/up/outside": seen,
        "sub/up/tree": seen,
    }
    assert not any(item.failed for item in found if isinstance(item, Rejected))
    shallow = names(tree, follow=True, depth=1, exclude=("sub",))
    assert shallow == whole


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_is_never_opened(tree: Path) -> None:
    os.mkfifo(tree / "pipe.exe")
    found = list(walk([str(tree / "pipe.exe")], WalkOptions()))
    assert [(i.code, i.failed) for i in found if isinstance(i, Rejected)] == [
        ("special-file", False)
    ]
    with pytest.raises(SampleError) as caught:  # put there after the walk: it must not block
        read_sample(str(tree / "pipe.exe"))
    assert caught.value.code in ("special-file", "empty")


def test_missing_and_too_large(tree: Path) -> None:
    missing, large = walk([str(tree / "gone"), str(tree / "b.exe")], WalkOptions(max_size=3))
    assert isinstance(missing, Rejected)
    assert isinstance(large, Rejected)
    assert (missing.code, missing.failed) == ("not-found", True)
    assert (large.code, large.failed) == ("too-large", False)


@pytest.mark.skipif(os.name != "posix", reason="paths as long as POSIX has them")
def test_folders_a_thousand_deep(tmp_path: Path) -> None:
    folders = [tmp_path / "deep"]
    for _ in range(1100):
        folders.append(folders[-1] / "a")
    for folder in folders:
        folder.mkdir()
    (folders[-1] / "x.exe").write_bytes(b"MZ")
    try:
        (found,) = walk([str(tmp_path)], WalkOptions())
        assert found.path == str(folders[-1] / "x.exe")
        assert list(walk([str(tmp_path)], WalkOptions(depth=1100))) == []
    finally:  # what removes the rest of `tmp_path` recurses
        (folders[-1] / "x.exe").unlink()
        for folder in reversed(folders):
            folder.rmdir()


def test_the_limit_of_what_is_read_in_part_is_lifted_too(tmp_path: Path) -> None:
    size = MAX_IN_PART + 1
    with (tmp_path / "a.exe").open("wb") as file:
        file.truncate(size)  # takes no room on the disk
    (refused,) = walk([str(tmp_path)], WalkOptions(in_part=True))
    assert isinstance(refused, Rejected)
    assert (refused.code, str(size) in refused.reason) == ("too-large", True)
    (found,) = walk([str(tmp_path)], WalkOptions(in_part=True, max_size=size))
    assert isinstance(found, Found)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_unreadable(tree: Path) -> None:
    (tree / "b.exe").chmod(0)
    (tree / "sub").chmod(0)
    user = os.geteuid()
    if user == 0:  # root reads everything
        os.seteuid(65534)
    try:
        with pytest.raises(SampleError) as caught:
            read_sample(str(tree / "b.exe"))
        rejected = [i for i in walk([str(tree / "sub")], WalkOptions()) if isinstance(i, Rejected)]
    finally:
        os.seteuid(user)
        (tree / "sub").chmod(0o700)
    assert (caught.value.code, caught.value.failed) == ("unreadable", True)
    assert [(i.code, i.failed) for i in rejected] == [("unreadable", True)]


def test_a_folder_that_vanishes_during_the_walk(tree: Path) -> None:
    found = walk([str(tree)], WalkOptions())
    assert isinstance(next(found), Found)
    shutil.rmtree(tree / "sub")
    rest = list(found)
    assert [(i.code, i.failed) for i in rest if isinstance(i, Rejected)] == [("not-found", True)]
    assert len(rest) == 3


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    try:
        path = non_utf8_file(tmp_path, sample("console-x86.exe"))
    except OSError:
        pytest.skip("this file system has no such names")
    (found,) = walk([str(tmp_path)], WalkOptions())
    assert found.path == str(path)
    assert read_sample(found.path).format == "pe"
    assert read_list(os.fsencode(path) + b"\r\n\n", "list") == [str(path)]
    assert read_list(os.fsencode(path) + b"\0\0", "list", null=True) == [str(path)]


def test_lists_as_windows_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are Unicode there, so that a list must be UTF-8, with a mark at its begin or not."""
    monkeypatch.setattr(os, "fsdecode", lambda raw: raw.decode("utf-8", "surrogatepass"))
    path = "C:\\zoo\\é.exe"
    assert read_list(b"\xef\xbb\xbf" + path.encode() + b"\r\n", "list") == [path]
    for code in ("utf-16-le", "utf-16-be"):  # of Windows PowerShell 5, with its mark
        assert read_list(f"\ufeffa.exe\r\n\r\n{path}\r\n".encode(code), "list") == ["a.exe", path]
    with pytest.raises(MaltriageError, match=r"^list: not the UTF-16 that it begins as$"):
        read_list(b"\xff\xfea\0b", "list")
    listed = b"a.exe\r\n" + path.encode("cp850")
    with pytest.raises(MaltriageError, match=r"^list: line 2 is not UTF-8$"):
        read_list(listed, "list")
    with pytest.raises(MaltriageError, match=r"^list: path 1 is not UTF-8$"):
        read_list(b"\xff\0", "list", null=True)


class _Entry:
    """A directory entry that counts how often it is asked for its stat."""

    asked = 0

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self._entry, self.name, self.path = entry, entry.name, entry.path
        self.is_symlink = entry.is_symlink

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        _Entry.asked += follow_symlinks  # what Windows says of an entry itself was listed with it
        return self._entry.stat(follow_symlinks=follow_symlinks)


def test_a_folder_is_not_looked_through_before_its_first_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of 100,000 files gives its first one after its names were listed, and no stat."""
    for i in range(50):
        (tmp_path / f"{i:02d}.exe").write_bytes(b"MZ")
    scandir = os.scandir

    @contextmanager
    def counted(path: str) -> Iterator[list[_Entry]]:
        with scandir(path) as entries:
            yield [_Entry(entry) for entry in entries]

    monkeypatch.setattr(os, "scandir", counted)
    monkeypatch.setattr(_Entry, "asked", 0)
    walker = walk([str(tmp_path)], WalkOptions())
    assert Path(next(walker).path).name == "00.exe"
    assert _Entry.asked == 1
    assert len(list(walker)) == _Entry.asked - 1 == 49


def test_outputs_in_a_folder_are_no_samples(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "sub" / f"a.dll.1{PART}").write_bytes(b"half")
    every = ["a.dll", "b.exe", "notes.txt", "sub/c.exe", "sub/deep/d.exe"]
    assert names(tree, results=(str(tree / "a.dll"), str(tree / "sub" / "c.exe"))) == [
        "b.exe", "notes.txt", f"sub/a.dll.1{PART}", "sub/deep/d.exe",
    ]  # fmt: skip
    assert names(tree, results=(str(tree / "sub" / "a.dll"),)) == every
    assert names(tree, results=(str(tree / "gone" / "a.dll"),)) == [
        *every[:3], f"sub/a.dll.1{PART}", *every[3:],
    ]  # fmt: skip
    monkeypatch.chdir(tree / "sub")
    assert is_result("c.exe", ("c.exe",))
    assert is_result(str(tree / "sub" / "c.exe"), ("c.exe",))
    assert not is_result(str(tree / "a.dll"), ("a.dll",))


def test_standard_input_is_one_of_the_paths(tree: Path) -> None:
    stdin = Stdin("nowhere", 7)
    paths = [str(tree / "b.exe"), "-"]
    first, second = walk(paths, WalkOptions(stdin=stdin))
    assert (first.path, second) == (paths[0], Found("-", 7))
    (large,) = walk(["-"], WalkOptions(stdin=stdin, max_size=6))
    assert isinstance(large, Rejected)
    assert (large.code, large.failed) == ("too-large", False)
    (missing,) = walk([str(tree / "-")], WalkOptions(stdin=stdin))
    assert isinstance(missing, Rejected)
    assert missing.code == "not-found"
