"""Gathers candidates for a rule: byte patterns of hot ranges, with their place and text."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from maltriage.probe.common import MIN_DISTINCT as MIN_DISTINCT_IN_PIECE
from maltriage.probe.common import PIECE, Prevalence, load, pieces, runs_of
from maltriage.probe.inspect import dotnet, functions, likely, strings, tables
from maltriage.probe.inspect.image import Image
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import NOISE, PACKED, PACKED_MIN_BYTES, InspectOptions
from maltriage.probe.rule.code import Run, il_runs, runs
from maltriage.probe.rule.pattern import Pattern, trimmed
from maltriage.sample.layout import entropy
from maltriage.sample.pe import decode_name
from maltriage.source.samples import read_again

MAX_CANDIDATES = 2048
"""Most candidates of a file, shared equally by its ranges."""
MIN_TEXT, MIN_NOISY_TEXT = 6, 12
"""Least characters of a string; the latter in noise-like bytes, where short ones are chance."""
MIN_LETTERS = 4
"""Least different characters of a string, and letters or digits in a row: relocations and numbers
can look like text, but contain no word."""
MAX_TEXT = 96
"""Most characters of a string; a longer one is cut."""
MIN_FIXED, MIN_RUN, MIN_DISTINCT = 12, 4, 6
"""Least fixed bytes of a byte pattern: in all, in a row, different ones."""
MAX_SAME = 0.5
"""Most of the fixed bytes that may be equal, as a share: more is filler."""
WINDOW, MIN_VARIED = 32, 12
"""Bytes of a pattern of unnamed data, and least different ones among them: palettes and tables of
small numbers are in many programs."""
NAMES = 3
"""Names of consecutive imports in a pattern: their order is that of one build's source."""

COMMON = 0.5
"""Share of a pattern's bytes that are in runs that clean programs have, from which it is no
candidate."""
AROUND = ((96, 0.5), (1024, 0.2))
"""Bytes before and after a pattern that are looked up among those of clean programs, and the share
of the pieces there from which it is no candidate. The first says that it lies in a function that is
known; the second that it lies among library code, of a version that is not known itself: linkers
put the functions of a library together."""

