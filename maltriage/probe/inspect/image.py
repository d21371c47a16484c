"""A file as the inspectors use it: its bytes, its headers, and cached results."""

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
        """Whether `edge` lies strictly inside."""
        return self.start < edge < self.end


class Image:
    """The bytes of a sample and its headers.

    Args:
        data: the whole file (of a PNG: its pixels).
        parse: whether to look for headers; a hex dump has none, even if it seems to.
    """

    def __init__(self, data: bytes, parse: bool = True) -> None:
        self.data = data
        self.headers: Headers | None = read_headers(data) if parse else None

    @cached_property
    def pe(self) -> Any:
        """The headers by pefile, which gives the place of each structure; None if it fails."""
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
        """The code's architecture, and whether it is a guess; None if unknown."""
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
        """The first section whose bytes in the file include `offset`."""
        for section in self.headers.sections if self.headers else ():
            if section.start <= offset < section.start + section.size:
                return section
        return None

    def offset(self, rva: int) -> int | None:
        """File offset of an RVA, None where it is not in the file."""
        found = self.headers.offset_of(rva) if self.headers else None
        return found if found is not None and 0 <= found < len(self.data) else None

    def directory(self, name: str) -> tuple[int, int] | None:
        """File range of a data directory, cut at the end of the file."""
        rva, size = self.headers.directories.get(name, (0, 0)) if self.headers else (0, 0)
        start = self.offset(rva) if rva else None
        return None if start is None else (start, min(start + size, len(self.data)))


class Budget:
    """Bytes of a sample that may still be shown, of 4 KiB in all."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> bool:
        """Count `count` more bytes as shown, and return True, if so many are left."""
        if count > self.left:
            return False
        self.left -= count
        return True
