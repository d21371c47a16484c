"""Inspects all hot ranges of a file, in one call of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from maltriage.probe.common import Runs, load, runs_of
from maltriage.probe.inspect import (
    code,
    dotnet,
    functions,
    header,
    library,
    likely,
    resources,
    strings,
    tables,
)
from maltriage.probe.inspect.image import Budget, Image, Thing
from maltriage.probe.inspect.snap import Range, Snapped, snapped
from maltriage.sample.findings import (
    ContentKind,
    HotContent,
    LibraryFunction,
    Listing,
    ResourceRef,
)
from maltriage.sample.layout import entropy
from maltriage.sample.pe import Section
from maltriage.sample.types import Region
from maltriage.source.reading import Reading
from maltriage.source.samples import read_again

HEX_BYTES = 16
"""Bytes of each range in its hexdump."""
MAX_EXCERPTS = 4096
"""Most bytes shown of a sample, in hexdumps, instructions and strings together."""
MAX_SECONDS = 10.0
"""Processor time after which the remaining ranges of a file are not inspected."""
PACKED, PACKED_MIN_BYTES = 7.0, 256
"""Bits per byte from which so many bytes are packed: code has up to 6.6, 256 random bytes 7.2."""
NOISE, NOISE_LENGTH = 6.0, 8
"""Bits per byte, above those of text, from which shorter runs of printable bytes are chance."""
MIN_FILL = 8
"""Least length of a run of one byte to be called fill."""
MAX_NAMED = 64
"""Functions of a range that are looked up among the signatures."""
SHIFTS = 9
"""Bytes from the hottest one on that instructions are read from in turn, until they read as code:
where no start of a function is known one in the middle of an instruction may be the first."""
MAX_RESOURCES = 4
"""Resources of a range that are named besides the first."""
MOSTLY = 0.5
"""Share of a range that makes it one of strings, or of imports."""

T = TypeVar("T")


@dataclass(frozen=True)
class InspectOptions(Reading):
    """Options of reading the file as before.

    `snap`: whether edges may move. `signatures`: a folder of FLIRT signatures.
    """

    sha256: str
    snap: bool = True
    signatures: Path | None = None


@dataclass(frozen=True)
class Inspected:
    """Result for one range, or for several that touch since their edges moved.

    `content` is None for a picture, whose pixels are not a program's bytes.
    """

    start: int
    end: int
    region: Region
    hex: str
    content: HotContent | None


def inspect(path: str, ranges: list[Range], options: InspectOptions) -> list[Inspected]:
    """Inspect ranges of a file, which is read once.

    Raises:
        SampleError: it cannot be read again, or has other bytes (`changed`).
        MaltriageError: the signatures cannot be read.
    """
    contents = read_again(path, options, options.sha256)
    if contents.format == "picture":
        return [_bare(contents.data, item, None) for item in ranges]
    signatures = None if options.signatures is None else library.read(options.signatures)
    parse = contents.dump is None
    return look(contents.data, ranges, parse=parse, snap=options.snap, signatures=signatures)


def spell(path: str, places: list[tuple[int, int]], options: InspectOptions) -> list[str]:
    """The letters in byte ranges of a file, each of which holds a word; see `inspect`."""
    data = read_again(path, options, options.sha256).data
    letters = (data[start:end].replace(b"\0", b"") for start, end in places)
    return [word.decode("ascii", "replace") for word in letters]


def common(path: str, index: Path, options: InspectOptions) -> Runs:
    """The bytes of a file that clean programs have; see `inspect`.

    Raises:
        MaltriageError: the index cannot be read.
    """
    return runs_of(read_again(path, options, options.sha256).data, load(index))


def look(
    data: bytes,
    ranges: list[Range],
    *,
    parse: bool,
    snap: bool,
    signatures: library.Signatures | None = None,
) -> list[Inspected]:
    """Inspect ranges of bytes, the hottest first; never raises for their content.

    Args:
        parse: whether the bytes may have headers (those of a hex dump have none).
        snap: whether edges may move to those of things that they cut.
        signatures: of library functions, which are named; None: they are not.
    """
    inspector = _Inspector(data, parse, signatures)
    placed = snapped(ranges, inspector.things_at) if snap else [Snapped(item) for item in ranges]
    return [_bare(data, item.range, inspector.content(item)) for item in placed]


def _bare(data: bytes, item: Range, content: HotContent | None) -> Inspected:
    first = data[item.start : min(item.end, item.start + HEX_BYTES)]
    return Inspected(item.start, item.end, item.region, first.hex(), content)


class _Inspector:
    """Inspects ranges of one file. Results that several ranges need are cached."""

    def __init__(self, data: bytes, parse: bool, signatures: library.Signatures | None) -> None:
        self._data = data
        self._signatures = signatures
        self._image = Image(data, parse)
        self._budget = Budget(MAX_EXCERPTS)
        self._until = time.process_time() + MAX_SECONDS
        self._functions: dict[tuple[int, int], functions.Functions] = {}
        self._notes: list[str] = []

    def things_at(self, item: Range, edge: int) -> list[Thing]:
        """Things that an edge of a range may cut, best first, clipped to the range's region."""
        if time.process_time() > self._until:
            return []
        found = self._attempt("edges", lambda: self._things(item, edge)) or []
        low, high = item.region.start, item.region.end
        return [Thing(max(t.start, low), min(t.end, high), t.name) for t in found]

    def _things(self, item: Range, edge: int) -> list[Thing]:
        if item.region.kind == "header":
            fields = header.fields(self._image, edge - 1, edge + 1)
            return [Thing(field.offset, field.offset + field.size) for field in fields]
        found = []
        if self._assembly is not None:
            body, place = self._assembly.body_at(edge), self._assembly.place(edge, edge + 1)
            found += [Thing(body.start, body.end)] if body else []
            found += [place[0]] if place else []
        found += [Thing(leaf.start, leaf.end) for leaf in self._leaves(edge - 1, edge + 1)]
        section = self._code_section(item)
        around = self._functions_of(section, edge).around(edge) if section is not None else None
        if around is not None:
            return [*found, around]
        return found + [thing for thing, _ in strings.spans(self._data, edge - 1, edge + 1)]

    def content(self, item: Snapped) -> HotContent:
        """The content of a range."""
        place, region = item.range, item.range.region
        rva = None if region.rva is None else region.rva + place.start - region.start
        found: dict[str, Any] = {
            "kind": "data",
            "rva": rva,
            "va": None if rva is None else (self._image.base + rva) % (1 << 64),
            "entropy": entropy(memoryview(self._data)[place.start : place.end]),
            "snapped": (item.before, item.after),
            "focus": place.focus,
        }
        self._notes = []
        self._budget.take(min(place.end - place.start, HEX_BYTES))
        if place.start == place.end:
            self._notes.append("no bytes")
        elif time.process_time() > self._until:
            self._notes.append(f"not looked into: the file took more than {MAX_SECONDS:g} s")
        elif region.kind == "header":
            found |= self._header(place)
        else:
            found |= self._body(place, float(found["entropy"]))
        return HotContent(**found, notes=self._notes)

    def _header(self, place: Range) -> dict[str, Any]:
        image = self._image
        start, end = place.start, place.end
        fields = self._attempt("headers", lambda: header.fields(image, start, end)) or []
        if fields:
            return {"kind": "header", "fields": fields}
        if image.pe is None:
            self._notes.append("no header fields could be read")
        # Anything may follow the section table.
        found, left = strings.find(self._data, start, end, place.focus, self._budget)
        self._not_listed(left, "string")
        return {"kind": self._plain(place), "strings": found}

    def _not_listed(self, count: int, noun: str) -> None:
        """Note how many things of a kind a range has beyond those that are listed."""
        if count:
            more = f"{count:,} more {noun} is" if count == 1 else f"{count:,} more {noun}s are"
            self._notes.append(f"{more} in this range, not listed")

    def _body(self, place: Range, bits: float) -> dict[str, Any]:
        """A range outside the headers: all things that it overlaps, and its kind."""
        start, end, size = place.start, place.end, place.end - place.start
        found: dict[str, Any] = {}
        kind: ContentKind | None = None
        if self._plain(place) == "fill":
            return {"kind": "fill"}
        imports = self._attempt("imports", lambda: self._imports) or tables.Table()
        exports = self._attempt("exports", lambda: self._exports) or tables.Table()
        found["imports"], dlls = tables.imported_in(imports, start, end)
        found["exports"], names = tables.exported_in(exports, start, end)
        self._not_listed(dlls, "DLL")
        self._not_listed(names, "export")
        described = imports.covered(start, end), exports.covered(start, end)
        known = sorted([*imports.places(start, end), *exports.places(start, end)])
        table: ContentKind = "imports" if described[0] >= described[1] else "exports"
        if sum(described) >= MOSTLY * size:
            kind = table
        leaves = self._attempt("resources", lambda: self._leaves(start, end)) or []
        if leaves:
            found["resource"], kind = self._leaf(leaves, place), kind or "resource"
        il = self._attempt(".NET code", lambda: self._il(place))
        if il is not None:
            found["il"], kind = il, kind or "il"
        elif self._assembly is None and dotnet.managed(self._image):
            self._notes.append(".NET metadata could not be read")
        else:
            spot = self._attempt(".NET metadata", lambda: self._metadata(place))
            if spot is not None:
                found["metadata"], kind = spot, kind or "metadata"
        wordy = self._plain(place) == "strings"
        among: list[tuple[int, int]] | None = None
        if kind is None and bits >= PACKED and size >= PACKED_MIN_BYTES:
            self._notes.append(f"entropy {bits:.2f}: compressed or encrypted")
        elif kind is None and not wordy and self._code_section(place) is not None:
            listing = self._attempt("code", lambda: self._code(place, bits, known))
            if isinstance(listing, Listing):
                found["code"], kind = listing, "code"
                named = self._attempt("library functions", lambda: self._library(place))
                found["library"] = named or []
            elif listing == "text":
                kind = "strings"
            among = likely.texts(self._data, start, end)
        if kind != "il":
            least = NOISE_LENGTH if bits >= NOISE else strings.MIN_LENGTH
            if among is not None:  # instructions can look like text by chance
                least = max(least if kind != "code" else 0, likely.MIN_RUN)
            found["strings"], left = strings.find(
                self._data, start, end, place.focus, self._budget, least, known, among
            )
            self._not_listed(left, "string")
        if kind is None:
            kind = table if any(described) else "strings" if wordy else "data"
        return {"kind": kind, **found}

    def _plain(self, place: Range) -> ContentKind:
        """The kind of a range by its bytes alone."""
        data, start, end = self._data, place.start, place.end
        if end - start >= MIN_FILL and data[start:end] == data[start : start + 1] * (end - start):
            return "fill"
        return "strings" if strings.coverage(data, start, end) > MOSTLY else "data"

    def _code(
        self, place: Range, bits: float, tables_at: list[tuple[int, int]]
    ) -> Listing | Literal["text"] | None:
        """Instructions of a range, if its hottest bytes may run; none in its import address slots.

        `text`: they are text. None: they are no code for another reason, which is noted.
        """
        section, known = self._code_section(place), self._image.architecture
        if section is None:
            return None
        if known is None:
            self._notes.append("code for a processor that is not decoded here")
            return None
        focus = place.focus
        for low, high in tables_at:
            focus = high if low <= focus < high else focus
        where = self._functions_of(section, focus)
        sure = where.listed(focus)
        if not sure and likely.is_text(self._data, focus, min(place.end, focus + likely.WINDOW)):
            return "text"
        start = where.synchronised(focus)
        behind = None if start is None else focus - start[0]
        if not sure and likely.packed(bits, place.end - place.start, behind):
            self._notes.append(f"entropy {bits:.2f}, more than code has: compressed or encrypted")
            return None
        places = likely.texts(self._data, focus, place.end) if not sure else []
        end = min((low for low, _ in places if low > focus), default=place.end)
        delta = section.rva - section.start
        listing = self._likely(where, focus, end, delta)
        if listing is None:
            self._notes.append("does not read as compiled code: data, or encrypted code")
            return None
        if not listing.instructions:
            return None
        self._budget.take(code.shown(listing))
        return msgspec.structs.replace(listing, left=listing.left + place.end - end)

    def _likely(
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
        return None

    def _library(self, place: Range) -> list[LibraryFunction]:
        """The functions of libraries that a range of code overlaps."""
        section = self._code_section(place)
        if self._signatures is None or section is None:
            return []
        where = self._functions_of(section, place.focus)
        starts = where.between(place.start, place.end)[:MAX_NAMED]
        spots = [place.start, *(start for start in starts if start != place.start)]
        bodies = [body for spot in spots if (body := where.around(spot)) is not None]
        found = [self._signatures.name(self._data, body.start, body.end) for body in bodies]
        return [item for item in found if item is not None]

    def _il(self, place: Range) -> Listing | None:
        if self._assembly is None:
            return None
        delta = None
        section = self._image.section_at(place.focus)
        if section is not None:
            delta = section.rva - section.start
        return self._assembly.listing(place.focus, place.end, delta, self._budget)

    def _metadata(self, place: Range) -> str | None:
        if self._assembly is None:
            return None
        around = self._assembly.place(place.focus, place.focus + 1)
        found = around or self._assembly.place(place.start, place.end)
        return None if found is None else found[1]

    def _leaf(self, leaves: list[ResourceRef], place: Range) -> ResourceRef | None:
        """The resource that holds the hottest bytes of a range, or else the first, unless most of
        the range is of none: it is of their directory. The others are noted."""
        around = [leaf for leaf in leaves if leaf.start <= place.focus < leaf.end]
        held = sum(min(leaf.end, place.end) - max(leaf.start, place.start) for leaf in leaves)
        root = self._image.directory("resource")
        mostly = held >= MOSTLY * (place.end - place.start)
        within = root is not None and root[0] <= place.focus < root[1]
        first = next(iter(around or (leaves if mostly or not within else [])), None)
        others = [leaf for leaf in leaves if leaf is not first]
        if others:
            named = ", ".join(f"{leaf.type} {leaf.name}" for leaf in others[:MAX_RESOURCES])
            more = len(others) - MAX_RESOURCES
            start = "the range also holds" if first else "the directory of resources, and"
            self._notes.append(f"{start} {named}" + (f" and {more:,} more" if more > 0 else ""))
        return first

    def _leaves(self, start: int, end: int) -> list[ResourceRef]:
        every = self._resources
        return [leaf for leaf in every if leaf.start < end and start < leaf.end]

    def _code_section(self, place: Range) -> Section | None:
        """The section of a range, if its bytes may run as native code."""
        if dotnet.managed(self._image):
            return None
        section = self._image.section_at(place.start)
        return section if section is not None and section.executable else None

    def _functions_of(self, section: Section, near: int) -> functions.Functions:
        known = self._image.architecture
        # A section that is not searched whole is searched in few places.
        step = functions.MAX_SCANNED // 2
        near = near // step * step + step // 2 if section.size > functions.MAX_SCANNED else 0
        key = section.start, near
        if known is None:
            return functions.Functions([], {}, {}, {}, section.start + section.size)
        if key not in self._functions:
            found = functions.find(self._image, section, self._exports, known[0], near)
            self._functions[key] = found
        return self._functions[key]

    @cached_property
    def _disassembler(self) -> code.Disassembler:
        known = self._image.architecture
        assert known is not None
        return code.Disassembler(self._image, *known, self._imports)

    @cached_property
    def _assembly(self) -> dotnet.Assembly | None:
        return dotnet.read(self._image)

    @cached_property
    def _imports(self) -> tables.Table:
        return tables.imports(self._image)

    @cached_property
    def _exports(self) -> tables.Table:
        return tables.exports(self._image)

    @cached_property
    def _resources(self) -> list[ResourceRef]:
        return resources.leaves(self._image)

    def _attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """The result of `work`; if it fails, None and a note: the file may be malformed."""
        try:
            return work()
        except Exception as error:
            self._notes.append(f"{what} could not be read ({type(error).__name__})")
            return None