Kind = Literal["code", "il", "string", "imports", "resource", "data"]
_HINT = 2
_WORD = re.compile(r"[^\W_]" * MIN_LETTERS)
_LOWER = re.compile(rb"[a-z]{%d}" % strings.MIN_LENGTH)
_LONE = re.compile(r"_{0,2}[A-Za-z]+[0-9]{0,2}")
"""A single word, like the names of functions of Windows and of C runtimes. Of 277 strings in two
files of a family and in none of 1,134 clean programs, 113 were in one of 2,047 other clean
programs, and nearly all of these were such words."""
_ORDINARY = re.compile(
    # In any program of a compiler, or in any program: names of sections and DLLs, the DOS stub,
    # error messages of the C runtimes of Microsoft, mingw and Borland, names that Visual C++ gives
    # to its standard library, keys of version information (one of which is eight digits), lines of
    # manifests, alphabets.
    rb"DOS mode|^\.\w+$|\.(?:dll|drv|exe)$|^[0-9A-F]{8}$"
    rb"|Runtime (?:Library|Error)|runtime error|Microsoft Visual C"
    rb"|@std@@|GCC: \(|mingw|pseudo relocation|VirtualProtect failed"
    rb"|urn:schemas-microsoft-com|<\?xml|</?\w*(?:assembly|dependen|trustInfo|security)"
    rb"|(?:processorArchitecture|publicKeyToken|manifestVersion)=|(?:type|language)=[\x22']"
    rb"|Microsoft\.Windows\.|requestedPrivileges|requestedExecutionLevel|ABCDEFGHIJKLMNOPQRSTUVWXYZ|0123456789"
    rb"|VS_VERSION_INFO|StringFileInfo|VarFileInfo|Translation|FileVersion|ProductVersion"
    rb"|OriginalFilename|InternalName|FileDescription|LegalCopyright|CompanyName|ProductName",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Candidate:
    """A pattern, the file offset of its start, and the index of its range among those given.

    `text` describes it, a line for each instruction; strings of the sample are not sanitized.
    """

    pattern: Pattern
    kind: Kind
    offset: int
    range: int
    text: tuple[str, ...] = ()


def gather(
    path: str,
    ranges: list[Range],
    options: InspectOptions,
    common: Path | None = None,
    lone: bool = False,
) -> list[Candidate]:
    """Patterns of ranges of a file, which is read once.

    Args:
        common: an index of what clean programs have in common; what is in it is no candidate.
        lone: the only file of a rule: leave out unnamed bytes that are packed or encrypted, which
            are likely in no other file.

    Raises:
        SampleError: it cannot be read again, or has other bytes (`changed`).
    """
    contents = read_again(path, options, options.sha256)
    if contents.format == "picture":
        return []
    index = None if common is None else load(common)
    return candidates(contents.data, ranges, parse=contents.dump is None, common=index, lone=lone)


def candidates(
    data: bytes,
    ranges: list[Range],
    *,
    parse: bool,
    common: Prevalence | None = None,
    lone: bool = False,
) -> list[Candidate]:
    """Patterns of ranges, in the order of the ranges; none of headers, which are alike in
    different programs and differ between two builds of one.

    Args:
        parse: whether the bytes may have headers (those of a hex dump have none).
        common, lone: see `gather`.
    """
    finder = _Finder(data, parse, lone)
    known = None if common is None else Known(data, common)
    found: list[Candidate] = []
    seen: set[Pattern] = set()
    for number, item in enumerate(ranges):
        share = (MAX_CANDIDATES - len(found)) // (len(ranges) - number)
        own = list(finder.of(number, item))
        for candidate in own if known is None else known.without(own):
            if share > 0 and candidate.pattern not in seen:
                seen.add(candidate.pattern)
                found.append(candidate)
                share -= 1
    return found


class Known:
    """What an index of clean programs knows of a file.

    A string is known by itself. So is any pattern in a run of known texts and pieces, and one that
    has many known pieces `AROUND` it: by itself it has too few of them.
    """

    def __init__(self, data: bytes, index: Prevalence) -> None:
        self._index = index
        self._at, keys = pieces(data)
        self._known = index.count_pieces(keys) > 0
        self._runs = runs_of(data, index).ranges

    def without(self, found: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that are not in the index."""
        texts = [item.text[0].encode("ascii", "replace") for item in found if item.kind == "string"]
        packages = iter(self._index.count_texts(texts).tolist())
        return [
            item
            for item in found
            if not (item.kind == "string" and next(packages)) and not self._lies_in(item)
        ]

    def _lies_in(self, item: Candidate) -> bool:
        """Whether a pattern lies in what is known."""
        start, end = item.offset, item.offset + len(item.pattern.data)
        first = int(np.searchsorted(self._runs[:, 1], start, "right"))
        last = int(np.searchsorted(self._runs[:, 0], end))
        inside = np.clip(self._runs[first:last], start, end)
        if (inside[:, 1] - inside[:, 0]).sum() >= COMMON * (end - start):
            return True
        return item.kind != "string" and any(
            self._share(start - reach, end + reach) >= least for reach, least in AROUND
        )

    def _share(self, start: int, end: int) -> float:
        """The share of the pieces of a range that are in the index."""
        low, high = np.searchsorted(self._at, (start, end))
        return float(self._known[low:high].mean()) if low < high else 0.0


def telling(pattern: Pattern) -> bool:
    """Whether a byte pattern is more than padding, a counter or a lone opcode."""
    fixed = pattern.fixed
    if len(fixed) < MIN_FIXED or pattern.longest_run < MIN_RUN:
        return False
    if max(map(fixed.count, set(fixed))) > MAX_SAME * len(fixed):
        return False
    return len(set(fixed)) >= MIN_DISTINCT


def dense(fixed: bytes) -> bool:
    """Whether most of some bytes could be in an index of clean programs, whose pieces have bytes
    enough. A table of small numbers, of languages for example, is in the runtime of a compiler,
    and no index can tell: half of its bytes are zero, or few differ."""
    places = range(len(fixed) - PIECE + 1)
    able = sum(len(set(fixed[at : at + PIECE])) >= MIN_DISTINCT_IN_PIECE for at in places)
    return able > len(places) / 2 and fixed.count(0) < len(fixed) / 2


class _Finder:
    """Finds candidates in ranges of one file."""

    def __init__(self, data: bytes, parse: bool, lone: bool) -> None:
        self._data, self._lone = data, lone
        self._image = Image(data, parse)
        self._managed = dotnet.managed(self._image)
        self._assembly = dotnet.read(self._image)
        self._imports = _table(tables.imports, self._image)
        self._exports = _table(tables.exports, self._image)

    def of(self, number: int, item: Range) -> Iterator[Candidate]:
        """Candidates of a range; `number` is its index among those given."""
        if item.region.kind == "header" or item.start >= item.end:
            return
        fixups = self._image.directory("reloc")
        if fixups is not None and fixups[0] <= item.start < fixups[1]:
            return  # a linker's table: changes with every byte added to a program
        texts = _some(self._strings(number, item))
        yield from texts
        yield from _some(self._names(number, item))
        # Words of any program are no strings, but may be data: their order and surroundings are
        # shared by some families and missing in clean programs.
        taken = [(c.offset, c.offset + len(c.pattern.data)) for c in texts]
        taken += self._imports.places(item.start, item.end)
        code = _some(self._code(number, item))
        if code:
            taken += self._no_code(item)
        free = _free(taken)
        for candidate in code or _some(self._windows(number, item)):
            if free(candidate.offset, candidate.offset + len(candidate.pattern.data)):
                yield candidate

    def _no_code(self, item: Range) -> list[tuple[int, int]]:
        """Places of texts that no code is decoded from, those of any program with the others.

        A run without a word may be code: `AWAVAUATUWVSH` saves registers, `gffff` divides by ten,
        and zeros that are pushed look like `jjjjj` in UTF-16.
        """
        return likely.texts(self._data, item.start, item.end) + [
            (thing.start, thing.end)
            for thing, encoding in strings.spans(self._data, item.start, item.end)
            if len(set(self._data[thing.start : thing.end]) - {0}) >= MIN_LETTERS
            and (encoding != "ascii" or _LOWER.search(self._data, thing.start, thing.end))
        ]

    def _strings(self, number: int, item: Range) -> Iterator[Candidate]:
        bits = entropy(memoryview(self._data)[item.start : item.end])
        least = MIN_NOISY_TEXT if bits >= NOISE else MIN_TEXT
        for thing, encoding in strings.spans(self._data, item.start, item.end):
            unit = 1 if encoding == "ascii" else 2
            raw = self._data[thing.start : min(thing.end, thing.start + MAX_TEXT * unit)]
            letters = raw.decode(encoding, "replace")
            if len(letters) < least or _dull(letters):
                continue
            narrow = letters.isascii()
            form = ("ascii" if unit == 1 else "wide") if narrow else "hex"
            yield Candidate(Pattern(form, raw), "string", thing.start, number, (letters,))  # type: ignore[arg-type]

    def _names(self, number: int, item: Range) -> Iterator[Candidate]:
        """Names of consecutive imports as the linker laid them out, with any hints."""
        places = sorted(
            {
                place
                for entry in self._imports.entries
                for place in entry.places[-1:]  # without a name this is its address
                if item.start <= place[0] < item.end and self._name(place) == entry.name
            }
        )
        for at in range(0, len(places) - NAMES + 1, NAMES):
            some = places[at : at + NAMES]
            if any(not 0 <= after[0] - before[1] <= 1 for before, after in pairwise(some)):
                continue
            raw = self._data[some[0][0] : some[-1][1]]
            mask = bytearray(b"\xff" * len(raw))
            for start, _ in some:
                mask[start - some[0][0] : start - some[0][0] + _HINT] = bytes(_HINT)
            names = ", ".join(map(self._name, some))
            yield from self._run("imports", number, some[0][0], bytes(mask), (names,))

    def _name(self, place: tuple[int, int]) -> str:
        """The name of an import, without the hint before it."""
        return decode_name(self._data[place[0] + _HINT : place[1]])

    def _code(self, number: int, item: Range) -> Iterator[Candidate]:
        if self._assembly is not None:
            for run in il_runs(self._assembly, item.start, item.end):
                yield from self._run("il", number, run.start, run.mask, run.text)
        section, known = self._image.section_at(item.start), self._image.architecture
        if self._managed or section is None or not section.executable or known is None:
            return
        if self._packed(item):
            return
        where = functions.find(self._image, section, self._exports, known[0], item.start)
        delta = section.rva - section.start
        unlikely = self._unlikely(where, item)
        for run in runs(self._image, where, known[0], item.start, item.end, delta):
            if where.listed(run.start) or not (unlikely or self._no_run(run)):
                yield from self._run("code", number, run.start, run.mask, run.text)

    def _unlikely(self, where: functions.Functions, item: Range) -> bool:
        """Whether a range has more bits per byte than code has."""
        start = where.synchronised(item.start)
        behind = None if start is None else item.start - start[0]
        bits = entropy(memoryview(self._data)[item.start : item.end])
        return likely.packed(bits, item.end - item.start, behind)

    def _no_run(self, run: Run) -> bool:
        """Whether bytes that decode are text all the same, or a table."""
        if likely.is_text(self._data, run.start, run.start + len(run.mask)):
            return True
        return likely.odd([line.split(" ")[0] for line in run.text], len(run.text), 1)

    def _packed(self, item: Range) -> bool:
        """Whether the bytes of a range are compressed or encrypted, by their entropy."""
        bits = entropy(memoryview(self._data)[item.start : item.end])
        return bits >= PACKED and item.end - item.start >= PACKED_MIN_BYTES

    def _run(
        self, kind: Kind, number: int, start: int, mask: bytes, text: tuple[str, ...]
    ) -> Iterator[Candidate]:
        pattern = trimmed(self._data[start : start + len(mask)], mask)
        if telling(pattern):
            skipped = len(mask) - len(mask.lstrip(b"\0"))
            yield Candidate(pattern, kind, start + skipped, number, text)

    def _windows(self, number: int, item: Range) -> Iterator[Candidate]:
        """Windows of unnamed data; addresses in them are not fixed."""
        if self._lone and self._packed(item):
            return
        leaf = self._image.directory("resource")
        inside = leaf is not None and leaf[0] <= item.start < leaf[1]
        first = item.start + -item.start % 4
        for start in range(first, item.end - WINDOW + 1, WINDOW):
            raw = self._data[start : start + WINDOW]
            mask = bytearray(b"\xff" * WINDOW)
            for at in range(0, WINDOW, 4):
                if int.from_bytes(raw[at : at + 4], "little") in self._image.addresses:
                    mask[at : at + 4] = bytes(4)
            kind: Kind = "resource" if inside else "data"
            if len(set(raw)) < MIN_VARIED or not dense(Pattern("hex", raw, bytes(mask)).fixed):
                continue
            yield from self._run(kind, number, start, bytes(mask), ())


def _dull(text: str) -> bool:
    """Whether a string has no word in it, is a single one, or is in any program."""
    if len(set(text)) < MIN_LETTERS or _WORD.search(text) is None or _LONE.fullmatch(text):
        return True
    return _ORDINARY.search(text.encode("utf-8", "replace")) is not None


def _free(taken: Sequence[tuple[int, int]]) -> Callable[[int, int], bool]:
    """Whether bytes [low, high) share none with places, which may overlap."""
    places = sorted(taken)
    starts = [start for start, _ in places]
    ends = list(accumulate((end for _, end in places), max))

    def free(low: int, high: int) -> bool:
        before = bisect.bisect_left(starts, high)  # those that start before the end
        return not before or ends[before - 1] <= low

    return free


def _some(found: Iterator[Candidate]) -> list[Candidate]:
    """At most `MAX_CANDIDATES` candidates; reading stops at the first error of any kind."""
    kept: list[Candidate] = []
    with suppress(Exception):
        for candidate in islice(found, MAX_CANDIDATES):
            kept.append(candidate)
    return kept


def _table(read: Callable[[Image], tables.Table], image: Image) -> tables.Table:
    """A table of the file; an empty one where the file is malformed."""
    try:
        return read(image)
    except Exception:
        return tables.Table()
