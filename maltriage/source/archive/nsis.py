"""Reads what an installer made with NSIS carries: the files of its data block, with their names.

The format is that of NSIS 2 and 3 (`Source/exehead/fileform.h` there). Of its script only the
instructions that unpack files are read, for the names.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from maltriage.source.archive.entries import PIECE, Entry, Names, Opening, damaged

FIRST = struct.Struct("<I4s12sII")
"""Flags, the signature in two, bytes of the header unpacked, and of all from here on."""
SIGNATURE = b"\xef\xbe\xad\xdeNullsoftInst"
MAX_HEADER = 1 << 24
MAX_DICTIONARY = 1 << 27
"""Most memory in bytes of an LZMA decoder; NSIS takes 8 MiB unless it is told otherwise."""
_NO_CHECKSUM = 4
"""Of the flags; else the last four bytes are one."""
_PACKED = 1 << 31
"""Of a length before bytes that are packed."""
_PROPERTIES, _HEAD = 5, 8
"""Bytes of LZMA's own header; bytes by which the packer is told."""
_INPUT, _DEFLATED = 64 * 1024, 16 * 1024
"""Bytes read at once of what LZMA has packed, and of what is deflated, a thousand times as many at
most."""
_UNPACK = 20
"""The instruction that unpacks a file: its third number is the name, its fourth the place."""
_INSTRUCTION = struct.Struct("<7i")
_SCRIPT, _STRINGS = 2, 3
"""Numbers of blocks of the header."""
_CODES = frozenset((1, 2, 3, 4))
_BYTE_CODES = _CODES | {0xFC, 0xFD, 0xFE, 0xFF}
_PARKS_CODES = frozenset(range(0xE000, 0xE004))
"""Before the number of a variable in a name: of NSIS 3, of NSIS 2 as well, of Unicode NSIS 2."""
_FOLDERS = {21: "INSTDIR", 22: "OUTDIR", 23: "EXEDIR", 25: "TEMP", 26: "PLUGINSDIR"}
"""Variables that names begin with, by number; without the `$`, which a shell would read."""
_MAX_NAME = 1024


def entries(opening: Opening) -> Iterator[Entry]:
    """The files that an installer carries, in the order of its data.

    Raises:
        LimitError: a cap was hit.
        Exception: it is damaged.
    """
    budget = opening.budget
    budget.counting = opening.paid == 0
    blocks = _blocks(opening.file)
    first, header = next(blocks), b""
    while piece := first.read(PIECE):
        budget.spend(len(piece))
        header += piece
        if len(header) > MAX_HEADER:
            raise ValueError("a header without end")
    named, names = _Script(header), Names()
    for number, block in enumerate(blocks):
        name = names(named.name_of(block.at) or f"data@{block.at:#x}")
        if number >= opening.start:
            opening.begin(number)
            yield _entry(opening, number, name, block)
        while block.solid and (piece := block.read(PIECE)):  # the next one lies behind it
            budget.spend(len(piece))


def _entry(opening: Opening, number: int, name: str, block: _Block) -> Entry:
    if not opening.select(name):
        return Entry(number, name)
    try:
        return opening.read(number, name, block.read)
    except (ValueError, EOFError, zlib.error, lzma.LZMAError) as error:
        if block.solid:
            raise
        return Entry(number, name, error=damaged(error))


Read = Callable[[int], bytes]
"""Gives at most so many more bytes; none at the end."""


@dataclass(frozen=True)
class _Block:
    """A file, or the header. `at`: its place in the data, by which the script knows it."""

    at: int
    read: Read
    solid: bool


