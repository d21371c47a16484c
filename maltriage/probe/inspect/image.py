"""A file as the inspectors see it: its bytes, its headers, and what was worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maltriage.sample.findings import Architecture
from maltriage.sample.pe import Headers, Section, read_headers

BY_MACHINE: dict[int, Architecture] = {0x14C: "x86", 0x8664: "x64", 0xAA64: "arm64"}
BY_BITS: dict[int, Architecture] = {32: "x86", 64: "x64"}


@dataclass(frozen=True)
class Thing:
    """Bytes [start, end) that belong together: a function, a string, a resource, a field."""

    start: int
    end: int
    name: str = ""

    def cut_by(self, edge: int) -> bool:
        """Whether `edge` lies inside, on neither end."""
        return self.start < edge < self.end


class Image:
    """The bytes of a sample and its headers.

    Args:
        data: the whole file (of a PNG: its pixels).
        parse: whether to look for headers; what looks like some in a hex dump is none.
    """

    def __init__(self, data: bytes, parse: bool = True) -> None:
        self.data = data
        self.headers: Headers | None = read_headers(data) if parse else None

    @cached_property
    def pe(self) -> Any:
        """The headers by pefile, which knows where each structure lies; None if it gives up."""
        if self.headers is None:
            return None
        if self.headers.parser == "pefile":
            return self.headers.binary
        import pefile

        try:
            return pefile.PE(data=self.data, fast_load=True)
        except Exception:  # hostile headers make pefile raise more than its own error
            return None

    @property
    def architecture(self) -> tuple[Architecture, bool] | None:
        """That of the code, and whether it is a guess; None where it is none that is known."""
        if self.headers is None:
            return None
        if self.headers.machine == 0:  # disarmed
            return BY_BITS[self.headers.bits], True
        known = BY_MACHINE.get(self.headers.machine)
        return None if known is None else (known, False)

    @property
    def base(self) -> int:
        return self.headers.image_base if self.headers else 0

    @property
    def pointer(self) -> int:
        """Bytes of an address."""
        return 8 if self.headers and self.headers.bits == 64 else 4

    @cached_property
    def addresses(self) -> range:
        """The addresses that the image has in memory; none without sections."""
        if self.headers is None or not self.headers.sections:
            return range(0)
        size = max(s.rva + max(s.virtual_size, s.size) for s in self.headers.sections)
        return range(self.base, self.base + size)

    def section_at(self, offset: int) -> Section | None:
        """The first section whose bytes in the file hold `offset`."""
        for section in self.headers.sections if self.headers else ():
            if section.start <= offset < section.start + section.size:
                return section
        return None

    def rva(self, offset: int) -> int | None:
        section = self.section_at(offset)
        if section is not None:
            return section.rva + offset - section.start
        return offset if self.headers and offset < self.headers.header_size else None

    def offset(self, rva: int) -> int | None:
        """File offset of an RVA, None where it is in no byte of the file."""
        found = self.headers.offset_of(rva) if self.headers else None
        return found if found is not None and 0 <= found < len(self.data) else None

    def directory(self, name: str) -> tuple[int, int] | None:
        """File range of a data directory, cut at the end of the file."""
        rva, size = self.headers.directories.get(name, (0, 0)) if self.headers else (0, 0)
        start = self.offset(rva) if rva else None
        return None if start is None else (start, min(start + size, len(self.data)))


class Budget:
    """Bytes of a sample that may still be shown: excerpts of a file, 4 KiB in all."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> bool:
        """Whether `count` bytes more may be shown; if so they are counted."""
        if count > self.left:
            return False
        self.left -= count
        return True
