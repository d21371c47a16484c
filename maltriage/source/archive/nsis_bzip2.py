"""Unpacks NSIS's own form of bzip2, which the library of Python does not read.

It has no header, no checksums and no randomised blocks; a block begins with a byte (`Source/bzip2`
of its makers). In Python, some two seconds for each megabyte. Importing this costs numpy.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np

from maltriage.source.archive.limits import LimitError

BLOCK, END = 0x31, 0x17
MOST = 900_000
"""Bytes of a block before runs are written out."""
MOST_BLOCKS = 12
"""Of an archive, some 20 s: a worker has a minute for a file."""
_GROUP = 50
"""Symbols that one table is for."""
_LONGEST = 20
"""Bits of a code."""
_SHORT = 10
"""Bits of a code that are looked up at once."""
_RUN = re.compile(rb"(.)\1\1\1(.)", re.DOTALL)
_INPUT = 64 * 1024

_Table = tuple[list[tuple[int, int]], dict[tuple[int, int], int]]
"""The symbol and length of short codes, by their first bits, and the symbols of longer ones."""


class Blocks:
    """How many blocks of an archive may still be unpacked."""

    def __init__(self, left: int = MOST_BLOCKS) -> None:
        self._left = left

    def one(self) -> None:
        """Charge one.

        Raises:
            LimitError: there are too many.
        """
        self._left -= 1
        if self._left < 0:
            reason = (
                f"more than {MOST_BLOCKS} blocks of bzip2 in NSIS's own form: the rest is left out"
            )
            raise LimitError(
                "archive-time", f"{reason}, since it takes too long (7-Zip unpacks it)"
            )


class Unpacked:
    """What packed bytes unpack to, block by block.

    Args:
        read: gives at most so many more packed bytes; none at the end.
        blocks: of all files of an archive.
    """

    def __init__(self, read: Callable[[int], bytes], blocks: Blocks) -> None:
        self._bits, self._ready, self._ended = _Bits(read), io.BytesIO(), False
        self._blocks = blocks

    def read(self, size: int) -> bytes:
        """At most so many more bytes; none at the end.

        Raises:
            LimitError: there are too many blocks.
            ValueError, EOFError: they are damaged.
        """
        while not (piece := self._ready.read(size)) and size and not self._ended:
            kind = self._bits.take(8)
            if kind not in (BLOCK, END):
                raise ValueError("no block where one should be")
            self._ended = kind == END
            if not self._ended:
                self._blocks.one()
                self._ready = io.BytesIO(_block(self._bits))
        return piece


class _Bits:
    """Bits of a source, the highest of each byte first."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.data, self.at = b"", 0

    def fill(self) -> None:
        """Have the bits of a code and more at hand, zeros behind the end."""
        if len(self.data) * 8 - self.at < 64:
            more = self._read(_INPUT)
            self.data = self.data[self.at >> 3 :] + more
            self.at &= 7
            if not more and self.at > len(self.data) * 8:
                raise EOFError("it ends within a block")

    def take(self, count: int) -> int:
        """The next bits, at most 24, as a number."""
        self.fill()
        first = self.at >> 3
        word = int.from_bytes(self.data[first : first + 4].ljust(4, b"\0"), "big")
        found = word >> 32 - count - (self.at & 7) & (1 << count) - 1
        self.at += count
        if self.at > len(self.data) * 8:
            raise EOFError("it ends within a block")
        return found


def _block(bits: _Bits) -> bytes:
    start = bits.take(24)
    used = bits.take(16)
    present = [
        16 * row + column
        for row in range(16)
        if used >> 15 - row & 1
        for column, there in enumerate(f"{bits.take(16):016b}")
        if there == "1"
    ]
    count = bits.take(3)
    selectors = bits.take(15)
    if not present or not 2 <= count <= 6 or not selectors:
        raise ValueError("a block of no bytes")
    order, chosen = list(range(count)), []
    for _ in range(selectors):
        place = 0
        while bits.take(1):
            place += 1
            if place >= count:
                raise ValueError("no such table")
        order.insert(0, order.pop(place))
        chosen.append(order[0])
    tables = [_table(bits, len(present) + 2) for _ in range(count)]
    last = _symbols(bits, bytes(present), [tables[number] for number in chosen])
    if start >= len(last):
        raise ValueError("a block without a start")
    return _RUN.sub(lambda run: run[1] * (4 + run[2][0]), _in_order(last, start))


def _table(bits: _Bits, symbols: int) -> _Table:
    length, lengths = bits.take(5), []
    for _ in range(symbols):
        while bits.take(1):
            length += 1 - 2 * bits.take(1)
            if not 1 <= length <= _LONGEST:
                raise ValueError("a code of no length")
        if not 1 <= length <= _LONGEST:
            raise ValueError("a code of no length")
        lengths.append(length)
    short, long, code = [(-1, 0)] * (1 << _SHORT), dict[tuple[int, int], int](), 0
    for own in range(1, _LONGEST + 1):
        for symbol in (s for s, other in enumerate(lengths) if other == own):
            if code >> own:
                raise ValueError("too many codes")
            if own <= _SHORT:
                first = code << _SHORT - own
                short[first : first + (1 << _SHORT - own)] = [(symbol, own)] * (1 << _SHORT - own)
            else:
                long[own, code] = symbol
            code += 1
        code <<= 1
    return short, long


def _symbols(bits: _Bits, present: bytes, tables: list[_Table]) -> bytes:
    """The last column of the sorted block: runs and moves to the front undone."""
    end, front = len(present) + 1, list(present)
    found, run, unit = bytearray(), 0, 1
    for short, long in tables:
        for _ in range(_GROUP):
            bits.fill()
            at = bits.at
            word = int.from_bytes(bits.data[at >> 3 : (at >> 3) + 4].ljust(4, b"\0"), "big")
            word = word << (at & 7) & 0xFFFFFFFF
            symbol, length = short[word >> 32 - _SHORT]
            if symbol < 0:
                symbol, length = _long(long, word)
            bits.at = at + length
            if symbol <= 1:
                run += unit << symbol
                unit <<= 1
                if run > MOST:
                    raise ValueError("a block that is too long")
                continue
            if run:
                found += bytes((front[0],)) * run
                run, unit = 0, 1
            if len(found) > MOST:
                raise ValueError("a block that is too long")
            if symbol == end:
                return bytes(found)
            if symbol != 2:
                front.insert(0, front.pop(symbol - 1))
            else:
                front[0], front[1] = front[1], front[0]
            found.append(front[0])
    raise ValueError("a block without an end")


def _long(codes: dict[tuple[int, int], int], word: int) -> tuple[int, int]:
    for length in range(_SHORT + 1, _LONGEST + 1):
        symbol = codes.get((length, word >> 32 - length))
        if symbol is not None:
            return symbol, length
    raise ValueError("no such code")


def _in_order(last: bytes, start: int) -> bytes:
    """A block whose rotations were sorted (Burrows and Wheeler 1994), from their last bytes."""
    following = np.argsort(np.frombuffer(last, np.uint8), kind="stable").tolist()
    found, at = bytearray(len(last)), start
    for number in range(len(last)):
        at = following[at]
        found[number] = last[at]
    return bytes(found)
