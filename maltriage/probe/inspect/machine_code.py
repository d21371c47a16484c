"""Finds native code in ranges of a file, lists it, and names its library functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec

from maltriage.probe.inspect import code, dotnet, functions, likely
from maltriage.probe.inspect.image import Budget, Image, Thing
from maltriage.probe.inspect.library import Signatures
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.tables import Tables
from maltriage.sample.findings import LibraryFunction, Listing
from maltriage.sample.pe import Section

MAX_NAMED = 64
"""Functions of a range that are looked up among the signatures."""
SHIFTS = 9
"""Bytes from the hottest one on that instructions are read from in turn, until they read as code:
where no start of a function is known one in the middle of an instruction may be the first."""


@dataclass(frozen=True)
class Read:
    """A range read as code: a listing, or why there is none (`note`; None for empty ranges)."""

    listing: Listing | None = None
    is_text: bool = False
    note: str | None = None


class Native:
    """The native code of one image; results that several ranges need are cached.

    Args:
        budget: bytes of the sample that may still be shown.
        signatures: of library functions, which are named; None: they are not.
    """

    def __init__(
        self, image: Image, tables: Tables, budget: Budget, signatures: Signatures | None
    ) -> None:
        self._image = image
        self._tables = tables
        self._budget = budget
        self._signatures = signatures
        self._functions: dict[tuple[int, int], functions.Functions] = {}

    def section(self, place: Range) -> Section | None:
        """The section of a range, if its bytes may run as native code."""
        if dotnet.managed(self._image):
            return None
        section = self._image.section_at(place.start)
        return section if section is not None and section.executable else None

    def function_at(self, section: Section, offset: int) -> Thing | None:
        """The function around a byte, if one is known."""
        return self._functions_of(section, offset).around(offset)

    def read(
        self, section: Section, place: Range, bits: float, tables_at: list[tuple[int, int]]
    ) -> Read:
        """Instructions of a range, if its hottest bytes may run; none in its import address slots.

        Args:
            section: that of the range, see `section`.
            bits: entropy of the range, bits per byte.
            tables_at: file ranges of tables in it, in file order.
        """
        if self._image.architecture is None:
            return Read(note="code for a processor that is not decoded here")
        data, focus = self._image.data, place.focus
        for low, high in tables_at:
            focus = high if low <= focus < high else focus
        where = self._functions_of(section, focus)
        sure = where.listed(focus)
        if not sure and likely.is_text(data, focus, min(place.end, focus + likely.WINDOW)):
            return Read(is_text=True)
        start = where.synchronised(focus)
        behind = None if start is None else focus - start[0]
        if not sure and likely.packed(bits, place.end - place.start, behind):
            return Read(note=f"entropy {bits:.2f}, more than code has: compressed or encrypted")
        texts = likely.texts(data, focus, place.end) if not sure else []
        end = min((low for low, _ in texts if low > focus), default=place.end)
        listing = self._compiled(where, focus, end, section.rva - section.start)
        if listing is None:
            return Read(note="does not read as compiled code: data, or encrypted code")
        if not listing.instructions:
            return Read()
        self._budget.take(code.shown(listing))
        return Read(msgspec.structs.replace(listing, left=listing.left + place.end - end))

    def library(self, section: Section, place: Range) -> list[LibraryFunction]:
        """The functions of libraries that a range of code overlaps."""
        if self._signatures is None:
            return []
        where = self._functions_of(section, place.focus)
        starts = where.between(place.start, place.end)[:MAX_NAMED]
        spots = [place.start, *(start for start in starts if start != place.start)]
        bodies = [body for spot in spots if (body := where.around(spot)) is not None]
        found = [self._signatures.name(self._image.data, body.start, body.end) for body in bodies]
        return [item for item in found if item is not None]

    def _compiled(
        self, where: functions.Functions, focus: int, end: int, delta: int
    ) -> Listing | None:
        """Instructions that read as compiled code: from the start of the function that is known,
        or else from one of the first bytes on; None: there are none."""
        for begin in (None, *range(focus, min(focus + SHIFTS, end))):
            left = Budget(self._budget.left)
            at = focus if begin is None else begin
            found = self._disassembler.listing(where, at, end, delta, left, in_step=begin is None)
            mnemonics = [item.mnemonic for item in found.instructions]
            first = likely.FIRST if begin is None else code.MAX_INSTRUCTIONS
            if where.listed(focus) or not likely.odd(mnemonics, first):
                return found
            if begin is None and likely.undecoded(mnemonics):
                return None  # bytes further on may decode, but are of the same table
        return None

    def _functions_of(self, section: Section, near: int) -> functions.Functions:
        known = self._image.architecture
        # A section that is not searched whole is searched in few places.
        step = functions.MAX_SCANNED // 2
        near = near // step * step + step // 2 if section.size > functions.MAX_SCANNED else 0
        key = section.start, near
        if known is None:
            return functions.Functions([], {}, {}, {}, section.start + section.size)
        if key not in self._functions:
            found = functions.find(self._image, section, self._tables.exports, known[0], near)
            self._functions[key] = found
        return self._functions[key]

    @cached_property
    def _disassembler(self) -> code.Disassembler:
        known = self._image.architecture
        assert known is not None
        return code.Disassembler(self._image, *known, self._tables.imports)
