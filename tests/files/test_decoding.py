"""JSON of others: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from maltriage.files.decoding import TooDeepError, decoded

PACKAGE = Path(__file__).resolve().parents[2] / "maltriage"
ANY = msgspec.json.Decoder(msgspec.Raw)
DEEP = 2_000_000  # also for Python 3.14, which goes on to the end of its stack


def test_a_value_is_decoded() -> None:
    assert decoded(b'{"a":[1]}', msgspec.json.Decoder(dict[str, list[int]])) == {"a": [1]}


@pytest.mark.parametrize("text", [b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP])
def test_nested_too_deeply(text: bytes) -> None:
    for data in (text, text.decode()):
        with pytest.raises(TooDeepError, match="nested too deeply"):
            decoded(data, ANY)


@pytest.mark.parametrize("text", [b'"\xff"', '"\udcff"'])
def test_not_utf8(text: bytes | str) -> None:
    with pytest.raises(msgspec.DecodeError, match="UTF-8"):
        decoded(text, msgspec.json.Decoder(str))


def test_nothing_else_in_the_package_decodes_json() -> None:
    """A decoder used directly raises RecursionError, which nobody who reads a file expects."""
    direct = re.compile(r"json\.(?:decode|loads?)\(|ecoder(?:\(.*\))?\.decode\(")
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if direct.search(path.read_text(encoding="utf-8"))
    }
    # What a recipe decodes is what it has encoded, and the version what pip wrote of this package.
    assert users == {"files/decoding.py", "learn/fit/recipe.py", "version.py"}
