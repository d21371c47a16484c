from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.probe.inspect import strings
from maltriage.probe.inspect.image import Budget

GAP = b"\x00\x01\x02\xff"


def texts(data: bytes, start: int = 0, end: int | None = None, focus: int = 0) -> list[str]:
    end = len(data) if end is None else end
    return [item.text for item in strings.find(data, start, end, focus, Budget(4096))[0]]


def test_both_encodings_in_file_order() -> None:
    wide, cyrillic = "wide text".encode("utf-16le"), "Привет, мир".encode("utf-16le")
    data = GAP.join([b"", b"plain text", wide, b"tiny", cyrillic, b"C:\\x\\y.exe", b""])
    assert texts(data) == ["plain text", "wide text", "Привет, мир", "C:\\x\\y.exe"]
    found, _ = strings.find(data, 0, len(data), 0, Budget(4096))
    assert [item.encoding for item in found] == ["ascii", "utf-16le", "utf-16le", "ascii"]
    for item in found:
        assert data[item.offset :].startswith(item.text.encode(item.encoding))


def test_controls_and_bidi_end_a_string() -> None:
    data = b"\x1b]52;c;aGk=\x07" + "gpj\u202eexe.txt".encode("utf-16le") + b"\0\0"
    assert texts(data) == ["]52;c;aGk=", "exe.txt"]


def test_numbers_are_no_letters() -> None:
    """16-bit numbers below 256 would be letters of Latin-1."""
    assert texts(bytes.fromhex("b300be00b300d700bf00a100f700ac00")) == []


def test_a_string_across_the_edge_is_whole() -> None:
    data = GAP + b"a string across the edge" + GAP
    for start, end in ((0, 8), (10, 20), (20, len(data))):
        assert texts(data, start, end) == ["a string across the edge"]
    assert texts(data, 0, 4) == []
    assert texts(data, 28, len(data)) == []


@pytest.mark.parametrize("encoding", ["ascii", "utf-16le"])
def test_of_a_string_far_before_a_range_its_part_in_the_range_is_shown(encoding: str) -> None:
    unit = 1 if encoding == "ascii" else 2
    letters = "".join(chr(97 + i % 26) for i in range(240))
    data = GAP + letters.encode(encoding) + GAP
    start = len(GAP) + 200 * unit + unit - 1
    ((item,), _) = strings.find(data, start, len(data), start, Budget(4096))
    assert start <= item.offset < start + 2
    assert data[item.offset :].startswith(item.text.encode(encoding))
    assert item.cut
    ((item,), _) = strings.find(data, len(GAP) + 100 * unit, len(data), 0, Budget(4096))
    assert (item.offset, len(item.text)) == (len(GAP), strings.MAX_TEXT)


def test_long_and_many_are_cut() -> None:
    ((item,), left) = strings.find(b"x" * 9999, 0, 9999, 0, Budget(4096))
    assert left == 0
    assert (len(item.text), item.cut) == (strings.MAX_TEXT, True)
    data = GAP.join(b"string %05d" % i for i in range(1000))
    found = texts(data, focus=data.index(b"string 00500"))
    assert found == [f"string {i:05d}" for i in range(500, 500 + strings.MAX_STRINGS)]
    late = texts(data, focus=data.index(b"string 00995"))
    assert late[:2] == ["string 00000", "string 00001"]
    assert late[-5:] == [f"string {i:05d}" for i in range(995, 1000)]
    budget = Budget(30)
    assert len(strings.find(data, 0, len(data), 0, budget)[0]) == 2
    assert budget.left == 6


def test_a_string_that_is_pointed_to() -> None:
    data = b"....a name\0" + "wide name\0".encode("utf-16le") + b"no end\xff" + b"12345"
    assert strings.at(data, 4, 48) == "a name"
    assert strings.at(data, 11, 48) == "wide name"
    assert strings.at(data, 31, 48) is None  # does not end in a zero
    assert strings.at(data, 4, 5) == "a nam…"
    assert strings.at(data, 4, 6) == "a name"
    assert strings.at(data, 11, 8) == "wide nam…"
    assert strings.at(data, len(data) + 9, 48) is None


@given(st.binary(max_size=700), st.integers(0, 700), st.integers(0, 700))
def test_any_bytes(data: bytes, start: int, length: int) -> None:
    end = start + length
    budget = Budget(64)
    found, _ = strings.find(data, start, end, start, budget)
    assert len(found) <= strings.MAX_STRINGS
    assert sum(len(i.text) * (1 if i.encoding == "ascii" else 2) for i in found) <= 64
    for item in found:
        assert item.text.isprintable() or "\t" in item.text or "\xa0" in item.text
        assert item.offset < end
        assert data[item.offset :].startswith(item.text.encode(item.encoding))
    assert 0.0 <= strings.coverage(data, start, end) <= 1.0


def test_those_that_are_not_listed_are_counted() -> None:
    data = b"".join(b"string number %03d\0" % i for i in range(40))
    found, left = strings.find(data, 0, len(data), 0, Budget(4096))
    assert (len(found), left) == (strings.MAX_STRINGS, 40 - strings.MAX_STRINGS)
