from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from maltriage.errors import MaltriageError
from maltriage.source.stores import SCHEMES, STORES
from maltriage.source.urls import (
    Remote,
    has_wrong_user,
    is_chained,
    is_url,
    scrub,
    seal,
    shown,
    split_web,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "urls.md"
TOKEN = "3f2b8c1d9e0a4756"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/k", True),
        ("HTTP://host/x", True),
        ("zip::s3://b/a.zip", True),
        ("git+ssh://host/x", True),
        ("./s3://b/k", False),
        ("C://folder/x.exe", False),
        ("a/s3://b", False),
        ("s3:/b/k", False),
        ("://x", False),
        ("-", False),
        ("a b://c", False),
    ],
)
def test_what_is_a_url(path: str, expected: bool) -> None:
    assert is_url(path) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("zip://x.exe::s3://b/a.zip", True),
        ("simplecache::s3://b/k", True),
        ("s3://b/a::b.exe", False),
        ("s3://b/k", False),
    ],
)
def test_what_is_a_chain(url: str, expected: bool) -> None:
    assert is_chained(url) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/x.exe", "https://h/x.exe"),
        ("https://me:pass@h:8/x.exe", "https://h:8/x.exe"),
        ("https://me:p@ss@h/x.exe", "https://h/x.exe"),
        ("https://h/a@b/x.exe", "https://h/a@b/x.exe"),
        ("https://h/dl?id=7&name=x.exe", "https://h/dl?id=7&name=x.exe"),
        ("https://h/dl?token=abc&id=7", "https://h/dl?token=…&id=7"),
        ("https://h/dl?apikey=", "https://h/dl?apikey="),
        (f"https://h/dl?t={TOKEN}", "https://h/dl?t=…"),
        (f"https://h/dl?{TOKEN}", "https://h/dl?…"),
        (f"https://h/dl?sha256={TOKEN}", f"https://h/dl?sha256={TOKEN}"),
        ("https://h/x?X-Amz-Expires=9&X-Amz-Signature=f", "https://h/x?X-Amz-Expires=…&X-Amz-Signature=…"),
        ("https://h/x?sv=2024&sig=a%2Bb", "https://h/x?sv=2024&sig=…"),
        ("https://h/x#access_token=abc", "https://h/x#access_token=…"),
        ("ftp://me:pw@h/x", "ftp://h/x"),
        ("abfs://container@account.net/x", "abfs://container@account.net/x"),
        ("abfs://key:pw@account.net/x", "abfs://account.net/x"),
        ("s3://b/k#1?a", "s3://b/k#1?a"),
        ("s3://b/new\nline", "s3://b/new\nline"),
        ("no url?token=a", "no url?token=a"),
        ("zip://x::ftp://me:pw@h/a?sig=b", "zip://x::ftp://h/a?sig=…"),
    ],
)  # fmt: skip
def test_what_is_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


def test_what_is_sealed_can_be_asked_for() -> None:
    signed = "https://h/a.zip?X-Amz-Signature=f00"
    names, remote = seal(
        [
            "x.exe",
            signed,
            f"{signed}!in/x.exe",
            "https://me:pw@h/y",
            "ftp://me:pw@h/d",
            "s3://b/k!l",
        ]
    )
    assert remote is not None
    assert names == [
        "x.exe",
        "https://h/a.zip?X-Amz-Signature=…",
        "https://h/a.zip?X-Amz-Signature=…!in/x.exe",
        "https://h/y",
        "ftp://h/d",
        "s3://b/k!l",
    ]
    assert remote.whole(names[1]) == signed
    assert remote.whole(names[2]) == f"{signed}!in/x.exe"
    assert remote.whole(names[3]) == "https://me:pw@h/y"
    assert remote.whole("ftp://h/d/below.exe") == "ftp://me:pw@h/d/below.exe"
    assert remote.whole("ftp://other/d") == "ftp://other/d"
    assert "pw" not in repr(remote)
    assert seal(["a", "b!c"]) == (["a", "b!c"], None)


def test_urls_that_differ_in_what_is_not_shown_have_names_of_their_own() -> None:
    first, second = "https://h/x?token=1", "https://h/x?token=2"
    names, remote = seal([first, second, first])
    assert names == ["https://h/x?token=…", "https://h/x?token=…#2", "https://h/x?token=…"]
    assert remote is not None
    assert [remote.whole(name) for name in names] == [first, second, first]


def test_two_users_of_one_server() -> None:
    with pytest.raises(MaltriageError, match=r"^sftp://h: named with two users") as raised:
        seal(["sftp://a:x@h/1", "sftp://b:y@h/2"])
    assert "x@" not in str(raised.value)


def test_who_may_have_a_user() -> None:
    assert has_wrong_user("s3://me:pw@b/k")
    assert has_wrong_user("abfs://me:pw@b/k")
    assert not has_wrong_user("abfs://me@b/k")
    assert not has_wrong_user("https://me:pw@h/k")
    assert not has_wrong_user("s3://b/k@x")


def test_web_urls_are_divided_at_the_first_mark_behind_the_host() -> None:
    assert split_web("https://h/a.zip!b.zip!c.exe") == ("https://h/a.zip", "b.zip!c.exe")
    assert split_web("https://me:p!w@h/a%21.zip") == ("https://me:p!w@h/a%21.zip", None)


def test_errors_do_not_show_what_urls_hide() -> None:
    text = "403, url='https://me:pw@h/x?sig=abc' and s3://b/k"
    assert scrub(text) == "403, url='https://h/x?sig=…' and s3://b/k"


def test_what_nobody_hid_is_whole() -> None:
    assert Remote().whole("s3://b/k!x") == "s3://b/k!x"


def test_all_stores_can_be_made_and_are_documented() -> None:
    assert len(SCHEMES) == sum(len(kind.schemes) for kind in STORES)  # of one kind each
    for kind in STORES:
        assert callable(importlib.import_module(f"maltriage.source.stores.{kind.module}").store)
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [scheme for scheme in SCHEMES if f"`{scheme}://" not in text] == []
