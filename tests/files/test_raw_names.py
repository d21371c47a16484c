"""Names that are no text, as bytes and back."""

from __future__ import annotations

import sys

import pytest

from maltriage.files.raw_names import name_bytes, name_of


@pytest.mark.parametrize("platform", ["win32", sys.platform])
@pytest.mark.parametrize(
    ("name", "raw"),
    [("a/é.exe", "a/é.exe".encode()), ("caf\udce9.exe", b"caf\xe9.exe"), ("\udcff", b"\xff")],
)
def test_a_name_of_an_archive_is_its_bytes(
    platform: str, name: str, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert (name_bytes(name), name_of(raw)) == (raw, name)


@pytest.mark.parametrize("name", ["\ud800.exe", "\ud800\udcff"])
def test_a_name_that_only_windows_has_comes_back(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert name_of(name_bytes(name)) == name
