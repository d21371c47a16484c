"""Finds where functions start in a stripped file, with the evidence for each."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.probe.inspect import strings
from maltriage.probe.inspect.image import Image, Thing
from maltriage.probe.inspect.tables import Table
from maltriage.sample.byteplot import trimmed_length
from maltriage.sample.findings import Architecture, Synchronised
from maltriage.sample.pe import Section

MAX_SCANNED = 4 * 1024 * 1024
"""Bytes of a section, around a range, that are searched for calls and prologues."""
MAX_FUNCTIONS = 100_000
MAX_LENGTH = 64 * 1024
"""Most bytes of a function whose end is unknown."""
MAX_NAME = 128
_CALL = 0xE8
_CHAININFO = 4
"""Flag of unwind information: it goes on with that of another function."""
_AFTER = rb"(?:(?<=[\xc3\xcc\x90])|(?<=\xc2..))"
"""After a return or the filler between functions: `main` may set up its frame late."""
_PROLOGUES: dict[Architecture, re.Pattern[bytes]] = {
    # push ebp; mov ebp, esp in both encodings, with the two bytes that hot patching adds.
    "x86": re.compile(_AFTER + rb"(?:\x8b\xff)?\x55(?:\x8b\xec|\x89\xe5)", re.DOTALL),
    # push rbp; mov rbp, rsp.
    "x64": re.compile(_AFTER + rb"\x55\x48(?:\x89\xe5|\x8b\xec)", re.DOTALL),
    # stp x29, x30, [sp, #-n]!
    "arm64": re.compile(rb"\xfd\x7b[\x80-\xbf]\xa9"),
}


@dataclass(frozen=True)
class Functions:
    """Starts of functions in one section, as file offsets in ascending order."""

    starts: list[int]
    known: dict[int, Synchronised]
    """The best evidence for each start."""
    ends: dict[int, int]
    """Ends of the functions in the exception directory."""
    names: dict[int, str]
    end: int
    """End of the section, without its trailing zeros."""

    def around(self, offset: int) -> Thing | None:
        """The function that holds a byte. One of unknown end ends where the next one starts, or
        after `MAX_LENGTH` bytes: bytes behind that more likely belong to another.
        """
        index = bisect.bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        start = self.starts[index]
        after = self.starts[index + 1] if index + 1 < len(self.starts) else self.end
        end = min(self.ends.get(start, start + MAX_LENGTH), after)
        return Thing(start, end, self.names.get(start, "")) if offset < end else None

    def synchronised(self, offset: int) -> tuple[int, Synchronised] | None:
        """Start of decoding to reach `offset`, and the evidence for it: the last start before
        it, or that function's end if known and before it."""
        index = bisect.bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        start = self.starts[index]
        end = self.ends.get(start, offset + 1)
        return end if end <= offset else start, self.known[start]

    def listed(self, offset: int) -> bool:
        """Whether a byte lies in a function whose two ends the exception directory gives."""
        index = bisect.bisect_right(self.starts, offset) - 1
        return index >= 0 and offset < self.ends.get(self.starts[index], 0)

    def between(self, start: int, end: int) -> list[int]:
        """Starts in [start, end)."""
        low = bisect.bisect_left(self.starts, start)
        return self.starts[low : bisect.bisect_left(self.starts, end)]


