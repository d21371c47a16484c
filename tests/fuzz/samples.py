"""Targets that read samples, as workers do: headers, layout, plots, what `explain` looks into."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from itertools import pairwise
from multiprocessing.reduction import ForkingPickler

import numpy as np
from fuzz.target import Target, folder, hostile, programs

from maltriage import bundle as bundles
from maltriage.probe.inspect import dotnet
from maltriage.probe.inspect.image import Image
from maltriage.probe.inspect.snap import Range
from maltriage.probe.inspect.worker import look
from maltriage.probe.mask import MASKS, Variant, mask_views
from maltriage.probe.members import Chunk, ChunkOptions, prepare_members
from maltriage.probe.perturb import padding_ranges
from maltriage.probe.prepare import PrepareOptions
from maltriage.probe.rule.gather import candidates
from maltriage.probe.transform import TRANSFORMS
from maltriage.probe.transform.donors import Draw
from maltriage.probe.transform.program import NotApplicableError, Program
from maltriage.sample.byteplot import make_views
from maltriage.sample.errors import SampleError
from maltriage.sample.geometry import BodyGeometry, width_for
from maltriage.sample.hexdump import DumpError, parse_dump
from maltriage.sample.identity import identify
from maltriage.sample.layout import make_layout
from maltriage.sample.mapped import mapped
from maltriage.sample.notices import observe
from maltriage.sample.pe import read_headers
from maltriage.sample.signature import is_as_signed
from maltriage.sample.types import Layout
from maltriage.sample.views import ViewSpec, WindowSpec
from maltriage.source.archive.limits import Archives
from maltriage.source.archive.walk import Cursor
from maltriage.source.carve import carve
from maltriage.source.decode import parse_contents
from maltriage.source.reading import Reading
from maltriage.work.messages import read

_CHUNKS = 8
BY_PEFILE = 8
"""One of so many inputs is read by pefile too, which takes ten times as long where instrumented."""
SHORT = 13_000
"""Bytes of a sample that is an input as a whole: those of the largest have mostly code."""


def layout(data: bytes) -> None:
    """Headers, regions, identity, notices by LIEF, of some files as mapped ones by pefile as well.

    Regions cover every byte once. What pefile covers guides the search for LIEF, which is blind.
    """
    _laid_out(data)
    for carved in carve(data):
        assert 0 < carved.start < carved.end <= len(data)
    if data and zlib.crc32(data) % BY_PEFILE == 0:
        path = folder() / "large.exe"
        path.write_bytes(data)
        with path.open("rb") as file:
            _laid_out(mapped(file))


def _laid_out(data: bytes) -> None:
    headers = read_headers(data)
    found, _ = make_layout(data, headers)
    at = 0
    for region in found.regions:
        assert region.start == at < region.end
        at = region.end
    assert at == len(data)
    assert all(0 <= place < len(data) for place in found.anchors.values())
    as_signed = None if headers is None else is_as_signed(data, headers)
    identify(data, headers, as_signed=as_signed)
    observe(data, headers, found, as_signed=as_signed)


@cache
def _views() -> tuple[ViewSpec, ...]:
    return bundles.load(bundles.resolve(None)).card.views


def byteplot(data: bytes) -> None:
    """Views and their geometry: shapes as stated, heat conserved over any cut of the file."""
    anchor = int.from_bytes(data[:4], "little")
    names = [spec.anchor for spec in _views() if isinstance(spec, WindowSpec)]
    views = make_views(data, dict.fromkeys(names, anchor), _views())
    for spec in _views():
        view = views[spec.name]
        assert view.pixels.shape == spec.shape
        shape = view.pixels.shape[-2:] if isinstance(view.geometry, BodyGeometry) else (1, 32)
        shape = (1, spec.shape[-1]) if spec.counted else shape
        heat = np.frombuffer(data[: int(np.prod(shape))].ljust(int(np.prod(shape)), b"\1"), "u1")
        heat = heat.reshape(shape).astype(np.float64) - 100.0
        cuts = np.unique([0, len(data) // 3, len(data) // 2, len(data)])
        upto = view.geometry.integrate(heat, cuts)
        assert np.isfinite(upto).all()
        assert upto[0] == 0.0
        # Of heat above zero no range has more than there is, and none less than nothing.
        rising = view.geometry.integrate(np.abs(heat), cuts)
        assert (np.diff(rising) >= -1e-9 * np.abs(heat).sum()).all()
        assert rising[-1] <= np.abs(heat).sum() * (1 + 1e-9)
    assert 1 <= width_for(len(data)) <= 1024


def dump(data: bytes) -> None:
    """A hex dump: as many bytes as pairs, blocks in order."""
    try:
        found = parse_dump(data)
    except DumpError:
        return
    assert len(found.data) <= len(data)
    places = [offset for offset, _ in found.blocks or ()]
    assert places == sorted(set(places))
    assert found.unmapped <= len(found.data)


def contents(data: bytes) -> None:
    """A file of any kind: a PNG, with the checksums of its chunks, a dump, a program."""
    data = right_png(data)
    for name in ("x.exe", "x.bytes"):
        try:
            found = parse_contents(name, data, Reading(max_size=1 << 20))
        except SampleError:
            continue
        assert len(found.data) <= max(len(data), 1 << 20)


def right_png(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks; any other file as it is."""
    found, at = bytearray(data), 8
    while data[:4] == b"\x89PNG" and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            break
        found[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(found)


def prepare(data: bytes) -> None:
    """A file from the disk to the answer of a worker, archives and what it carries included."""
    path = folder() / "x.bin"
    path.write_bytes(data)
    archives = Archives(members=20, unpacked=1 << 20, ratio=50, nesting=3, carve=2)
    options = PrepareOptions(max_size=1 << 18, archives=archives, views=_views(), hashes=True)
    cursor: Cursor | None = None
    for _ in range(_CHUNKS):
        try:
            found = prepare_members(str(path), options, ChunkOptions(2, 60.0), cursor)
        except SampleError as error:
            read(bytes(ForkingPickler.dumps(error)))
            return
        read(bytes(ForkingPickler.dumps(found)))
        if not isinstance(found, Chunk) or found.cursor is None:
            return
        assert cursor is None or found.cursor.at > cursor.at, "the cursor stays where it is"
        cursor = found.cursor


def _ranges(data: bytes, found: Layout) -> list[Range]:
    regions = [region for region in found.regions if region.end > region.start][:6]
    return [Range(r.start, min(r.end, r.start + 256), r.start, r) for r in regions]


def inspect(data: bytes) -> None:
    """What `explain` asks of hot ranges: code, imports, resources, metadata, strings."""
    found, _ = make_layout(data, read_headers(data))
    for item in look(data, _ranges(data, found), parse=True, snap=True):
        assert 0 <= item.start < item.end <= len(data)


def assembly(data: bytes) -> None:
    """.NET metadata, and the IL and name of every method, through dnfile and dncil."""
    image = Image(data)
    dotnet.managed(image)
    found = dotnet.read(image)
    for body in found.bodies[:32] if found else ():
        assert found is not None
        assert 0 <= body.start <= body.code <= body.end <= len(data)
        found.method_name(body.row)
        for at, raw, _, _ in found.decode(body):
            assert data[at : at + len(raw)] == raw
        found.place(body.start, body.end)


def rule(data: bytes) -> None:
    """Patterns for a rule: each is in the file where it says."""
    found, _ = make_layout(data, read_headers(data))
    for item in candidates(data, _ranges(data, found), parse=True):
        pattern, raw = item.pattern, data[item.offset :]
        masks = pattern.mask or b"\xff" * len(pattern.data)
        assert all(not mask or a == b for a, b, mask in zip(pattern.data, raw, masks, strict=False))


def mask(data: bytes) -> None:
    """Masked copies for `--verify`: the sample's own images where nothing is masked."""
    if not data:
        return
    found, _ = make_layout(data, read_headers(data))
    cuts = [int(data[i]) * len(data) // 255 for i in range(min(4, len(data)))]
    ranges = tuple((min(a, b), max(a, b)) for a, b in pairwise(cuts))[::2]
    variants = [Variant((), "zeros"), *(Variant(ranges, kind) for kind in MASKS)]
    variants.append(Variant(padding_ranges(data, found), "histogram"))
    images = mask_views(data, found.anchors, _views(), variants)
    assert all(rows[0] == 0 for rows in images.rows.values())


def transform(data: bytes) -> None:
    """Changed copies for `robustness`: a file, or none because it does not apply."""
    for name, change in TRANSFORMS.items():
        try:
            made = change.apply(Program(data), Draw(1, "0" * 64, name))
        except NotApplicableError:
            continue
        assert made[:2] == data[:2]
        assert len(made) <= 2 * len(data) + (1 << 20)


def _headers() -> list[bytes]:
    """The parts of the samples that parsers read, short enough for many runs."""
    short = [data if len(data) < SHORT else data[:0x800] for data in programs()]
    return [*short, b"MZ" + bytes(62), *hostile("sections", "directories")]


def _assemblies() -> list[bytes]:
    return [data for data in programs() if b"BSJB" in data] + hostile("dotnet")[::4]


def _looked_into() -> list[bytes]:
    return [*programs(), *hostile("directories", "dotnet")[::2]]


def _dumps() -> list[bytes]:
    line = b" ".join([b"4D 5A ?? 00"] * 4)
    return [
        b"".join(b"%08X %s\r\n" % (0x401000 + 16 * i, line) for i in range(8)),
        line + b"\n" + line[:20],
        b"00401000 4D 5A\n00501000 00\n",
    ]


def _pictures() -> list[bytes]:
    from hostile.make import byteplot as plotted

    picture = plotted(programs()[0][:2048], 64)
    return [picture, b"\x89PNG\r\n\x1a\n", *_dumps(), *hostile("pictures")]


def _files() -> list[bytes]:
    from fuzz.archives import TARGETS as ARCHIVES

    carrier = programs()[0] + programs()[-1]
    odd = hostile("sections", "directories", "archives")
    return [*programs(), *_pictures(), carrier, *ARCHIVES["archive"].seeds(), *odd]


_WORDS = (
    *(b"MZ", b"PE\0\0", b"\x0b\x01", b"\x0b\x02", b"\x4c\x01", b"\x64\x86", b"\xff\xff\xff\xff"),
    *(b"\0\0\0\x80", b".text", b".rsrc", b"Rich", b"DanS", b"BSJB", b"#~", b"RSDS", b"UPX!"),
)
TARGETS = {
    "layout": Target(layout, _headers, _WORDS),
    "byteplot": Target(byteplot, _headers, (b"\0" * 32, b"\xff" * 32)),
    "dump": Target(dump, _dumps, (b"??", b"00401000 ", b"\r\n", b"FF ")),
    "contents": Target(contents, _pictures, (b"IHDR", b"IDAT", b"PLTE", b"IEND", b"acTL")),
    "prepare": Target(prepare, _files, _WORDS, longest=40_000),
    "inspect": Target(inspect, _looked_into, _WORDS),
    "assembly": Target(assembly, _assemblies, (*_WORDS, b"#US", b"#Blob", b"\x06\x2a")),
    "rule": Target(rule, programs, _WORDS),
    "mask": Target(mask, programs),
    "transform": Target(transform, programs, _WORDS),
}
