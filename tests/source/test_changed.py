"""Walks for what no event has told of, without events."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from maltriage.source import changed
from maltriage.source.changed import BURST, Look


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files that were there long before."""
    for name in ("old", "sub/old", "sub/deep/old"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_what_is_new_or_was_changed(folder: Path) -> None:
    look = Look([str(folder)], None)
    assert look.again() == []
    (folder / "new").write_bytes(b"x")
    (folder / "made").mkdir()
    (folder / "made" / "old").write_bytes(b"x")
    os.utime(folder / "made" / "old", (1e9, 1e9))
    assert sorted(look.again()) == [str(folder / "made" / "old"), str(folder / "new")]


def test_what_cannot_be_listed_for_a_moment_is_not_new(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, scan = Look([str(folder)], None), os.scandir

    def fail(path: Any) -> Any:
        if os.path.basename(path) == "sub":
            raise OSError(5, "Input/output error", path)
        return scan(path)

    with monkeypatch.context() as away:
        away.setattr(os, "scandir", fail)
        assert look.again() == []
    assert look.again() == []


def test_depth(folder: Path) -> None:
    look = Look([str(folder)], 0)
    (folder / "sub" / "new").write_bytes(b"x")
    assert look.again() == []
    (folder / "new").write_bytes(b"x")
    assert look.again() == [str(folder / "new")]


def test_bursts_take_a_bounded_share_of_the_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def clock() -> float:
        return now[0]

    monkeypatch.setattr(changed.time, "monotonic", clock)
    look = Look([str(folder)], None)
    assert not look.is_due(BURST - 1)
    assert not look.is_due(BURST)  # it goes on
    assert look.is_due(0)
    walk = look._walk

    def slow(unread: list[str] | None = None) -> Any:
        now[0] += 1.0
        return walk(unread)

    monkeypatch.setattr(look, "_walk", slow)
    look.again()
    look.is_due(BURST)
    now[0] += 98.0
    assert not look.is_due(0)
    now[0] += 3.0
    assert look.is_due(0)
