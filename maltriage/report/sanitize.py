"""The sanitizer for strings that came from a sample, before they are shown.

A file name, a section name, a version string or a parser's message can hold terminal
escapes (colours, OSC 52: write to the clipboard), bidi controls that turn `exe.gpj` around,
line breaks that fake a row, or Rich markup. Every such string passes `clean`, and Rich gets
it as a `Text` from `untrusted`, never as a plain string: Rich reads markup in plain strings
and hands ESC through to the terminal.

The escapes are for people: a backslash in the original is left alone, so they cannot be read
back. The exact string is in the JSON formats.
"""

from __future__ import annotations

import re
import unicodedata

from rich.text import Text

MAX_SHOWN = 4096
"""Longest string from a sample on a screen, in characters."""

MAX_MARKS = 4
"""Combining marks in a row that are shown as they are; more is a stack that hides lines."""

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_SHOWN_SPACES = frozenset({" ", "\u3000"})  # the second is the space of Chinese and Japanese
_INVISIBLE = re.compile(
    # Letters and marks that draw nothing: grapheme joiner, Hangul fillers, Khmer inherent
    # vowels, variation selectors, the blank Braille pattern.
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_NOT_PLAIN_ASCII = re.compile("[^\x20-\x7e]+")
_ELLIPSIS = "…"


def clean(text: str, limit: int | None = None) -> str:
    """`text` with every character that is not plainly visible written as an escape.

    Controls (C0, DEL, C1), format characters (bidi, zero width), line separators, odd
    spaces, lone surrogates, private and unassigned characters become `\\x1b`, `\\u202e` or
    `\\U000e0041`; so do combining marks with nothing before them or too many in a row. A byte of a
    name that is not UTF-8, which Python has as a surrogate, becomes `\\xff`, as in records.
    Letters of every script stay as they are.

    Args:
        limit: longest result in characters (at least 1); a cut text ends in an ellipsis.
    """
    if text.isascii() and text.isprintable() and (limit is None or len(text) <= limit):
        return text
    pieces: list[str] = []
    length, marks = 0, MAX_MARKS
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        shown = _visible(character) and marks <= MAX_MARKS
        pieces.append(character if shown else _escape(character))
        length += len(pieces[-1])
        if limit is not None and length > limit:
            while length > max(0, limit - len(_ELLIPSIS)):
                length -= len(pieces.pop())
            pieces.append(_ELLIPSIS)
            break
    return "".join(pieces)


def clean_lines(text: str) -> str:
    """`clean` of each line of a text; line breaks stay."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "\n".join(map(clean, text.split("\n")))


def untrusted(text: str, style: str = "", limit: int | None = MAX_SHOWN) -> Text:
    """`text` for Rich: cleaned, on one line, its markup never read."""
    return Text(clean(text, limit), style=style, no_wrap=True)


def json_safe(data: bytes) -> bytes:
    """JSON that is safe on a terminal: the same document, hidden characters as \\uXXXX.

    JSON's own rules escape only C0 controls; C1 controls (one of them begins an escape
    sequence), DEL and bidi controls would go through.

    Args:
        data: UTF-8 JSON without line breaks, as `document.encode` writes it.
    """
    if data.isascii() and b"\x7f" not in data:
        return data
    return _NOT_PLAIN_ASCII.sub(_json_escapes, data.decode()).encode()


def _visible(character: str) -> bool:
    if unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return character in _SHOWN_SPACES
    return not _INVISIBLE.match(character)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escapes(run: re.Match[str]) -> str:
    return "".join(c if _visible(c) else _json_escape(c) for c in run.group())


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
