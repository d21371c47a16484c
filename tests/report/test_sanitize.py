from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.screens import console_of, hidden, printed

from maltriage.report.sanitize import MAX_MARKS, clean, json_safe, untrusted

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("a\x00b\r\n\tc", "a\\x00b\\x0d\\x0a\\x09c"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("invoice\u202egpj.exe", "invoice\\u202egpj.exe"),
        ("\u2066\u2069\u200e\u061c", "\\u2066\\u2069\\u200e\\u061c"),
        ("zero\u200bwidth\ufeff\u2060", "zero\\u200bwidth\\ufeff\\u2060"),
        ("a\u2028b\u2029c\x85", "a\\u2028b\\u2029c\\x85"),
        ("caf\udce9 \ud800", "caf\\xe9 \\ud800"),
        ("\ue000\U000f0000\U000e0041", "\\ue000\\U000f0000\\U000e0041"),
        ("\ufdd0\U0001fffe", "\\ufdd0\\U0001fffe"),
        ("a\u3164b\u115f\u2800\ufe0f", "a\\u3164b\\u115f\\u2800\\ufe0f"),
        ("a\u2003b\u00a0c", "a\\u2003b\\xa0c"),
        ("[/red][bold]", "[/red][bold]"),
        ("下载/安装程序.exe", "下载/安装程序.exe"),
        ("Überweisung naïve é", "Überweisung naïve é"),
        ("e\u0301tude ไทย हिन्दी", "e\u0301tude ไทย हिन्दी"),
        ("\u0301begins with a mark", "\\u0301begins with a mark"),
        ("🦠 全角\u3000", "🦠 全角\u3000"),
        ("C:\\x1b\\new", "C:\\x1b\\new"),
    ],
)
def test_examples(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_a_stack_of_marks_is_cut_down() -> None:
    shown = clean("a" + "\u0300" * 100)
    assert shown.count("\u0300") == MAX_MARKS
    assert shown.count("\\u0300") == 100 - MAX_MARKS


@given(ANY)
def test_nothing_hidden_is_left(text: str) -> None:
    shown = clean(text)
    assert not hidden(shown)
    shown.encode()  # raises where a lone surrogate is left
    assert clean(shown) == shown


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=60))
def test_letters_digits_and_signs_of_every_script_stay(text: str) -> None:
    fillers = {"\u115f", "\u1160", "\u3164", "\uffa0", "\u2800"}
    if not fillers & set(text):
        assert clean(text) == text


@given(ANY, st.integers(1, 30))
def test_limit(text: str, limit: int) -> None:
    shown, whole = clean(text, limit), clean(text)
    assert len(shown) <= limit
    if len(whole) <= limit:
        assert shown == whole
    else:
        assert shown.endswith("…")
        assert whole.startswith(shown[:-1])


def test_a_cut_never_splits_an_escape() -> None:
    assert clean("ab\x1bcd", 5) == "ab…"
    assert clean("ab\x1bcd", 7) == "ab\\x1b…"


@given(ANY)
def test_rich_prints_untrusted_text_as_it_stands(text: str) -> None:
    console = console_of(400, colour=False)
    console.print(untrusted(text), soft_wrap=True)
    assert printed(console) == clean(text) + "\n"


@pytest.mark.parametrize(
    "text", ["[/red]", "[link=file:///etc/passwd]x[/link]", "[bold]b", ":smile:"]
)
def test_markup_is_never_read(text: str) -> None:
    console = console_of(80)
    console._markup = console._emoji = True  # what a careless console would do
    console.print(untrusted(text))
    assert printed(console) == text + "\n"


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_json_safe_says_the_same_and_hides_nothing(text: str) -> None:
    data = json_safe(json.dumps({"a": text}, ensure_ascii=False).encode())
    assert json.loads(data) == {"a": text}
    assert not hidden(data.decode())


def test_json_safe_keeps_what_is_readable() -> None:
    data = '"下载 é \U0001f9a0"'.encode()
    assert json_safe(data) == data
    assert json_safe(b'"\xc2\x9b\xe2\x80\xae\x7f"') == b'"\\u009b\\u202e\\u007f"'
    assert unicodedata.category("\U000e0041") == "Cf"
    assert json_safe('"\U000e0041"'.encode()) == b'"\\udb40\\udc41"'
