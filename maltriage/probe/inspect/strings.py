"""Finds strings of a range: ASCII and UTF-16LE."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from itertools import accumulate

from maltriage.probe.inspect.image import Budget, Thing
from maltriage.sample.findings import FoundString

MIN_LENGTH = 5
"""A shorter run of printable bytes is more likely chance than text."""
MAX_STRINGS = 16
MAX_TEXT = 160
"""Characters kept of one string."""
LETTERS = 0.8
"""Share of a non-ASCII string that must be letters, digits or spaces."""
ELLIPSIS = "…"
REACH = 512
"""Bytes before and after a range that are searched for the ends of a string."""

_ASCII = re.compile(rb"[\x20-\x7e\t]{%d,}" % MIN_LENGTH)
_WIDE = re.compile(
    # Latin and Cyrillic; of wider sets most 16-bit numbers would be letters.
    rb"(?:[\x20-\x7e\xa0-\xff\t]\x00|[\x10-\x4f]\x04){%d,}" % MIN_LENGTH,
)


def spans(data: bytes, start: int, end: int) -> list[tuple[Thing, str]]:
    """Strings that share a byte with [start, end), in file order, with their encodings.

    One that reaches `REACH` bytes past the range on either side is cut there.
    """
    low, high = max(0, start - REACH), min(len(data), end + REACH)
    found = []
    for form, encoding in ((_ASCII, "ascii"), (_WIDE, "utf-16le")):
        for match in form.finditer(data, low, high):
            inside = match.start() < end and match.end() > start
            if inside and _likely(match.group(), encoding):
                found.append((Thing(match.start(), match.end()), encoding))
    return sorted(found, key=lambda item: item[0].start)


def _likely(raw: bytes, encoding: str) -> bool:
    """Whether a run is text: non-ASCII letters among punctuation are chance."""
    text = raw.decode(encoding, "replace")
    return text.isascii() or sum(c.isalnum() or c.isspace() for c in text) >= LETTERS * len(text)


def coverage(data: bytes, start: int, end: int) -> float:
    """Share of the bytes of a range that are in strings, 0 to 1."""
    covered = sum(min(t.end, end) - max(t.start, start) for t, _ in spans(data, start, end))
    return min(1.0, covered / (end - start)) if end > start else 0.0


def find(
    data: bytes,
    start: int,
    end: int,
    focus: int,
    budget: Budget,
    least: int = MIN_LENGTH,
    known: Sequence[tuple[int, int]] = (),
    among: Sequence[tuple[int, int]] | None = None,
) -> tuple[list[FoundString], int]:
    """The strings of a range, in file order, and how many more there are; if there are too many,
    those from `focus` on. One that begins before the range is whole, but if nothing of the range
    would be seen of it: then it is shown from the start of the range on.

    Args:
        budget: bytes of the sample that may still be shown.
        least: characters of a string.
        known: byte ranges to leave out, because they are shown as something else.
        among: byte ranges that a string must share a byte with; None: any string.
    """
    shown, only = _ordered(known), None if among is None else _ordered(among)
    every = [
        (thing, encoding)
        for thing, encoding in spans(data, start, end)
        if thing.end - thing.start >= least * (1 if encoding == "ascii" else 2)
        and not _meets(thing, *shown)
        and (only is None or _meets(thing, *only))
    ]
    ordered = sorted(every, key=lambda item: (item[0].end <= focus, item[0].start))
    found = []
    for thing, encoding in ordered[:MAX_STRINGS]:
        unit = 1 if encoding == "ascii" else 2
        first = thing.start
        if first + MAX_TEXT * unit <= start:  # what is shown of it has to lie in the range
            first = start + (thing.start - start) % unit
        raw = data[first : min(thing.end, first + MAX_TEXT * unit)]
        if not budget.take(len(raw)):
            break
        text = raw.decode(encoding, "replace")
        cut = thing.end - thing.start > len(raw)
        found.append(FoundString(first, encoding, text, cut))  # type: ignore[arg-type]
    return sorted(found, key=lambda item: item.offset), len(every) - len(found)


def _ordered(places: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """The starts of places in order, and the highest end of those up to each."""
    ordered = sorted(places)
    return [low for low, _ in ordered], list(accumulate((high for _, high in ordered), max))


def _meets(thing: Thing, starts: list[int], ends: list[int]) -> bool:
    """Whether a string shares a byte with one of some places; see `_ordered`."""
    before = bisect.bisect_left(starts, thing.end)
    return before > 0 and ends[before - 1] > thing.start


def at(data: bytes, offset: int, limit: int) -> str | None:
    """The zero-terminated string at `offset`, `shortened` to `limit` characters."""
    for form, encoding, unit in ((_ASCII, "ascii", 1), (_WIDE, "utf-16le", 2)):
        run = form.match(data, offset, min(len(data), offset + unit * limit))
        if run is None:
            continue
        ended = data[run.end() : run.end() + unit] == bytes(unit)
        if ended or len(run.group()) == unit * limit:
            return run.group().decode(encoding, "replace") + ("" if ended else ELLIPSIS)
    return None


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of a text, with an ellipsis behind them where there are more."""
    return text if len(text) <= limit else text[:limit] + ELLIPSIS
