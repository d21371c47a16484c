"""Words of a command line that are names of files, as Windows has them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from maltriage.cli.parser.wildcards import expanded


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.exe", "b.exe", "a1.dll", "a[1].dll"):
        (tmp_path / name).write_bytes(b"MZ")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("*.exe", ["a.exe", "b.exe"]),
        ("?.exe", ["a.exe", "b.exe"]),
        ("a[1].d*", ["a[1].dll"]),
        ("a[1].dll", ["a[1].dll"]),
        ("*.sys", ["*.sys"]),
        ("%PATH%", ["%PATH%"]),
        ("~", ["~"]),
        ("\\\\?\\C:\\a.exe", ["\\\\?\\C:\\a.exe"]),
        ("https://host/x?y=1", ["https://host/x?y=1"]),
        ("-", ["-"]),
    ],
)
def test_windows(
    word: str, found: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert expanded([word]) == found


def test_elsewhere_the_shell_did_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert expanded(["*.exe"]) == ["*.exe"]
