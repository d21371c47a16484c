"""Headers of a PE file, and bytes by their addresses, to be read and changed."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from maltriage.sample.byteplot import pe_offset

EXPORT, IMPORT, RESOURCE, RELOCATION, DEBUG, BOUND, IAT = 0, 1, 2, 5, 6, 11, 12
"""Numbers of directories."""
MAX_SECTIONS = 96
MAX_NAME = 1 << 12
_STRIPPED = 1
"""Of the characteristics: there are no relocations."""


class Headers:
    """The headers of a PE file, to be read and changed.

    Args:
        raw: from the signature on, `PE`; more may follow.

    Raises:
        ValueError: they are of no known kind.
        struct.error: they end early.
    """

    def __init__(self, raw: bytearray) -> None:
        self.raw = raw
        self.sections, optional = struct.unpack_from("<H12xH", raw, 6)
        (magic,) = struct.unpack_from("<H", raw, 24)
        if magic not in (0x10B, 0x20B):
            raise ValueError("no PE headers")
        self.wide = magic == 0x20B
        self.table = 24 + optional
        self._directories = 136 if self.wide else 120
        if not 1 <= self.sections <= MAX_SECTIONS or optional < (240 if self.wide else 224):
            raise ValueError("headers of no known kind")
        if len(raw) < self.table + 40 * self.sections:
            raise ValueError("headers that end early")

    def field(self, offset: int) -> int:
        """A number of four bytes, by its place behind the signature."""
        (value,) = struct.unpack_from("<I", self.raw, offset)
        return int(value)

    @property
    def base(self) -> int:
        """Where the image is meant to be in memory."""
        kind, place = ("<Q", 48) if self.wide else ("<I", 52)
        (value,) = struct.unpack_from(kind, self.raw, place)
        return int(value)

    @property
    def alignment(self) -> int:
        """Of sections in the file."""
        return self.field(60)

    @property
    def stripped(self) -> bool:
        """Whether there are no relocations."""
        (found,) = struct.unpack_from("<H", self.raw, 22)
        return bool(found & _STRIPPED)

    def strip(self) -> None:
        self.raw[22] |= _STRIPPED
        self.set_directory(RELOCATION, 0, 0)

    def directory(self, number: int) -> tuple[int, int]:
        """Address and size."""
        found = struct.unpack_from("<II", self.raw, self._directories + 8 * number)
        return found[0], found[1]

    def set_directory(self, number: int, address: int, size: int) -> None:
        struct.pack_into("<II", self.raw, self._directories + 8 * number, address, size)

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """Of each section its size in memory and its address, its size in the file and place."""
        for row in range(self.table, self.table + 40 * self.sections, 40):
            yield struct.unpack_from("<4I", self.raw, row + 8)


class Image:
    """Bytes by their address in memory. What lies outside is an error, not less."""

    def __init__(self, raw: bytearray | bytes, base: int) -> None:
        self.raw, self.base = raw, base

    def take(self, address: int, size: int) -> bytes:
        at = self._at(address, size)
        return bytes(self.raw[at : at + size])

    def number(self, address: int, size: int = 4) -> int:
        return int.from_bytes(self.take(address, size), "little")

    def text(self, address: int) -> bytes:
        """With the zero that ends it."""
        at = self._at(address, 1)
        return bytes(self.raw[at : self.raw.index(b"\0", at, at + MAX_NAME) + 1])

    def put(self, address: int, data: bytes) -> None:
        assert isinstance(self.raw, bytearray)
        at = self._at(address, len(data))
        self.raw[at : at + len(data)] = data

    def put_number(self, address: int, value: int, size: int = 4) -> None:
        self.put(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def _at(self, address: int, size: int) -> int:
        at = address - self.base
        if at < 0 or at + size > len(self.raw):
            raise ValueError("an address outside of the image")
        return at


class Lists:
    """Numbers behind the headers, read one after the other. `image`: what they point into."""

    def __init__(self, image: Image, at: int) -> None:
        self.image, self._at = image, at

    def number(self, size: int = 4) -> int:
        self._at += size
        return self.image.number(self._at - size, size)


def headers_of(data: bytes) -> Headers | None:
    """The headers of a program; None: it is none.

    Raises:
        ValueError: they are of no known kind.
        struct.error: they end early.
    """
    at = pe_offset(data)
    return None if at is None else Headers(bytearray(data[at : at + 4096]))


def aligned(value: int, unit: int) -> int:
    """The next multiple of a unit."""
    return -(-value // unit) * unit
