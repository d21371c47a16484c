"""Patterns as YARA text: whatever the bytes, it compiles and finds these bytes and no others."""

from __future__ import annotations

import yara_x
from hypothesis import given
from hypothesis import strategies as st

from maltriage.probe.rule.pattern import Pattern, quoted, trimmed


def found(pattern: Pattern, data: bytes) -> list[tuple[int, int]]:
    """(offset, length) of what a rule of the pattern alone finds."""
    rules = yara_x.compile(f"rule a {{ strings: $a = {pattern.yara()} condition: $a }}")
    matching = rules.scan(data).matching_rules
    return [(m.offset, m.length) for rule in matching for p in rule.patterns for m in p.matches]


@given(st.binary(min_size=1, max_size=64))
def test_text_of_any_bytes(raw: bytes) -> None:
    pattern = Pattern("ascii", raw)
    assert pattern.yara().isascii()
    assert pattern.yara().isprintable()
    assert (3, len(raw)) in found(pattern, b"\x01\x02\x03" + raw + b"\x04")
    for place in range(len(raw)):
        other = raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :]
        assert not [at for at, _ in found(pattern, other) if at == 0]


@given(st.text(st.characters(max_codepoint=255), min_size=1, max_size=32))
def test_wide_text(text: str) -> None:
    raw = text.encode("utf-16le")
    assert (1, len(raw)) in found(Pattern("wide", raw), b"\xfe" + raw)
    assert not found(Pattern("wide", raw), raw[::2] + b"\xfe" * 3)


@given(st.binary(min_size=4, max_size=48), st.data())
def test_bytes_with_gaps(raw: bytes, data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.sampled_from((0, 0xFF)), min_size=len(raw), max_size=len(raw)))
    kept[0] = kept[-1] = 0xFF
    pattern = Pattern("hex", raw, bytes(kept))
    assert (0, len(raw)) in found(pattern, raw)
    flipped = bytes(b if k else b ^ 0xFF for b, k in zip(raw, kept, strict=True))
    assert (0, len(raw)) in found(pattern, flipped)
    for place, keep in enumerate(kept):
        if keep:
            other = raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :]
            assert not [at for at, _ in found(pattern, other) if at == 0]


@given(st.text(max_size=200))
def test_nothing_leaves_a_string_of_the_metadata(text: str) -> None:
    raw = text.encode("utf-8", "backslashreplace")
    (rule,) = (
        yara_x.compile(f"rule a {{ meta: x = {quoted(raw)} condition: true }}")
        .scan(b"")
        .matching_rules
    )
    ((key, value),) = rule.metadata
    assert key == "x"
    assert (value.encode() if isinstance(value, str) else value) == raw


def test_ends_that_do_not_matter_are_left_out() -> None:
    pattern = trimmed(b"abcdef", b"\0\0\xff\0\xff\0")
    assert pattern.yara() == "{ 63 ?? 65 }"
    assert (pattern.fixed, pattern.longest_run) == (b"ce", 1)
    assert Pattern("ascii", b"abc").longest_run == 3