def _blocks(file: BinaryIO) -> Iterator[_Block]:
    """The header, and then the files, each to be read before the next one is asked for."""
    begin = file.tell()
    flags, signature, mark, size, whole = FIRST.unpack(file.read(FIRST.size))
    if signature + mark != SIGNATURE:
        raise ValueError("no installer")
    end = file.seek(0, io.SEEK_END)
    if whole - FIRST.size <= end - begin - FIRST.size:
        end = begin + whole - (0 if flags & _NO_CHECKSUM else 4)
    file.seek(begin + FIRST.size)
    head = file.read(4 + _HEAD)
    file.seek(begin + FIRST.size)
    if len(head) < 4 + _HEAD:
        raise EOFError("no header")
    if _lzma_at(head) is None and (
        int.from_bytes(head[:4], "little") == size or head[3] == _PACKED >> 24
    ):
        return _apart(file, end)
    left = _Left(file.read, end - file.tell())
    return _together(_Left(_unpacker(head)(left.read), None))


def _apart(file: BinaryIO, end: int) -> Iterator[_Block]:
    """Blocks that are packed one by one, all by what packed the first."""
    first, unpacker = 0, None
    while (here := file.tell()) + 4 <= end:
        length = int.from_bytes(file.read(4), "little")
        size = length & ~_PACKED
        if here + 4 + size > end:
            raise EOFError("it ends within a file")
        read: Read = _Left(file.read, size).read
        if length & _PACKED:
            if unpacker is None:
                unpacker = _unpacker(file.read(_HEAD))
                file.seek(here + 4)
            read = unpacker(read)
        yield _Block(here - first if first else 0, read, False)
        first = first or here + 4 + size
        file.seek(here + 4 + size)


def _together(whole: _Left) -> Iterator[_Block]:
    """Blocks that are packed as one."""
    at: int | None = None
    while word := whole.read(4):
        while len(word) < 4 and (more := whole.read(4 - len(word))):
            word += more
        size = int.from_bytes(word, "little")
        yield _Block(at or 0, _Left(whole.read, size).read, True)
        at = 0 if at is None else at + 4 + size


class _Left:
    """The next bytes of a source, so many, or all of them (None)."""

    def __init__(self, read: Read, left: int | None) -> None:
        self._read, self._left = read, left

    def read(self, size: int) -> bytes:
        if self._left is None:
            return self._read(size)
        piece = self._read(min(size, self._left))
        if not piece and self._left and size:
            raise EOFError("it ends within a file")
        self._left -= len(piece)
        return piece


def _lzma_at(head: bytes) -> int | None:
    """Where the header of LZMA is: properties, a dictionary of whole pages, and a zero; before it
    may be whether calls were made absolute. None: there is none."""
    for at in (0, 1) if head[:1] <= b"\1" else (0,):
        if head[at : at + 3] == b"\x5d\0\0" and head[at + 5 : at + 6] == b"\0":
            return at
    return None


def _unpacker(head: bytes) -> Callable[[Read], Read]:
    """What unpacks bytes, of which these are the first."""
    if _lzma_at(head) is not None:
        return _of_lzma
    if head[0] == 0x31 and head[1] < 14:  # a block, and the first byte of a number below 900,000
        from maltriage.source.archive.nsis_bzip2 import Blocks, Unpacked

        blocks = Blocks()
        return lambda read: Unpacked(read, blocks).read
    return lambda read: _Inflated(read).read


def _of_lzma(read: Read) -> Read:
    head = read(1 + _PROPERTIES + 1)
    at = _lzma_at(head)
    if at is None:
        raise ValueError("no header of LZMA")
    size = int.from_bytes(head[at + 1 : at + 5], "little")
    if size > MAX_DICTIONARY:
        raise ValueError(f"a dictionary of {size} bytes")
    calls = [{"id": lzma.FILTER_X86}] if at and head[0] else []
    filters = [*calls, {"id": lzma.FILTER_LZMA1, "dict_size": size}]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    return partial(_by_lzma, decoder, _behind(head[at + _PROPERTIES :], read))


def _behind(head: bytes, read: Read) -> Read:
    """A source with bytes of it that were read already."""
    kept = io.BytesIO(head)
    return lambda size: kept.read(size) or read(size)


