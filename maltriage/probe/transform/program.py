"""Headers of a PE file as bytes to change, by struct alone.

A parser that rebuilds files changes more than requested; here every byte stays in place except
those that a transformation names. Offsets are those of the Microsoft PE format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from maltriage.sample.byteplot import pe_offset
from maltriage.sample.pe import PE32_PLUS, loader_start

MAX_ROWS = 96
"""Most sections that the Windows loader takes; a file with more is left alone."""
ROW_BYTES = 40
CERTIFICATE, DEBUG = 4, 6
"""Numbers of data directories."""


class NotApplicableError(Exception):
    """A transformation does not apply to this file; the text says why, with no text of the file."""


@dataclass(frozen=True)
class Row:
    """A row of the section table at file offset `at`: its raw bytes are [start, end)."""

    at: int
    virtual_size: int
    rva: int
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


class Program:
    """The headers of a PE file, and its bytes to change in place.

    Args:
        data: the whole file.

    Raises:
        NotApplicableError: there are no headers, or they are incomplete.
    """

    def __init__(self, data: bytes) -> None:
        pe = pe_offset(data)
        if pe is None or pe + 24 + 2 > len(data):
            raise NotApplicableError("no PE headers")
        self.data = bytearray(data)
        self.pe = pe
        self.count: int = struct.unpack_from("<H", data, pe + 6)[0]
        optional: int = struct.unpack_from("<H", data, pe + 20)[0]
        self.optional = pe + 24
        self.table = self.optional + optional
        plus = self.word(self.optional) == PE32_PLUS
        self._directories = self.optional + (112 if plus else 96)
        if not 0 < self.count <= MAX_ROWS or self._directories > self.table:
            raise NotApplicableError("no section table")
        if self.table + ROW_BYTES * self.count > len(data):
            raise NotApplicableError("no section table")
        self.rows = tuple(self._row(self.table + ROW_BYTES * i) for i in range(self.count))
        self.placed = tuple(sorted((r for r in self.rows if r.size), key=lambda row: row.start))
        """Sections that have bytes in the file, in file order."""

    def _row(self, at: int) -> Row:
        virtual_size, rva, size, pointer = struct.unpack_from("<IIII", self.data, at + 8)
        return Row(at, virtual_size, rva, loader_start(pointer, self.file_alignment), size)

    def word(self, at: int) -> int:
        return int(struct.unpack_from("<H", self.data, at)[0])

    def long(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.data, at)[0])

    def put_word(self, at: int, value: int) -> None:
        struct.pack_into("<H", self.data, at, value)

    def put_long(self, at: int, value: int) -> None:
        struct.pack_into("<I", self.data, at, value)

    def clear(self, start: int, end: int) -> None:
        """Zero the bytes [start, end), which lie in the file."""
        self.data[start:end] = bytes(end - start)

    @property
    def headers_end(self) -> int:
        """End of the section table."""
        return self.table + ROW_BYTES * self.count

    @property
    def timestamp_at(self) -> int:
        return self.pe + 8

    @property
    def symbols_at(self) -> int:
        """Place of the offset of the COFF symbol table; their number follows it."""
        return self.pe + 12

    @property
    def section_alignment(self) -> int:
        return self.long(self.optional + 32)

    @property
    def file_alignment_at(self) -> int:
        return self.optional + 36

    @property
    def file_alignment(self) -> int:
        return self.long(self.file_alignment_at)

    @property
    def image_size_at(self) -> int:
        return self.optional + 56

    @property
    def headers_size_at(self) -> int:
        return self.optional + 60

    @property
    def checksum_at(self) -> int:
        return self.optional + 64

    def directory_at(self, number: int) -> int | None:
        """Place of a data directory's row, None where the header has no such row."""
        listed = self.long(self._directories - 4)
        at = self._directories + 8 * number
        return at if number < listed and at + 8 <= self.table else None

    def directory(self, number: int) -> tuple[int, int]:
        """Address and size of a data directory; (0, 0) where there is none."""
        at = self.directory_at(number)
        return (0, 0) if at is None else (self.long(at), self.long(at + 4))

    def offset_of(self, rva: int) -> int | None:
        """File offset of an RVA in a section, None where it is not in the file."""
        for row in self.placed:
            if row.rva <= rva < row.rva + row.size and row.start + rva - row.rva < len(self.data):
                return row.start + rva - row.rva
        return None

    def body_end(self) -> int:
        """End of the last section's bytes.

        Raises:
            NotApplicableError: no section has bytes, or the file ends before one does, so that
                appended bytes would become a part of it.
        """
        if not self.placed:
            raise NotApplicableError("no section has bytes")
        end = max(row.end for row in self.placed)
        if end > len(self.data):
            raise NotApplicableError("the file ends before its sections do")
        return end

    def certificate(self) -> tuple[int, int] | None:
        """Bytes [start, end) of the certificate table, None where the file has none."""
        at, size = self.directory(CERTIFICATE)
        if not size or not at or at + size > len(self.data) or at < self.body_end():
            return None
        return at, at + size
