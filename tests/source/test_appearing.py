"""Files that appear below watched folders, with a real file system and its events."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from paths import below, links

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
            found.put([below(path, folders[0]) for path in paths])

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


@links
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
        if sys.platform != "win32":
            os.mkfifo(folder / "pipe.exe")
        (folder / "gone.exe").write_bytes(b"x")
        (folder / "gone.exe").unlink()
        (folder / "a" / "wanted.exe").write_bytes(b"x")
        (folder / "inside.exe").symlink_to(folder / "a" / "wanted.exe")
        assert wait(2) == ["a/wanted.exe", "inside.exe"]


@links
@pytest.mark.parametrize("polled", [False, True])
def test_what_was_there_is_not_given_when_its_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, polled: bool
) -> None:
    (tmp_path / "sub").mkdir()
    for old in (tmp_path / "old", tmp_path / "sub" / "old"):
        old.write_bytes(b"old")
    if polled:
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    with watched(tmp_path) as wait:
        (tmp_path / "sub").chmod(0o700)
        os.utime(tmp_path / "sub")
        (tmp_path / "sub" / "new").write_bytes(b"new")
        assert wait() == ["sub/new"]
        (tmp_path / "also").write_bytes(b"new")
        assert wait() == ["also"]


def test_what_no_event_tells_of_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import watchfiles

    def deaf(*_: object, **kwargs: Any) -> Iterator[set[object]]:
        while True:
            time.sleep(0.1)
            kwargs["stop_event"].is_set()
            yield set()

    monkeypatch.setattr(watchfiles, "watch", deaf)
    monkeypatch.setattr("maltriage.source.changed.LOOK_SECONDS", 0.2)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "moved").write_bytes(b"x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "old").write_bytes(b"x")
    os.utime(tmp_path / "outside" / "moved", (1e9, 1e9))
    found, end = list[str](), time.monotonic() + WAIT

    def late() -> bool:
        assert time.monotonic() < end
        return False

    for paths in appearing([str(tmp_path / "in")], WalkOptions(), late):
        found += [below(path, tmp_path / "in") for path in paths]
        if not paths:
            (tmp_path / "in" / "new").write_bytes(b"x")
            (tmp_path / "outside").rename(tmp_path / "in" / "folder")
        if len(found) == 2:
            break
    assert sorted(found) == ["folder/moved", "new"]


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


@pytest.mark.skipif(sys.platform == "win32", reason="names of files are Unicode")
def test_a_name_that_is_not_utf8_loses_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "moved.exe").write_bytes(b"x")
    (inside / "old.exe").write_bytes(b"x")
    past = time.time() - 100
    os.utime(outside, (past, past))
    time.sleep(1.5)  # so that what is old looks old
    with watched(inside) as wait:
        try:
            (inside / os.fsdecode(b"a\xff.exe")).write_bytes(b"x")
        except OSError:
            pytest.skip("no such names here")
        outside.rename(inside / "b")
        (inside / "c.exe").write_bytes(b"x")
        assert wait(3) == [os.fsdecode(b"a\xff.exe"), "b/moved.exe", "c.exe"]
        (inside / "d.exe").write_bytes(b"x")
        assert wait() == ["d.exe"]
    named = tmp_path / os.fsdecode(b"w\xff")
    named.mkdir()
    with pytest.raises(MaltriageError, match="not UTF-8"):
        next(appearing([str(named)], WalkOptions(), lambda: True))


@pytest.mark.parametrize("other", [False, True])
def test_a_folder_that_is_gone_or_another_ends_it(tmp_path: Path, *, other: bool) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    found = appearing([str(folder)], WalkOptions(), lambda: False)
    assert next(found) == []
    folder.rename(tmp_path / "before")
    if other:
        folder.mkdir()
    with pytest.raises(MaltriageError, match="in: no longer the folder that was watched"):
        next(found)


def test_files_that_did_not_settle_are_named(tmp_path: Path) -> None:
    ends, left = threading.Event(), list[str]()
    found = appearing([str(tmp_path)], WalkOptions(), ends.is_set, left)
    assert next(found) == []
    (tmp_path / "late.exe").write_bytes(b"x")
    threading.Timer(0.5, ends.set).start()
    assert list(found) == []
    assert left == [str(tmp_path / "late.exe")]


_LIMITED = """
import sys
from maltriage.source.appearing import appearing
from maltriage.source.files import WalkOptions
limit = open("/proc/sys/user/max_inotify_watches", "w")
limit.write(sys.argv[1])
limit.close()
for paths in appearing(["."], WalkOptions(), lambda: False):
    open("ready", "w").close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
@pytest.mark.parametrize("before", [True, False])
def test_more_folders_than_can_be_watched_end_it(tmp_path: Path, *, before: bool) -> None:
    """In a user namespace, whose limit a user may lower."""
    folders = [tmp_path / f"{number}" for number in range(9)]
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", _LIMITED]
    if subprocess.run([*command[:3], "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    if before:
        for folder in folders:
            folder.mkdir()
    with subprocess.Popen([*command, "4"], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + WAIT
        while not before and not (tmp_path / "ready").exists() and time.monotonic() < end:
            time.sleep(0.1)
        for folder in folders:
            folder.mkdir(exist_ok=True)
        _, said = process.communicate(timeout=WAIT)
    assert said.decode().splitlines()[-1].endswith("cannot watch .: OS file watch limit reached")
