"""Inspects all hot ranges of a file, in one call of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from maltriage.probe.common import Runs, load, runs_of
from maltriage.probe.inspect import (
    dotnet,
    header,
    library,
    likely,
    resources,
    strings,
    tables,
)
from maltriage.probe.inspect.image import Budget, Image, Thing
from maltriage.probe.inspect.machine_code import Native
from maltriage.probe.inspect.snap import Range, Snapped, snapped
from maltriage.sample.findings import (
    ContentKind,
    HotContent,
    Listing,
    ResourceRef,
)
from maltriage.sample.layout import entropy
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
        self._image = Image(data, parse)
        self._tables = tables.Tables(self._image)
        self._budget = Budget(MAX_EXCERPTS)
        self._native = Native(self._image, self._tables, self._budget, signatures)
        self._until = time.process_time() + MAX_SECONDS
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
        section = self._native.section(item)
        around = None if section is None else self._native.function_at(section, edge)
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
        imports = self._attempt("imports", lambda: self._tables.imports) or tables.Table()
        exports = self._attempt("exports", lambda: self._tables.exports) or tables.Table()
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
        wordy, native = self._plain(place) == "strings", self._native
        section = native.section(place)
        among: list[tuple[int, int]] | None = None
        if kind is None and bits >= PACKED and size >= PACKED_MIN_BYTES:
            self._notes.append(f"entropy {bits:.2f}: compressed or encrypted")
        elif kind is None and not wordy and section is not None:
            read = self._attempt("code", lambda: native.read(section, place, bits, known))
            self._notes += [read.note] if read is not None and read.note is not None else []
            if read is not None and read.listing is not None:
                found["code"], kind = read.listing, "code"
                named = self._attempt("library functions", lambda: native.library(section, place))
                found["library"] = named or []
            elif read is not None and read.is_text:
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

    @cached_property
    def _assembly(self) -> dotnet.Assembly | None:
        return dotnet.read(self._image)

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
