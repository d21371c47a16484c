"""Instructions as patterns, without the bytes that a linker or a loader changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from maltriage.probe.inspect.code import MAX_LEAD, engine
from maltriage.probe.inspect.dotnet import Assembly
from maltriage.probe.inspect.functions import Functions
from maltriage.probe.inspect.image import Image
from maltriage.sample.findings import Architecture

FIXED = 20
"""Fixed bytes that make a run of instructions long enough for a pattern."""
LONGEST = 64
"""Most bytes of a run of instructions."""
_ADDRESS = 4
"""Least bytes of an operand that may be an address, or reach another function."""
_ENDS = frozenset(("ret", "retf", "jmp", "int3", "nop", "b", "br", "udf", "throw"))
"""After these a different build of the same source may have other code."""
_TOKEN_ROW = 3
"""Bytes of a .NET token that hold a row, which any change of the source moves; the fourth holds
the table."""


@dataclass(frozen=True)
class Run:
    """Instructions [start, start + len(mask)); `text` is a line for each."""

    start: int
    mask: bytes
    text: tuple[str, ...]


_Step = tuple[int, bytes, str, bool]
"""An instruction: its offset, mask, text, and whether a run ends with it."""


def runs(
    image: Image, functions: Functions, architecture: Architecture, start: int, end: int, delta: int
) -> Iterator[Run]:
    """Native code of [start, end) in runs, which begin anew at each function: so a function that
    two files share is cut alike in both.

    Args:
        functions: of the section that the range is in.
        delta: RVA less file offset of the section.
    """
    known, begin = functions.synchronised(start), start
    if known is not None and start - known[0] <= MAX_LEAD:
        begin = known[0]
    end = min(end, functions.end)
    if begin >= end:
        return
    decoder = _Decoder(image, architecture, delta)
    for first, last in pairwise([begin, *functions.between(begin + 1, end), end]):
        steps = (step for step in decoder.steps(first, last) if step is None or step[0] >= start)
        yield from _joined(steps)


def il_runs(assembly: Assembly, start: int, end: int) -> Iterator[Run]:
    """IL of [start, end) in runs; the table of a token is fixed, its row is not."""
    around = assembly.body_at(start)
    for body in [*([around] if around else []), *assembly.bodies_in(start + 1, end)]:
        steps: list[_Step | None] = []
        for at, raw, mnemonic, operands in assembly.decode(body):
            if mnemonic == ".byte" or at >= end:
                break
            if at < start:
                continue
            row = _TOKEN_ROW if assembly.names_token(raw, mnemonic) else 0
            head = len(raw) - row - (1 if row else 0)
            mask = b"\xff" * head + bytes(row) + b"\xff" * (len(raw) - head - row)
            steps.append((at, mask, f"{mnemonic} {operands}".rstrip(), mnemonic in _ENDS))
        yield from _joined(iter(steps))


def _joined(steps: Iterator[_Step | None]) -> Iterator[Run]:
    """Runs of consecutive instructions; None separates them."""
    start, mask, text = 0, b"", list[str]()
    for step in steps:
        if step is not None and (not mask or step[0] == start + len(mask)):
            start = start if mask else step[0]
            mask += step[1]
            text.append(step[2])
            full = len(mask) - mask.count(0) >= FIXED
            if not full and not step[3] and len(mask) < LONGEST:
                continue
        if mask:
            yield Run(start, mask[:LONGEST], tuple(text))
        start, mask, text = 0, b"", []
    if mask:
        yield Run(start, mask[:LONGEST], tuple(text))


class _Decoder:
    """Decodes instructions, and which bytes of their operands are fixed."""

    def __init__(self, image: Image, architecture: Architecture, delta: int) -> None:
        import capstone

        self._engine = engine(architecture)
        self._engine.detail = True
        self._relative = capstone.CS_GRP_BRANCH_RELATIVE
        self._image, self._architecture, self._delta = image, architecture, delta

    def steps(self, first: int, last: int) -> Iterator[_Step | None]:
        """Instructions of [first, last) of the file; None where one is invalid."""
        base = self._image.base + self._delta
        for item in self._engine.disasm(self._image.data[first:last], base + first):
            if item.id == 0:
                yield None
                continue
            at = item.address - base
            text = f"{item.mnemonic} {item.op_str}".rstrip()
            mask = self._arm(item) if self._architecture == "arm64" else self._intel(item)
            yield at, mask, text, item.mnemonic in _ENDS

    def _intel(self, item: Any) -> bytes:
        mask = bytearray(b"\xff" * item.size)
        relative = item.group(self._relative)
        if item.imm_size >= _ADDRESS:
            raw = item.bytes[item.imm_offset : item.imm_offset + item.imm_size]
            if relative or self._inside(raw):
                mask[item.imm_offset : item.imm_offset + item.imm_size] = bytes(item.imm_size)
        if item.disp_size >= _ADDRESS:
            raw = item.bytes[item.disp_offset : item.disp_offset + item.disp_size]
            if "[rip" in item.op_str or self._inside(raw):
                mask[item.disp_offset : item.disp_offset + item.disp_size] = bytes(item.disp_size)
        return bytes(mask[: item.size])

    def _arm(self, item: Any) -> bytes:
        """The mask of an ARM instruction. A branch keeps its opcode; an address by page is two
        instructions, neither of which is wholly fixed."""
        if item.mnemonic in ("adr", "adrp"):
            return bytes(item.size)
        return b"\0\0\0\xff" if item.group(self._relative) else b"\xff" * item.size

    def _inside(self, raw: bytes) -> bool:
        """Whether a number is an address in the image, as relocations change."""
        return int.from_bytes(raw, "little") in self._image.addresses
