"""Files that appear below watched folders, with a real file system and its events."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from maltriage.errors import MaltriageError
from maltriage.source.appearing import appearing
from maltriage.source.files import WalkOptions

pytest.importorskip("watchfiles", reason="needs the extra `watch`")

WAIT = 20.0
Next = Callable[..., list[str]]


@contextmanager
def watched(*folders: Path, options: WalkOptions = WalkOptions()) -> Iterator[Next]:  # noqa: B008
    """A function that waits for so many files (1), as paths below the first folder."""
    ends, found = threading.Event(), Queue[list[str]]()

    def run() -> None:
        for paths in appearing([str(folder) for folder in folders], options, ends.is_set):
            found.put([os.path.relpath(path, folders[0]) for path in paths])

    def wait(count: int = 1) -> list[str]:
        paths: list[str] = []
        while len(paths) < count:
            paths += found.get(timeout=WAIT)
        return sorted(paths)

    thread = threading.Thread(target=run)
    thread.start()
    assert found.get(timeout=WAIT) == []
    try:
        yield wait
    finally:
        ends.set()
        thread.join(WAIT)
        assert not thread.is_alive()
        assert found.empty()


def test_new_files_alone(tmp_path: Path) -> None:
    (tmp_path / "old.exe").write_bytes(b"old")
    with watched(tmp_path) as wait:
        (tmp_path / "new.exe").write_bytes(b"new")
        assert wait() == ["new.exe"]
        (tmp_path / "old.exe").write_bytes(b"changed")
        assert wait() == ["old.exe"]
        os.utime(tmp_path / "new.exe")  # the same content at another time is a change
        assert wait() == ["new.exe"]


def test_a_file_is_read_once_it_is_whole(tmp_path: Path) -> None:
    with watched(tmp_path) as wait, (tmp_path / "slow.exe").open("wb") as file:
        for _ in range(8):
            file.write(b"x" * 1000)
            file.flush()
            time.sleep(0.25)
        began = time.monotonic()
        assert wait() == ["slow.exe"]
        assert time.monotonic() - began > 0.5


def test_a_folder_that_is_moved_in(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "a" / "b").mkdir(parents=True)
    inside.mkdir()
    for name in ("a/1.exe", "a/b/2.exe"):
        (outside / name).write_bytes(b"x")
    with watched(inside) as wait:
        shutil.move(outside / "a", inside / "a")
        assert wait(2) == ["a/1.exe", "a/b/2.exe"]


def test_rules_of_a_walk(tmp_path: Path) -> None:
    secret = tmp_path / "secret.exe"
    secret.write_bytes(b"x")
    folder = tmp_path / "in"
    (folder / "skipped").mkdir(parents=True)
    (folder / "a" / "b").mkdir(parents=True)
    options = WalkOptions(
        depth=1,
        include=("*.exe",),
        exclude=("skipped", "no*"),
        results=(str(folder / "own.exe"),),
    )
    with watched(folder, options=options) as wait:
        for name in ("x.txt", "no.exe", "skipped/x.exe", "a/b/deep.exe", "own.exe", "own.exe.part"):
            (folder / name).write_bytes(b"x")
        (folder / "out.exe").symlink_to(secret)  # leads out of the folder
        os.mkfifo(folder / "pipe.exe")
        (folder / "gone.exe").write_bytes(b"x")
        (folder / "gone.exe").unlink()
        (folder / "a" / "wanted.exe").write_bytes(b"x")
        (folder / "inside.exe").symlink_to(folder / "a" / "wanted.exe")
        assert wait(2) == ["a/wanted.exe", "inside.exe"]


def test_several_folders_by_the_names_they_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "two")
    monkeypatch.chdir(tmp_path)
    with watched(Path("one"), Path("link")) as wait:
        Path("two", "x.exe").write_bytes(b"x")
        assert wait() == ["../link/x.exe"]


@pytest.mark.parametrize("name", ["gone", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(MaltriageError, match="no folder; --watch takes folders"):
        next(appearing([str(tmp_path / name)], WalkOptions(), lambda: True))
