"""Similarity digests of code, against a plain definition of the share of equal pieces."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maltriage.sample.code_digest import MAX_BYTES, PIECE, VALUE_BYTES, VALUES, code_digest, shared
from maltriage.sample.pe import Headers, Section


def program(*pieces: int, rest: int = 0) -> tuple[bytes, Headers]:
    """A file whose code is these pieces, each made from its number, and `rest` bytes more."""
    code = b"".join(np.random.default_rng(n).bytes(PIECE) for n in pieces) + b"\x90" * rest
    sections = (
        Section(".text", 512, len(code), 0x1000, len(code), executable=True),
        Section(".data", 512 + len(code), PIECE, 0x9000, PIECE, executable=False),
    )
    headers = Headers("lief", 0x14C, 2, 32, 0, 0x400000, 0x1000, 512, sections, {})
    return bytes(512) + code + np.random.default_rng(len(code)).bytes(PIECE), headers


def digest(*pieces: int, rest: int = 0) -> str | None:
    return code_digest(*program(*pieces, rest=rest))


def test_equal_code_has_equal_digests_and_other_code_shares_nothing() -> None:
    first, second = digest(*range(20)), digest(*range(20, 40))
    assert first is not None
    assert second is not None
    assert first == digest(*range(20), rest=100)
    assert len(first) == 2 * VALUE_BYTES * VALUES
    assert shared(first, first) == 1
    assert shared(first, second) == 0


@given(common=st.integers(0, 60), one=st.integers(1, 60), other=st.integers(1, 60))
def test_the_estimate_is_near_the_share(common: int, one: int, other: int) -> None:
    """Of the smallest hashes of both together, those in both: exact for few pieces, else within
    what 16 draws allow."""
    a, b = range(common + one), (*range(common), *range(1000, 1000 + other))
    first, second = digest(*a), digest(*b)
    assert first is not None
    assert second is not None
    true = common / (common + one + other)
    found = shared(first, second)
    assert found == shared(second, first)
    assert abs(found - true) < 0.55
    assert (found == 0) or common


def test_padding_and_what_has_no_code_say_nothing() -> None:
    data, headers = program(rest=8 * PIECE)
    assert code_digest(data, headers) is None
    assert code_digest(data, None) is None
    assert digest(1, 2, rest=8 * PIECE) == digest(1, 2)


def test_sections_that_lie_are_read_as_far_as_the_file_goes() -> None:
    data, headers = program(1, 2, 3)
    huge = dataclasses.replace(headers.sections[0], size=1 << 40)
    beyond = dataclasses.replace(headers.sections[0], start=1 << 40, size=1 << 40)
    assert code_digest(data, dataclasses.replace(headers, sections=(huge,))) is not None
    assert code_digest(data, dataclasses.replace(headers, sections=(beyond,))) is None


def test_the_end_of_a_large_program_is_not_read() -> None:
    pieces = range(MAX_BYTES // PIECE)
    assert digest(*pieces) == digest(*pieces, 10_000, 10_001)
