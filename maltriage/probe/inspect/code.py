"""Disassembles native code of a range, by capstone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from maltriage.probe.inspect import strings
from maltriage.probe.inspect.functions import Functions
from maltriage.probe.inspect.image import Budget, Image
from maltriage.probe.inspect.tables import Table
from maltriage.probe.operands import LEAST_BASE
from maltriage.sample.findings import Architecture, Instruction, Listing, Synchronised

MAX_INSTRUCTIONS = 24
LONGEST = 15
"""Most bytes of an instruction."""
MAX_LEAD = 4096
"""Bytes read from a function's start to find where the instructions of a range begin."""
MAX_COMMENT = 48
"""Most characters of a string that an operand points to."""

_NUMBER = re.compile(r"0x[0-9a-f]{4,16}")
_RELATIVE = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]")
_INDIRECT_JUMP = b"\xff\x25"
_BRANCHES = frozenset(("call", "jmp", "bl", "b"))


class Disassembler:
    """Decodes ranges of one image; made once a file."""

    def __init__(
        self, image: Image, architecture: Architecture, guessed: bool, imports: Table
    ) -> None:
        self._image = image
        self._architecture = architecture
        self._guessed = guessed
        self._imports = imports.by_rva()
        self._engine = engine(architecture)

    def listing(
        self,
        functions: Functions,
        focus: int,
        end: int,
        delta: int | None,
        budget: Budget,
        *,
        in_step: bool = True,
    ) -> Listing:
        """Instructions from the one that holds `focus` to the end of a range.

        Args:
            functions: of the section that the range is in.
            focus: file offset of the first byte to show.
            end: file offset of the range's end.
            delta: RVA less file offset of the section.
            budget: bytes of the sample that may still be shown.
            in_step: decode from the start of the function, if it is known; otherwise from `focus`.
        """
        around, known = functions.around(focus), functions.synchronised(focus)
        begin: int = focus
        how: Synchronised = "none"
        if in_step and known is not None and focus - known[0] <= MAX_LEAD:
            begin, how = known
        found: list[Instruction] = []
        end = min(end, functions.end)
        limit = min(end + LONGEST, functions.end)  # to complete the last instruction
        done = focus
        for at, size, mnemonic, operands in self._decode(functions, begin, limit, delta or 0):
            if at + size <= focus:
                continue
            if at >= end or len(found) == MAX_INSTRUCTIONS:
                break
            comment = self._comment(at, size, mnemonic, operands, functions, delta or 0)
            if not budget.take(size + len(comment or "")):
                break
            raw = self._image.data[at : at + size].hex()
            rva = None if delta is None else at + delta
            found.append(Instruction(at, rva, raw, mnemonic, operands, comment))
            done = at + size
        name = None
        if around is not None:
            place = self._image.base + around.start + (delta or 0)
            name = around.name or f"sub_{place:x}"
        return Listing(
            self._architecture,
            self._guessed,
            how,
            name,
            None if around is None else around.start,
            found,
            max(0, end - done),
        )

    def _decode(
        self, functions: Functions, begin: int, end: int, delta: int
    ) -> Iterator[tuple[int, int, str, str]]:
        """(offset, size, mnemonic, operands) from `begin` on, anew at each start of a function."""
        edges = [begin, *functions.between(begin + 1, end), max(begin, end)]
        for first, last in pairwise(edges):
            base = self._image.base + delta
            code = self._image.data[first:last]
            for address, size, mnemonic, operands in self._engine.disasm_lite(code, base + first):
                yield address - base, size, mnemonic, operands

    def _comment(
        self, at: int, size: int, mnemonic: str, operands: str, functions: Functions, delta: int
    ) -> str | None:
        """The name or text that the operands point to, if any."""
        if mnemonic in (
            ".byte",
            "adrp",
        ):  # `adrp` gives a page, of which the next one takes a place
            return None
        image = self._image
        for rva in self._targets(at + size + delta, mnemonic, operands):
            if rva in self._imports:
                return self._called(rva)
            offset = image.offset(rva)
            if offset is None:
                continue
            if mnemonic in _BRANCHES and not operands.endswith("]"):
                # A linker's stub that jumps through the import table.
                slot = self._stub(offset, rva)
                return self._called(slot) if slot in self._imports else functions.names.get(offset)
            text = strings.at(image.data, offset, MAX_COMMENT)
            if text is not None:
                return f'"{text}"'
        return None

    def _called(self, rva: int | None) -> str:
        entry = self._imports[rva or 0]
        return f"{entry.dll}!{entry.name}"

    def _targets(self, after: int, mnemonic: str, operands: str) -> Iterator[int]:
        """RVAs in the operands of an instruction; `after` is the RVA of the next one.

        A number is an address where none that is not could be as large, or where code goes on.
        """
        relative = _RELATIVE.search(operands)
        if relative is not None:
            distance = int(relative.group(2), 0)
            yield after + (distance if relative.group(1) == "+" else -distance)
            return
        if self._image.base < LEAST_BASE and mnemonic not in _BRANCHES:
            return
        for number in _NUMBER.findall(operands):
            yield int(number, 16) - self._image.base

    def _stub(self, offset: int, rva: int) -> int | None:
        """RVA of the slot of an indirect jump at `offset`."""
        raw = self._image.data[offset : offset + 6]
        if len(raw) < 6 or raw[:2] != _INDIRECT_JUMP:
            return None
        value = int.from_bytes(raw[2:], "little", signed=self._architecture == "x64")
        return rva + 6 + value if self._architecture == "x64" else value - self._image.base


def shown(listing: Listing) -> int:
    """Bytes of the sample that a listing shows."""
    return sum(len(i.hex) // 2 + len(i.comment or "") for i in listing.instructions)


def engine(architecture: Architecture) -> Any:
    """Capstone for an architecture; bytes that do not decode are `.byte`."""
    import capstone

    mode = {
        "x86": (capstone.CS_ARCH_X86, capstone.CS_MODE_32),
        "x64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
    }[architecture]
    found = capstone.Cs(*mode)
    found.skipdata = True
    return found
