"""NSIS's own form of bzip2 is unpacked as the library of Python unpacks the other."""

from __future__ import annotations

import io
import random
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from source.archive.nsis_writer import bzip2

from maltriage.source.archive.limits import LimitError
from maltriage.source.archive.nsis_bzip2 import MOST_BLOCKS, Blocks, Unpacked

pieces = st.one_of(
    st.binary(max_size=300),
    st.tuples(st.binary(min_size=1, max_size=2), st.integers(1, 2000)).map(lambda p: p[0] * p[1]),
)


def unpacked(data: bytes, size: int = 1000) -> bytes:
    source = Unpacked(io.BytesIO(data).read, Blocks())
    return b"".join(iter(lambda: source.read(size), b""))


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=12).map(b"".join))
@example(b"aaaa")
@example(b"aaaaa" * 60)
@example(bytes(range(256)) * 3)
@example(b"\0" * 259 + b"\0" * 4)
def test_as_the_library(data: bytes) -> None:
    assert unpacked(bzip2(data)) == data


def test_several_blocks() -> None:
    data = random.Random(0).randbytes(950_000)
    packed = bzip2(data)
    assert unpacked(packed, 1 << 16) == data
    source = Unpacked(io.BytesIO(packed).read, Blocks())
    assert source.read(10) == data[:10]
    assert source.read(0) == b""
    assert source.read(5) == data[10:15]


def test_no_more_blocks_than_there_is_time_for() -> None:
    one, blocks = bzip2(b"text"), Blocks()
    for _ in range(MOST_BLOCKS):
        assert Unpacked(io.BytesIO(one).read, blocks).read(9) == b"text"
    with pytest.raises(LimitError, match="7-Zip"):
        Unpacked(io.BytesIO(one).read, blocks).read(9)


def test_codes_that_are_longer_than_are_looked_up() -> None:
    """Symbols that are rarer and rarer, each half as often as the one before."""
    data = b"".join(bytes((n,)) * (1 << 14 - n) for n in range(15))
    mixed = bytearray(data)
    random.Random(1).shuffle(mixed)
    assert unpacked(bzip2(bytes(mixed))) == bytes(mixed)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x31",
        b"\x18",
        b"\x31\0\0\0" + bytes(100),  # of no bytes
        b"\x31" + b"\xff" * 100,
        bzip2(b"some text")[:-9],
        bzip2(random.Random(0).randbytes(500))[:300],
    ],
)
def test_damage(data: bytes) -> None:
    with pytest.raises((ValueError, EOFError)):
        unpacked(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_stop_it(drawn: st.DataObject) -> None:
    data = bytearray(bzip2(b"some text, and more of it " * 20))
    for at in drawn.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
        data[at] = drawn.draw(st.integers(0, 255))
    with suppress(ValueError, EOFError):
        unpacked(bytes(data))
