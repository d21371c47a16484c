from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from maltriage.errors import MaltriageError
from maltriage.files.private import make_private, trouble
from maltriage.source.known import read_known

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions as POSIX has them")


def test_a_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    made = tmp_path / "cache" / "own"
    make_private(made)
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)  # others may look, if the user wants that
    make_private(made)
    assert made.stat().st_mode & 0o777 == 0o755
    assert trouble(made) is None


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_others_could_have_put_it_there(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    assert trouble(tmp_path) == "others may write to the folder"
    with pytest.raises(PermissionError, match="others may write"):
        make_private(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)  # it is what a link leads to that counts
    assert trouble(tmp_path / "link") == "others may write to the folder"


@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() != 0, reason="for root")
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    os.chown(other, 12345, 12345)
    (tmp_path / "link").symlink_to(other)
    for path in (other, tmp_path / "link"):
        assert trouble(path) == "the folder belongs to another user"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert trouble(tmp_path / "file") == "no folder"
    with pytest.raises(OSError, match="exists"):
        make_private(tmp_path / "file")


def test_lists_of_good_files_are_not_taken_from_where_others_write(tmp_path: Path) -> None:
    """Whoever can write there would say what is good."""
    hashes, cache = tmp_path / "list", tmp_path / "cache"
    hashes.write_text("0" * 64)
    known = read_known(str(hashes), cache)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert known.counts == {"sha256": 1}
    cache.chmod(0o777)
    with pytest.raises(MaltriageError, match="others may write to the folder"):
        read_known(str(hashes), cache)