def _by_lzma(decoder: lzma.LZMADecompressor, read: Read, size: int) -> bytes:
    piece = b""
    while size and not piece and not decoder.eof:
        given = read(_INPUT) if decoder.needs_input else b""
        if decoder.needs_input and not given:
            break
        piece = decoder.decompress(given, size)
    return piece


class _Inflated:
    """Deflated bytes without header and checksum. Before stored bytes is their number, but not
    its complement, without which zlib stops: it is given there."""

    def __init__(self, read: Read) -> None:
        self._read, self._decoder = read, zlib.decompressobj(-zlib.MAX_WBITS)
        self._before, self._last = self._decoder.copy(), b""
        self._ready = io.BytesIO()

    def read(self, size: int) -> bytes:
        while not (piece := self._ready.read(size)) and size and not self._decoder.eof:
            given = self._read(_DEFLATED)
            if not given:
                raise EOFError("it ends within a file")
            self._ready = io.BytesIO(self._more(given))
        return piece

    def _more(self, given: bytes) -> bytes:
        kept = self._decoder.copy()
        try:
            found = self._decoder.decompress(given)
        except zlib.error as error:
            if "stored block" not in str(error):
                raise
            known = len(self._before.copy().decompress(self._last))
            return self._stored(self._last + given)[known:]
        self._before, self._last = kept, given
        return found

    def _stored(self, given: bytes) -> bytes:
        """What the last two pieces give, whose end zlib does not take."""
        low, high = 0, len(given)  # it takes the first `low` bytes, and not the first `high`
        while high - low > 1:
            middle = (low + high) // 2
            try:
                self._before.copy().decompress(given[:middle])
                low = middle
            except zlib.error:
                high = middle
        start = high - 4
        if start < 0:
            raise ValueError("stored bytes that zlib does not take")
        self._decoder = self._before.copy()
        length = given[start : start + 2]
        found = self._decoder.decompress(given[:start] + length + bytes(b ^ 0xFF for b in length))
        self._before, self._last = self._decoder.copy(), b""
        return found + self._more(given[start + 2 :])


class _Script:
    """The names of files by their places in the data; none where the header is not as known."""

    def __init__(self, header: bytes) -> None:
        self._texts, self._at = b"", dict[int, int]()
        for block in (struct.Struct("<II"), struct.Struct("<QI")):  # of 32 bits, and of 64
            if len(header) < 4 + 8 * block.size:
                return
            starts = [block.unpack_from(header, 4 + block.size * n) for n in range(8)]
            (at, count), (strings, _) = starts[_SCRIPT], starts[_STRINGS]
            end = at + count * _INSTRUCTION.size
            if 0 < at < strings < len(header) and end <= len(header):
                self._texts = header[strings:]
                for code, _, text, place, *_ in _INSTRUCTION.iter_unpack(header[at:end]):
                    if code == _UNPACK and text > 0:
                        self._at.setdefault(place, text)
                return

    def name_of(self, place: int) -> str:
        """Empty where the script has none."""
        return _text(self._texts, self._at[place]) if place in self._at else ""


def _text(strings: bytes, at: int) -> str:
    """The string at a place, with folders that variables stand for."""
    wide = strings[:2] == b"\0\0"
    raw = strings[at << wide :][: _MAX_NAME << wide]
    units = memoryview(raw[: len(raw) >> wide << wide]).cast("H" if wide else "B")
    text, skip = "", 0
    for number, unit in enumerate(units):
        if skip:
            skip -= 1
            continue
        if not unit:
            break
        value = int.from_bytes(units[number + 1 : number + (2 if wide else 3)].tobytes(), "little")
        if wide and unit in _PARKS_CODES:
            text += _FOLDERS.get(value & 0x7FFF, "")
        elif unit in (_CODES if wide else _BYTE_CODES) and value & 0x8080 == 0x8080:
            text += _FOLDERS.get(value & 0x7F | value >> 1 & 0x3F80, "")
        else:
            text += chr(unit)
            continue
        skip = 1 if wide else 2
    return text.replace("\\", "/").lstrip("/")
