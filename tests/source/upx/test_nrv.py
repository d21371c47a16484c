"""NRV2B, NRV2D and NRV2E: what an encoder of our own packs, and what nobody packed."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maltriage.source.upx.nrv import NRV2B, NRV2D, NRV2E, unpack

CODES = (NRV2B, NRV2D, NRV2E)
END = 0x1000002
FAR = {NRV2B: 0xD00, NRV2D: 0x500, NRV2E: 0x500}


class Stream:
    """Bits and bytes: where bits run out, the next ones are those of the word that lies there."""

    def __init__(self, word: int) -> None:
        self.data, self._word, self._left, self._at = bytearray(), word, 0, 0

    def bits(self, *bits: int) -> None:
        for bit in bits:
            if not self._left:
                self._at, self._left = len(self.data), 8 * self._word
                self.data += bytes(self._word)
            self._left -= 1
            self.data[self._at + self._left // 8] |= bit << self._left % 8

    def byte(self, value: int) -> None:
        self.data.append(value)


def gamma(value: int) -> list[int]:
    """A number from 2 on: its digits behind the first, each but the last followed by a zero."""
    found: list[int] = []
    for digit in bin(value)[3:]:
        found += [int(digit), 0]
    return [*found[:-1], 1]


def twice(value: int) -> list[int]:
    """As `gamma`, by the code of NRV2D, which counts each second digit from one less."""
    if value < 4:
        return [value & 1]
    above = value >> 1
    return [*twice((above - (above & 1)) // 2 + 1), 0, above & 1, value & 1]


def packed(tokens: list[tuple[int, int] | int], code: str, word: int) -> bytes:
    """Literals, and matches of an offset and a length."""
    stream, last = Stream(word), 1

    def offset(value: int) -> None:
        stream.bits(*(gamma(value) if code == NRV2B else [*twice(value), 1]))

    for token in tokens:
        if isinstance(token, int):
            stream.bits(1)
            stream.byte(token)
            continue
        stream.bits(0)
        back, size = token
        rest = size - 1 - (back > FAR[code])
        near = {NRV2B: 0, NRV2D: int(rest in (2, 3)), NRV2E: int(rest < 3)}[code]
        if back == last:
            offset(2)
            if code != NRV2B:
                stream.bits(near)
        else:
            low = back - 1 if code == NRV2B else (back - 1) << 1 | (1 - near)
            offset((low >> 8) + 3)
            stream.byte(low & 0xFF)
        last = back
        if code == NRV2E:
            if rest < 3:
                stream.bits(rest - 1)
            else:
                stream.bits(*((1, rest - 3) if rest < 5 else (0, *gamma(rest - 3))))
        elif rest < 4:
            stream.bits(*((rest & 1,) if code == NRV2D else (rest >> 1, rest & 1)))
        else:
            stream.bits(*((0,) if code == NRV2D else (0, 0)), *gamma(rest - 2))
    stream.bits(0)
    offset(END)
    stream.byte(0xFF)
    return bytes(stream.data)


def plain(tokens: list[tuple[int, int] | int]) -> bytes:
    out = bytearray()
    for token in tokens:
        if isinstance(token, int):
            out.append(token)
        else:
            for _ in range(token[1]):
                out.append(out[-token[0]])
    return bytes(out)


@st.composite
def texts(draw: st.DrawFn) -> list[tuple[int, int] | int]:
    found: list[tuple[int, int] | int] = []
    size, last = 0, 1
    for _ in range(draw(st.integers(0, 40))):
        if size < 2 or draw(st.booleans()):
            found.append(draw(st.integers(0, 255)))
            size += 1
        else:
            back = last if draw(st.booleans()) else draw(st.integers(1, size))
            long = draw(st.sampled_from((3, 4, 5, 6, 7, 8, 9, 700, 2000)))
            found.append((back, long))
            size, last = size + long, back
    return found


@pytest.mark.parametrize(("code", "word"), [*itertools.product(CODES, (1, 4))])
@given(texts())
def test_what_was_packed_comes_out(
    code: str, word: int, tokens: list[tuple[int, int] | int]
) -> None:
    wanted = plain(tokens)
    assert unpack(packed(tokens, code, word), code, word, len(wanted)) == wanted


@pytest.mark.parametrize("code", CODES)
def test_another_size_is_damage(code: str) -> None:
    data = packed([1, 2, 3, (3, 40)], code, 4)
    for size in (0, 2, 42, 44, 1000):
        with pytest.raises(ValueError, match=r"more bytes|outside of|not \d"):
            unpack(data, code, 4, size)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="it ends early"):
            unpack(data[:end], code, 4, 43)


@pytest.mark.parametrize(("code", "word"), [*itertools.product(CODES, (1, 4))])
@given(st.binary(max_size=400), st.integers(0, 5000))
def test_anything(code: str, word: int, data: bytes, size: int) -> None:
    try:
        assert len(unpack(data, code, word, size)) == size
    except ValueError:
        return


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\xaa", b"\x55"])
def test_numbers_without_end_are_no_work(code: str, fill: bytes) -> None:
    """Such as a million zeros, which are one number of as many digits."""
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"end|outside"):
        unpack(fill * (1 << 18), code, 4, 1 << 27)
    assert time.monotonic() - began < 20
