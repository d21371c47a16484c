"""Paths of files in archives, and names with a `!`."""

from __future__ import annotations

import pytest

from maltriage.source.archive.names import file_on_disk, inner_name
from maltriage.source.carve import Carved, carved_path
from maltriage.source.upx.packed import Packed, unpacked_path

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("sub.zip!x.exe", "x.exe"),
        ("/a b/sub.zip!folder/x.exe", "folder/x.exe"),
        ("C:\\sub.ZIP!folder\\x.exe", "folder/x.exe"),
        ("a.zip!b.tar.gz!c.exe", "c.exe"),
        ("a.zip!b.7z#2!c.exe#2", "c.exe#2"),
        ("a.zip!in!voice.exe", "in!voice.exe"),
        (f"/x/{DIGEST}!x.exe", "x.exe"),
        ("-!x.exe", "x.exe"),
        ("s3://bucket/a.zip!x.exe", "x.exe"),
        (carved_path("/x/dropper", Carved(0x400, 0x800)), "carved@0x400.exe"),
        (carved_path("/x/a.zip!dropper.exe", Carved(0x400, 0x800)), "carved@0x400.exe"),
        (unpacked_path("/x/packed", Packed(0x400, 14, 9, 9, 1, 0, 0)), "carved@0x400.upx.exe"),
        ("/x/x.exe", None),
        ("/x/Setup!.exe", None),
        ("/x/Yahoo! Mail.exe", None),
        ("/x/Setup 2.0!.exe", None),
        ("/x/!x.exe", None),
        ("/x/.hidden!x.exe", None),
        ("/a!b/x.exe", None),
        ("/x/READ ME!!!.exe", None),
        ("/x/x.exe!", None),
        (f"/x/no{DIGEST}!x.exe", None),
    ],
)
def test_what_is_inside(path: str, name: str | None) -> None:
    assert inner_name(path) == name


@pytest.mark.parametrize(
    ("path", "disk"),
    [
        ("/x/a.zip!b.tar.gz!../c.exe", "/x/a.zip"),
        ("/x/Setup!.exe", "/x/Setup!.exe"),
        (carved_path("/x/dropper", Carved(0x400, 0x800)), "/x/dropper"),
        ("x.exe", "x.exe"),
    ],
)
def test_what_lies_on_the_disk(path: str, disk: str) -> None:
    assert file_on_disk(path) == disk
