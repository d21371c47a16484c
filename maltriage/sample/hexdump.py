"""Hex dumps, as the Microsoft Malware Classification Challenge ships its files.

(Ronen et al. 2018, arXiv 1802.10135; "BIG2015".) A dump is text: on each line an address of eight
hex digits (or none in the whole file), and up to 16 bytes of two hex digits each, one space
between. `??` stands for a byte that is mapped in memory but not in the file. The PE header is
left out.

No byte passes through Python by itself: a block of lines of one length is a strided array of
pairs of characters, and a table of 65,536 entries says what each pair is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint16]
Integers = npt.NDArray[np.int64]

UNMAPPED = 0
"""The byte that `??` is read as: zero, as a loader fills memory that no file backs."""
PER_LINE = 16
MAX_BLOCKS = 2048
"""Blocks of addresses that are told apart; a dump that jumps more often is not a program's."""
LONGEST_LINE = 64
"""Characters of the longest line that can be one, its end included."""

_ROWS = 8192
"""Lines parsed at once: enough to outweigh the calls, few enough to stay in a cache."""
_NO_BYTE, _NO_PAIR = 0x100, 0x200
"""Bits of a table entry: a pair of question marks; no pair of hex digits either."""
_PAIR = rb"(?:[0-9A-Fa-f]{2}|\?\?)"
_BYTES = _PAIR + rb"(?: " + _PAIR + rb"){0,15}"
_WITH_ADDRESS = re.compile(rb"[0-9A-Fa-f]{8} " + _BYTES + rb" ?\r?")
_WITHOUT = re.compile(_BYTES + rb" ?\r?")
_FULL_FIRST_LINE = re.compile(
    rb"(?:[0-9A-Fa-f]{8} )?" + _PAIR + rb"(?: " + _PAIR + rb"){15} ?\r?\n"
)


