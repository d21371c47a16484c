"""Reads hex dumps in the format of the Microsoft Malware Classification Challenge.

(Ronen et al. 2018, arXiv 1802.10135; "BIG2015".) A dump is text: on each line an address of eight
hex digits (or none in the whole file), and up to 16 bytes of two hex digits each, one space
between. `??` stands for a byte that is mapped in memory but not in the file. The PE header is
left out.

No byte passes through Python by itself. A block of lines of equal length is compared with the
separators of such lines, all characters at once, and `bytes.fromhex` then reads the pairs; blocks
of other lines are brought into that form first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

UNMAPPED = 0
"""The byte that `??` is read as: zero, as a loader fills memory that no file backs."""
PER_LINE = 16
MAX_BLOCKS = 2048
"""Address blocks that are kept apart; a dump that jumps more often is not a program's."""
LONGEST_LINE = 64
"""Characters of the longest possible line, its end included."""

_ROWS = 4096
"""Lines parsed at once: enough to outweigh the calls, few enough to stay in a cache."""
_PAIR = rb"(?:[0-9A-Fa-f]{2}|\?\?)"
_BYTES = _PAIR + rb"(?: " + _PAIR + rb"){0,15}"
_WITH_ADDRESS = re.compile(rb"[0-9A-Fa-f]{8} " + _BYTES + rb" ?\r?")
_WITHOUT = re.compile(_BYTES + rb" ?\r?")
_FULL_FIRST_LINE = re.compile(
    rb"(?:[0-9A-Fa-f]{8} )?" + _PAIR + rb"(?: " + _PAIR + rb"){15} ?\r?\n"
)


