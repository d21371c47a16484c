"""Temporary folders: a killed process leaves one, and the next removes it a day later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maltriage.files.temporary import make_folder, remove_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks of folders there")
MAKE = """
import pathlib, sys, time
from maltriage.files.temporary import make_folder
folder = make_folder(pathlib.Path(sys.argv[1]))
(folder / "inner").mkdir()
(folder / "inner" / "file").write_bytes(b"x")
print(folder, flush=True)
time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_old(path: Path) -> None:
    os.utime(path, (0, 0), follow_symlinks=False)


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        make_old(left)
        make_folder(tmp_path)
        assert left.exists()  # its process lives
        process.kill()
    os.utime(left)
    make_folder(tmp_path)
    assert left.exists()  # not a day old
    make_old(left)
    make_folder(tmp_path)
    assert not left.exists()
    assert len(names(tmp_path)) == 3  # those of this process


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    kept = ["maltriage-abcdefgh.txt", "maltriage-abc", "pymp-abcdefgh", "maltriage-a file1"]
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / "maltriage-afile000").write_text("a file")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "maltriage-alink000").symlink_to(tmp_path / "elsewhere")
    before = names(tmp_path)
    for path in tmp_path.iterdir():
        make_old(path)
    made = make_folder(tmp_path)
    assert names(tmp_path) == sorted([*before, made.name])


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="root gives files away")
def test_what_another_user_left_stays(tmp_path: Path) -> None:
    (tmp_path / "maltriage-abcdefgh").mkdir()
    os.chown(tmp_path / "maltriage-abcdefgh", 65534, 65534)
    make_old(tmp_path / "maltriage-abcdefgh")
    make_folder(tmp_path)
    assert (tmp_path / "maltriage-abcdefgh").exists()


def test_nothing_but_such_a_folder_is_removed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "file").write_bytes(b"x")
    remove_folder(tmp_path)
    assert (folder / "file").exists()
    remove_folder(folder)
    assert not folder.exists()
    remove_folder(folder)