class DumpError(ValueError):
    """A line that is none of a hex dump; `line` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line


@dataclass(frozen=True)
class Dump:
    """The bytes of a hex dump, one after the other as the text has them.

    `blocks` are runs of bytes whose addresses follow each other, as (offset into `data`,
    address), the first at offset 0; empty where the dump has no addresses. From the offset
    `rest` on there are more than `MAX_BLOCKS`, and they are not told apart.
    """

    data: bytes
    unmapped: int
    """How many of the bytes are `??`."""
    blocks: tuple[tuple[int, int], ...] = ()
    rest: int | None = None


def begins_like_dump(head: bytes) -> bool:
    """Whether a file begins with a whole line of a hex dump: 16 bytes, with an address or not."""
    return _FULL_FIRST_LINE.match(head) is not None


def parse_dump(text: bytes, unmapped: int = UNMAPPED) -> Dump:
    """Read a hex dump.

    Args:
        text: the whole file. Lines end in LF or CRLF; a space before that, and blank lines at
            the end of the file, are let pass.
        unmapped: the byte, 0 to 255, that `??` is read as.

    Raises:
        DumpError: a line is none of a dump, lacks bytes in the middle of a block, or has an
            address where others have none.
    """
    end = len(text.rstrip(b" \r\n"))
    if not end:
        raise DumpError(1, "no bytes in the whole dump")
    # A pair and a space, or eight digits: the third character tells them apart.
    lead = 9 if text[2:3].strip() else 0
    table, blocks = _table(unmapped), _Blocks()
    values = np.empty(end // 3 + 1, dtype=np.uint8)
    done = holes = at = lines = 0
    while at < end:
        part = _even_lines(text, at, lead, table) or _lines(text, at, end, lead, table, lines)
        values[done : done + len(part.values)] = part.values
        holes += int(np.count_nonzero(part.values & _NO_BYTE))
        if part.addresses is None:
            blocks.add(PER_LINE * (lines + np.arange(len(part.counts))), part.counts, done, lines)
        else:
            blocks.add(part.addresses, part.counts, done, lines)
        done += len(part.values)
        lines += len(part.counts)
        at += part.length
    data = values[:done].tobytes()
    return Dump(data, holes, tuple(blocks.found), blocks.rest) if lead else Dump(data, holes)


@dataclass(frozen=True)
class _Part:
    """Some whole lines of a dump."""

    length: int
    """Characters of the text, ends of lines included."""
    counts: Bytes
    """Bytes of each line."""
    values: Words
    """Table entries of those bytes."""
    addresses: Integers | None
    """Of each line, where lines have one."""


class _Blocks:
    """Blocks of addresses, found part by part."""

    def __init__(self) -> None:
        self.found = list[tuple[int, int]]()
        self.rest: int | None = None
        self._last = (-PER_LINE - 1, PER_LINE)
        """Address and bytes of the line before; at first, none that another goes on from."""

    def add(self, address: Integers, counts: Bytes, done: int, lines: int) -> None:
        """Take in some lines.

        Args:
            address: of each line, [n].
            counts: bytes of each line, [n].
            done: bytes before them.
            lines: lines before them.

        Raises:
            DumpError: a line lacks bytes, though the next one goes on after 16.
        """
        count = counts.astype(np.int64)
        before = np.concatenate(([self._last[0]], address[:-1]))
        length = np.concatenate(([self._last[1]], count[:-1]))
        self._last = int(address[-1]), int(count[-1])
        short = np.flatnonzero((length < PER_LINE) & (address == before + PER_LINE))
        if len(short):
            i = int(short[0])
            what = f"{length[i]} bytes, and the next line goes on after {PER_LINE}"
            raise DumpError(lines + i, what)
        rows = np.flatnonzero(address != before + length)
        room = MAX_BLOCKS - len(self.found)
        offsets = (done + (np.cumsum(count) - count)[rows]).tolist()
        if len(rows) > room and self.rest is None:
            self.rest = offsets[room]
        self.found += zip(offsets[:room], address[rows[:room]].tolist(), strict=True)


@cache
def _table(unmapped: int) -> Words:
    """What two characters are, read as a little-endian number: the byte, or a flag."""
    table = np.full(1 << 16, _NO_PAIR, dtype=np.uint16)
    for value in range(256):
        for text in {f"{value:02x}", f"{value:02X}"}:
            for pair in {text, text[0] + text[1].swapcase()}:
                table[int.from_bytes(pair.encode(), "little")] = value
    table[int.from_bytes(b"??", "little")] = _NO_BYTE | unmapped
    table.flags.writeable = False
    return table


def _even_lines(text: bytes, at: int, lead: int, table: Words) -> _Part | None:
    """A block of whole lines of 16 bytes and one length, or None where they are not that.

    All lines have the ends of the first; that they are those of a dump is seen by comparing
    every character between the pairs with what belongs there.
    """
    pitch = text.find(b"\n", at, at + LONGEST_LINE) + 1 - at
    rows = min(_ROWS, (len(text) - at) // pitch) if pitch > 0 else 0
    if not rows:
        return None
    ending = text[at + lead + 3 * PER_LINE - 1 : at + pitch]
    if ending not in (b"\n", b"\r\n", b" \n", b" \r\n"):
        return None
    # XOR and AND on the lines as they lie: zero but where a separator is another.
    wanted, between = _separators(lead, ending)
    found = np.frombuffer(text, np.uint8, rows * pitch, at) ^ wanted[: rows * pitch]
    found &= between[: rows * pitch]
    if found.any():
        return None
    values = table[_pairs(text, at + lead, rows, PER_LINE, pitch, 3)]
    if values.max() >= _NO_PAIR:
        return None
    addresses = None
    if lead:
        digits = table[_pairs(text, at, rows, 4, pitch, 2)]
        if digits.max() >= _NO_BYTE:
            return None
        addresses = digits.astype(np.uint8).view(">u4").ravel().astype(np.int64)
    counts = np.full(rows, PER_LINE, dtype=np.uint8)
    return _Part(rows * pitch, counts, values.ravel(), addresses)


def _pairs(text: bytes, at: int, rows: int, count: int, pitch: int, step: int) -> Words:
    """Pairs of characters as numbers, [rows, count], read where they lie."""
    return np.ndarray((rows, count), "<u2", text, at, (pitch, step))


@cache
def _separators(lead: int, ending: bytes) -> tuple[Bytes, Bytes]:
    """What a block of lines has between its pairs, and where (255) that is to be looked at."""
    digits = b"\0" * (lead - 1) + b" " if lead else b""
    line = digits + b"\0\0 " * (PER_LINE - 1) + b"\0\0" + ending
    wanted = np.frombuffer(line * _ROWS, dtype=np.uint8)
    return wanted, np.where(wanted > 0, 255, 0).astype(np.uint8)


def _lines(text: bytes, at: int, end: int, lead: int, table: Words, before: int) -> _Part:
    """The next lines, of any lengths.

    Args:
        end: where the last line ends, its end not included.
        before: lines before these, to name one that is wrong.

    Raises:
        DumpError: one of them is no line of a dump.
    """
    block = text[at : min(end, at + _ROWS * LONGEST_LINE)]
    if at + len(block) < end:
        block = block[: block.rfind(b"\n") + 1]
        if not block:
            raise DumpError(before + 1, "longer than a line of a hex dump")
    else:
        block += b"\n"
    chars = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(chars == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    last = ends.copy()  # where the line ends, without a CR and without one space
    for optional in b"\r ":
        last -= (chars[np.maximum(last - 1, 0)] == optional) & (last > starts)
    lengths = last - starts - lead
    counts = (lengths + 1) // 3
    if (lengths % 3 != 2).any() or counts.min() < 1 or counts.max() > PER_LINE:
        raise _first_wrong(block, lead, before)
    pairs = np.ndarray((len(block) - 1,), "<u2", block, 0, (1,))
    first = np.cumsum(counts) - counts
    places = np.repeat(starts + lead - 3 * first, counts) + 3 * np.arange(counts.sum())
    values = table[pairs[places]]
    inner = np.delete(places, first + counts - 1)  # a space follows all but a line's last pair
    wrong = values.max() >= _NO_PAIR or (chars[inner + 2] != ord(" ")).any()
    addresses = None
    if lead:
        digits = table[pairs[starts[:, None] + np.arange(0, 8, 2)]]
        wrong = wrong or digits.max() >= _NO_BYTE or (chars[starts + 8] != ord(" ")).any()
        addresses = digits.astype(np.uint8).view(">u4").ravel().astype(np.int64)
    if wrong:
        raise _first_wrong(block, lead, before)
    return _Part(len(block), counts.astype(np.uint8), values, addresses)


def _first_wrong(block: bytes, lead: int, before: int) -> DumpError:
    """Which line of some is none of a dump."""
    form, other = (_WITH_ADDRESS, _WITHOUT) if lead else (_WITHOUT, _WITH_ADDRESS)
    for number, line in enumerate(block.split(b"\n"), before + 1):
        if form.fullmatch(line) is None:
            what = "no line of a hex dump"
            if not line.strip():
                what = "blank"
            elif other.fullmatch(line):
                what = "without the address that others have" if lead else "an address"
            return DumpError(number, what)
    raise AssertionError("every line of the block is one of a dump")