def find(
    image: Image, section: Section, exports: Table, architecture: Architecture, near: int
) -> Functions:
    """The functions of a section.

    Args:
        near: offset of the inspected range; a large section is searched only around it.
    """
    data = image.data
    start, end = section.start, min(section.start + section.size, len(data))
    end = start + trimmed_length(np.frombuffer(data, np.uint8, max(0, end - start), start))
    known: dict[int, Synchronised] = {}
    ends: dict[int, int] = {}
    names: dict[int, str] = {}

    def add(offset: int | None, how: Synchronised) -> None:
        if offset is not None and start <= offset < end and len(known) < MAX_FUNCTIONS:
            known.setdefault(offset, how)

    for entry in exports.entries:
        at = image.offset(entry.rva) if entry.rva else None
        add(at, "export")
        if at in known:
            names.setdefault(at, strings.shortened(entry.name, MAX_NAME))
    for begin, finish in _listed(image, architecture, section, end):
        add(begin, "exception")
        if finish is not None and begin in known:
            ends.setdefault(begin, finish)
    if image.headers and image.headers.entry_rva:
        at = image.offset(image.headers.entry_rva)
        add(at, "entry")
        if at in known:
            names.setdefault(at, "entry point")
    low = max(start, min(near - MAX_SCANNED // 2, end - MAX_SCANNED))
    high = min(end, low + MAX_SCANNED)
    for target in _called(data, low, high, start, end, architecture):
        add(target, "call")
    for match in _PROLOGUES[architecture].finditer(data, low, high):
        if architecture != "arm64" or (match.start() - start) % 4 == 0:
            add(match.start(), "prologue")
    # A call into the middle of a listed function is chance.
    inside = _inside(known, ends)
    starts = sorted(offset for offset in known if offset not in inside)
    return Functions(starts, known, ends, names, end)


def _inside(known: dict[int, Synchronised], ends: dict[int, int]) -> set[int]:
    """Guessed starts inside a function that the exception directory lists."""
    if not ends:
        return set()
    begins = sorted(ends)
    found = set()
    for offset, how in known.items():
        if how in ("call", "prologue"):
            index = bisect.bisect_right(begins, offset) - 1
            if index >= 0 and begins[index] < offset < ends[begins[index]]:
                found.add(offset)
    return found


def _listed(
    image: Image, architecture: Architecture, section: Section, end: int
) -> list[tuple[int, int | None]]:
    """File offsets of the functions that the exception directory lists in a section, and of
    their ends if given."""
    place = image.directory("exception")
    row = {"x64": 3, "arm64": 2}.get(architecture)
    if place is None or row is None:
        return []
    count = min((place[1] - place[0]) // (4 * row), MAX_FUNCTIONS)
    table = np.frombuffer(image.data, "<u4", count * row, place[0]).reshape(count, row)
    begin = table[:, 0].astype(np.int64) - section.rva + section.start
    if architecture == "x64":
        finish = table[:, 1].astype(np.int64) - section.rva + section.start
        fits = (begin >= section.start) & (begin < finish) & (finish <= end)
        chained = _chained(image, table[:, 2].astype(np.int64))
        return _whole(begin[fits], finish[fits], chained[fits])
    # If the two low bits of the second word are set it holds the length, in words.
    packed = table[:, 1]
    length = np.where(packed & 3, (packed >> 2) & 0x7FF, 0).astype(np.int64) * 4
    fits = (begin >= section.start) & (begin < end)
    return [
        (first, first + size if size else None)
        for first, size in zip(begin[fits].tolist(), length[fits].tolist(), strict=True)
    ]


def _chained(image: Image, unwind: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which rows are the rest of another function, by the RVA of their unwind information."""
    found = np.zeros(len(unwind), dtype=np.bool_)
    raw = np.frombuffer(image.data, np.uint8)
    for section in image.headers.sections if image.headers else ():
        at = unwind - section.rva
        there = (at >= 0) & (at < section.mapped)
        there &= at + section.start < len(raw)
        found[there] = (raw[at[there] + section.start] >> 3 & _CHAININFO) > 0
    return found


def _whole(
    begin: npt.NDArray[np.int64], finish: npt.NDArray[np.int64], chained: npt.NDArray[np.bool_]
) -> list[tuple[int, int | None]]:
    """Functions with what is chained to them and follows at once; what lies elsewhere is left out,
    as it has no start of its own."""
    found: list[tuple[int, int | None]] = []
    for i in np.argsort(begin, kind="stable").tolist():
        if not chained[i]:
            found.append((int(begin[i]), int(finish[i])))
        elif found and found[-1][1] == begin[i]:
            found[-1] = found[-1][0], int(finish[i])
    return found


def _called(
    data: bytes, low: int, high: int, start: int, end: int, architecture: Architecture
) -> list[int]:
    """Targets in [start, end) of the direct calls in [low, high), as file offsets.

    On x86 any byte 0xE8 may begin one. The next four rarely lead into the same section by
    chance: it is a small share of 4 GiB.
    """
    if architecture == "arm64":
        low += (4 - (low - start) % 4) % 4
        words = np.frombuffer(data, "<u4", max(0, high - low) // 4, low)
        at = np.flatnonzero(words >> 26 == 0b100101)
        distance = (words[at] & 0x3FF_FFFF).astype(np.int64)
        distance -= (distance >> 25) << 26
        targets = low + 4 * (at + distance)
    else:
        raw = np.frombuffer(data, np.uint8, max(0, high - low), low)
        at = np.flatnonzero(raw[:-4] == _CALL) if len(raw) > 4 else np.zeros(0, np.intp)
        distance = np.zeros(len(at), np.int64)
        for byte in range(4):
            distance |= raw[at + 1 + byte].astype(np.int64) << (8 * byte)
        distance -= (distance >> 31) << 32
        targets = low + at + 5 + distance
    targets = targets[(targets >= start) & (targets < end)]
    return [int(target) for target in np.unique(targets)]
