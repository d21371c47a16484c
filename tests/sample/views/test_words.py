"""Words, against a plain definition of them."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.views.words import LONGEST, MOST, SHORTEST, find_words

LETTERS = re.compile(rb"[A-Za-z]+|[^A-Za-z]")
pieces = st.lists(
    st.one_of(
        st.text("aZqQ", min_size=1, max_size=30).map(str.encode),
        st.text("aZq", min_size=1, max_size=30).map(lambda text: text.encode("utf-16-le")),
        st.binary(max_size=4),
        st.just(b"\0"),
    ),
    max_size=12,
).map(b"".join)


def defined(data: bytes) -> list[tuple[int, int, str]]:
    """Places and letters of the words, found byte by byte."""
    runs = [(m.start(), m.end()) for m in re.finditer(rb"[A-Za-z]+", data)]
    found = [(a, b, data[a:b].decode()) for a, b in runs]
    single = {a for a, b in runs if b - a == 1}
    for at in sorted(single):
        if at - 2 in single and data[at - 1] == 0:
            continue
        end = at
        while end + 2 in single and data[end + 1] == 0:
            end += 2
        if end > at:
            found.append((at, end + 1, data[at : end + 1 : 2].decode()))
    return sorted(word for word in found if SHORTEST <= len(word[2]) <= LONGEST)


def words_of(data: bytes) -> list[tuple[int, int]]:
    found = find_words(np.frombuffer(data, dtype=np.uint8))
    return [*zip(found.start.tolist(), (found.start + found.size).tolist(), strict=True)]


@given(pieces)
def test_words_are_runs_of_letters(data: bytes) -> None:
    wanted = defined(data)
    assert words_of(data) == [(start, end) for start, end, _ in wanted]
    names: dict[str, int] = {}
    found = find_words(np.frombuffer(data, dtype=np.uint8)).name.tolist()
    for (_, _, text), name in zip(wanted, found, strict=True):
        assert names.setdefault(text.lower(), name) == name
    assert len(set(names.values())) == len(names)


def test_case_and_encoding_do_not_matter() -> None:
    data = b"CreateRemoteThread\0" + "createremotethread".encode("utf-16-le") + b"\x01CREATEREMOTE"
    first, second, third = find_words(np.frombuffer(data, dtype=np.uint8)).name.tolist()
    assert first == second != third


def test_a_word_may_end_the_file_and_begin_it() -> None:
    assert words_of(b"kernel") == [(0, 6)]
    assert words_of("kernel".encode("utf-16-le")[:-1]) == [(0, 11)]
    assert words_of(b"") == []


def test_so_many_words_are_named() -> None:
    assert len(words_of(b"abcde." * (MOST + 5))) == MOST