class DumpError(ValueError):
    """An invalid line of a hex dump; `line` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line


@dataclass(frozen=True)
class Dump:
    """The bytes of a hex dump, in the order of the text.

    `blocks` are runs of bytes whose addresses follow each other, as (offset into `data`,
    address), the first at offset 0; empty where the dump has no addresses. There are more than
    `MAX_BLOCKS` from the offset `rest` on, and they are not kept apart.
    """

    data: bytes
    unmapped: int
    """Number of bytes that are `??`."""
    blocks: tuple[tuple[int, int], ...] = ()
    rest: int | None = None
    filler: int = UNMAPPED
    """The byte that `??` was read as."""


def begins_like_dump(head: bytes) -> bool:
    """Whether a file begins with a whole line of a hex dump: 16 bytes, with an address or not."""
    return _FULL_FIRST_LINE.match(head) is not None


def parse_dump(text: bytes, unmapped: int = UNMAPPED) -> Dump:
    """Read a hex dump.

    Args:
        text: the whole file. Lines end in LF or CRLF; a space before that, and blank lines at
            the end of the file, are ignored.
        unmapped: the byte, 0 to 255, that `??` is read as.

    Raises:
        DumpError: a line is not one of a hex dump, lacks bytes in the middle of a block, or has
            an address where others have none.
    """
    end = _end(text)
    if not end:
        raise DumpError(1, "no bytes in the whole dump")
    # A pair and a space, or eight digits: the third character decides.
    lead = 9 if text[2:3].strip() else 0
    blocks, parts = _Blocks(), list[bytes]()
    done = holes = at = lines = 0
    while at < end:
        part = _even_lines(text, at, lead, unmapped) or _lines(text, at, end, lead, unmapped, lines)
        blocks.add(part, done, lines)
        parts.append(part.data)
        holes += part.holes
        done += len(part.data)
        lines += len(part.counts)
        at += part.length
    data = b"".join(parts)
    found, rest = (tuple(blocks.found), blocks.rest) if lead else ((), None)
    return Dump(data, holes, found, rest, unmapped)


def _end(text: bytes) -> int:
    """Length without the blank lines at the end, without a copy of the rest."""
    end = len(text)
    while end:
        start = max(0, end - (1 << 16))
        left = len(text[start:end].rstrip(b" \r\n"))
        if left:
            return start + left
        end = start
    return 0


@dataclass(frozen=True)
class _Part:
    """Whole lines of a dump."""

    length: int
    """Characters of the text, ends of lines included."""
    counts: Bytes
    """Bytes of each line."""
    full: bool
    """Whether every line has 16."""
    data: bytes
    holes: int
    """Number of bytes that are `??`."""
    addresses: Integers | None
    """Address of each line, where lines have one."""


class _Blocks:
    """Address blocks, found chunk by chunk."""

    def __init__(self) -> None:
        self.found = list[tuple[int, int]]()
        self.rest: int | None = None
        self._last = (-PER_LINE - 1, PER_LINE)
        """Address and bytes of the line before; at first, values that no line continues."""

    def add(self, part: _Part, done: int, lines: int) -> None:
        """Add lines.

        Args:
            done: bytes before them.
            lines: lines before them.

        Raises:
            DumpError: a line lacks bytes, though the next one's address is 16 further.
        """
        address = part.addresses
        if address is None:  # as if the first line were at 0
            address = PER_LINE * np.arange(lines, lines + len(part.counts))
        # In a run of full lines only the first can begin a block.
        even = part.full and (np.diff(address) == PER_LINE).all()
        last = int(address[-1]), int(part.counts[-1])
        address = address[:1] if even else address
        count = part.counts[: len(address)].astype(np.int64)
        before = np.concatenate(([self._last[0]], address[:-1]))
        length = np.concatenate(([self._last[1]], count[:-1]))
        self._last = last
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


def _even_lines(text: bytes, at: int, lead: int, unmapped: int) -> _Part | None:
    """A block of whole lines of 16 bytes and equal length, or None for other lines.

    All lines have the line end of the first: every character between the pairs is compared with
    the separator that belongs there.
    """
    pitch = text.find(b"\n", at, at + LONGEST_LINE) + 1 - at
    rows = min(_ROWS, (len(text) - at) // pitch) if pitch > 0 else 0
    if not rows:
        return None
    ending = text[at + lead + 3 * PER_LINE - 1 : at + pitch]
    if ending not in (b"\n", b"\r\n", b" \n", b" \r\n"):
        return None
    chars = np.frombuffer(text, np.uint8, rows * pitch, at)
    # XOR and AND on the lines in place: zero except at a wrong separator.
    wanted, between = _separators(lead, ending)
    found = chars ^ wanted[: rows * pitch]
    found &= between[: rows * pitch]
    if found.max():
        return None
    grid = chars.reshape(rows, pitch)
    spelled = _bytes(grid[:, lead:], rows * PER_LINE, unmapped)
    addresses = _addresses(grid[:, :8]) if lead else None
    if spelled is None or (lead and addresses is None):
        return None
    counts = np.full(rows, PER_LINE, dtype=np.uint8)
    return _Part(rows * pitch, counts, True, *spelled, addresses)


@cache
def _separators(lead: int, ending: bytes) -> tuple[Bytes, Bytes]:
    """The separators of a block of lines, and a mask (255) of their places."""
    digits = b"\0" * (lead - 1) + b" " if lead else b""
    line = digits + b"\0\0 " * (PER_LINE - 1) + b"\0\0" + ending
    wanted = np.frombuffer(line * _ROWS, dtype=np.uint8)
    return wanted, np.where(wanted > 0, 255, 0).astype(np.uint8)


def _bytes(pairs: Bytes, count: int, unmapped: int) -> tuple[bytes, int] | None:
    """Bytes of pairs of characters with white space between them, and the number of `??`.

    Returns:
        None unless there are exactly `count` pairs of hex digits or question marks.
    """
    flat = pairs.ravel()
    unknown = flat == ord("?")
    holes = 0
    if unknown.any():
        first = unknown[:-1] & unknown[1:]
        holes = int(np.count_nonzero(first))
        if np.count_nonzero(unknown) != 2 * holes:  # a question mark beside a digit
            return None
        flat = flat.copy()
        high, low = b"%02x" % unmapped
        np.copyto(flat, low, where=unknown)
        np.copyto(flat[:-1], high, where=first)
    data = _from_hex(flat)
    # White space in place of a pair is passed over.
    return None if data is None or len(data) != count else (data, holes)


def _addresses(digits: Bytes) -> Integers | None:
    """Numbers of eight hex digits each, [n, 8]; None where a character is not a hex digit."""
    data = _from_hex(digits.ravel())
    if data is None or len(data) != 4 * len(digits):
        return None
    return np.frombuffer(data, dtype=">u4").astype(np.int64)


def _from_hex(text: Bytes) -> bytes | None:
    try:
        return bytes.fromhex(str(text.data, "ascii"))
    except ValueError:  # UnicodeDecodeError is one
        return None


def _lines(text: bytes, at: int, end: int, lead: int, unmapped: int, before: int) -> _Part:
    """The next lines, of any lengths.

    Args:
        end: where the last line ends, without its line end.
        before: number of lines before these, for the number of a wrong one.

    Raises:
        DumpError: a line is not one of a hex dump.
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
    last = ends.copy()  # end of the line, without a CR and one space
    for optional in b"\r ":
        last -= (chars[np.maximum(last - 1, 0)] == optional) & (last > starts)
    lengths = last - starts - lead
    counts = (lengths + 1) // 3
    if (lengths % 3 != 2).any() or counts.min() < 1 or counts.max() > PER_LINE:
        raise _first_wrong(block, lead, before)
    first = np.cumsum(counts) - counts
    places = np.repeat(starts + lead - 3 * first, counts) + 3 * np.arange(counts.sum())
    # A space follows all but the last pair of a line.
    inner = np.delete(places, first + counts - 1) + 2
    pairs = np.full((len(places), 3), ord(" "), dtype=np.uint8)
    pairs[:, 0], pairs[:, 1] = chars[places], chars[places + 1]
    spelled = _bytes(pairs, len(places), unmapped)
    addresses = _addresses(chars[starts[:, None] + np.arange(8)]) if lead else None
    spaced = (chars[inner] == ord(" ")).all() and (
        not lead or (chars[starts + 8] == ord(" ")).all()
    )
    if spelled is None or not spaced or (lead and addresses is None):
        raise _first_wrong(block, lead, before)
    return _Part(len(block), counts.astype(np.uint8), False, *spelled, addresses)


def _first_wrong(block: bytes, lead: int, before: int) -> DumpError:
    """The error of the first invalid line of a block."""
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
