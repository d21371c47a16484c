"""Processes that change one file wait for each other, and nothing of one is lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maltriage.errors import MaltriageError
from maltriage.files.lock import locked

COUNT = """
import sys
from pathlib import Path
from maltriage.files.atomic import write_file
from maltriage.files.lock import locked
path = Path(sys.argv[1])
for _ in range(100):
    with locked(path.with_name("lock"), lambda: None):
        write_file(path, str(int(path.read_text()) + 1).encode())
"""


def test_no_change_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    counting = [subprocess.Popen([sys.executable, "-c", COUNT, str(path)]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in counting] == [0] * 4
    assert path.read_text() == "400"
    # A lock that nobody holds is removed on Windows.
    assert {path.name for path in tmp_path.iterdir()} - {"lock"} == {"number"}


def test_a_lock_is_for_one(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one.lock"
    with locked(path) as first:
        assert first
        with locked(path) as second, locked(path.with_name("other.lock")) as other:
            assert (second, other) == (False, True)
        with locked(path) as third:  # the second, which was none, has let nothing go
            assert not third
    with locked(path) as again:
        assert again


@pytest.mark.parametrize("wait", [False, True])
def test_a_lock_dies_with_its_process(tmp_path: Path, wait: bool) -> None:
    path = tmp_path / "one.lock"
    code = (
        "import sys, pathlib\n"
        "from maltriage.files.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])) as held:\n"
        "    print(held, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [b"True"]
        with locked(path) as held:
            assert not held
        if wait:
            with locked(path, process.kill) as held:  # told that it waits, it ends the other
                assert held
        process.kill()
        process.wait()
    with locked(path) as held:
        assert held


def test_who_does_not_wait_is_told_nothing(tmp_path: Path) -> None:
    told = list[None]()
    with locked(tmp_path / "one.lock", lambda: told.append(None)) as held:
        assert held
    assert told == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MaltriageError, match="cannot write"), locked(tmp_path / "file" / "x.lock"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="file systems there have locks")
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock is better than one that outlives its process."""
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "one.lock"
    with pytest.raises(MaltriageError, match="knows no locks"), locked(path):
        pass
