"""Files that a user named: what is no file is refused, and nothing waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maltriage.errors import MaltriageError
from maltriage.files.regular import digest_of, open_regular


def test_a_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes\r\n\x1a")
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"bytes\r\n\x1a"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_none_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(MaltriageError, match="no regular file"):
            open_regular(path)
        with pytest.raises(MaltriageError, match="no regular file"):
            digest_of(path, "index")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "gone")


def test_a_digest_names_what_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_of(tmp_path / "a", "index").startswith("ba7816bf")
    with pytest.raises(MaltriageError, match=r"cannot read index .*gone: No such file"):
        digest_of(tmp_path / "gone", "index")
