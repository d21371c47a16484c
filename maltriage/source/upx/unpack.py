"""Unpacks a program, and writes it as a file."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

from maltriage.sample.errors import SampleError
from maltriage.source.archive.limits import Archives, Budget
from maltriage.source.decode import too_large
from maltriage.source.upx import linker, nrv
from maltriage.source.upx.filters import unfilter
from maltriage.source.upx.memory import (
    BOUND,
    DEBUG,
    IAT,
    Headers,
    Image,
    Lists,
    aligned,
    headers_of,
)
from maltriage.source.upx.packed import LZMA, NRV, Packed, packed_by_upx

MAX_IMAGE = 1 << 27
"""Most bytes of an image."""
MAX_PACKED_BY_NRV = 6 << 20
"""Most packed bytes of NRV, which takes Python a second for each million, two if they are
made for it."""


def unpack(
    data: bytes,
    packed: Packed,
    max_size: int,
    limits: Archives = Archives(),  # noqa: B008 (frozen)
) -> bytes:
    """The program as it was before UPX packed it, but for what UPX does not keep: checksums of
    the header, the table of bound imports, and zeros between parts.

    Args:
        max_size: bytes of the program, and of its image.
        limits: caps on what comes out, as of an archive.

    Raises:
        SampleError: it is larger, a cap was hit, or it is damaged.
    """
    Budget(limits, len(data)).spend(packed.size)
    if packed.size > max_size:
        raise SampleError("too-large", f"UPX packed {too_large(packed.size, max_size)}")
    if packed.size > MAX_IMAGE:
        reason = f"{packed.size} bytes, of which at most {MAX_IMAGE} are unpacked"
        raise SampleError("too-large", f"UPX packed {reason}")
    if packed.method in NRV and packed.packed_size > MAX_PACKED_BY_NRV:
        reason = f"{packed.packed_size} bytes by NRV, of which at most {MAX_PACKED_BY_NRV} are read"
        raise SampleError("too-large", f"UPX packed it to {reason}")
    try:
        return _rebuilt(data, packed, min(max_size, MAX_IMAGE))
    except (ValueError, IndexError, struct.error, lzma.LZMAError, OverflowError) as error:
        reason = str(error) or type(error).__name__
        raise SampleError("damaged-archive", f"UPX: {reason}", failed=True) from error


def take_unpacked(data: bytes, start: int, max_size: int, limits: Archives) -> bytes:
    """The program whose packed bytes begin at an offset of a file.

    Raises:
        SampleError: there is none, or see `unpack`.
    """
    found = packed_by_upx(data)
    if found is None or found.at != start:
        raise SampleError("not-found", f"nothing packed by UPX at {start:#x}", failed=True)
    return unpack(data, found, max_size, limits)


def _rebuilt(data: bytes, packed: Packed, max_size: int) -> bytes:
    outer = headers_of(data)
    assert outer is not None
    raw = _unpacked(data[packed.at : packed.at + packed.packed_size], packed)
    (skip,) = struct.unpack_from("<I", raw, len(raw) - 4)
    inner = Headers(bytearray(raw[skip : skip + 4096]))
    rows = list(inner.rows())
    base = rows[0][1]
    image = Image(raw, base)
    if outer.stripped:
        inner.strip()
    lists = Lists(Image(raw, 0), skip + inner.table + 40 * inner.sections)
    parts = [Image(data[place : place + size], at) for _, at, size, place in outer.rows()]
    repairs: tuple[Callable[[], None], ...] = (
        lambda: unfilter(raw, inner, packed, base),
        lambda: linker.imports(image, inner, outer, parts[2], lists),
        lambda: linker.relocations(image, inner, lists),
        lambda: linker.exports(image, inner, outer, parts[2]),
        lambda: linker.resources(image, inner, outer, parts[-1]),
    )
    for repair in repairs:
        # Malware breaks these tables once it is packed; the bytes of its sections are there.
        with suppress(ValueError, struct.error):
            repair()
    for number in (DEBUG, BOUND, IAT):
        inner.set_directory(number, 0, 0)
    return _written(data, outer, inner, image, max_size)


def _unpacked(raw: bytes, packed: Packed) -> bytearray:
    if packed.method == LZMA:
        found = _by_lzma(raw, packed.size)
    else:
        found = nrv.unpack(raw, *NRV[packed.method], packed.size)
    if zlib.adler32(found) != packed.checksum:
        raise ValueError("other bytes than those that were packed")
    return bytearray(found)


def _by_lzma(raw: bytes, size: int) -> bytes:
    """Two bytes with the properties, in an order of UPX's own, and a stream without an end mark."""
    both, position = raw[0] >> 3, raw[0] & 7
    literal, context = raw[1] >> 4, raw[1] & 15
    if literal + context != both:
        raise ValueError("properties of LZMA that contradict each other")
    filters = [
        {
            "id": lzma.FILTER_LZMA1,
            "lc": context,
            "lp": literal,
            "pb": position,
            "dict_size": max(size, 4096),
        }
    ]
    found = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(raw[2:], size)
    if len(found) != size:
        raise ValueError("it ends early")
    return found


def _written(data: bytes, outer: Headers, inner: Headers, image: Image, max_size: int) -> bytes:
    """The file: what is before its headers as it was, each section at its place, and what lies
    behind the sections."""
    (begin,) = struct.unpack_from("<I", data, 60)
    unit = inner.alignment
    if not 1 <= unit <= 1 << 16:
        raise ValueError("sections that are aligned to nothing")
    table = inner.raw[: inner.table + 40 * inner.sections]
    rows = [row for row in inner.rows() if row[3]]
    end = max((place + aligned(size, unit) for _, _, size, place in rows), default=0)
    behind = max(aligned(place + size, outer.alignment or 1) for *_, size, place in outer.rows())
    if end + max(len(data) - behind, 0) > max_size:
        raise ValueError("larger than what is read")
    struct.pack_into("<I", table, 88, 0)
    made = bytearray(max(end, begin + len(table)))
    made[:begin] = data[:begin]
    made[begin : begin + len(table)] = table
    for _, address, size, place in rows:
        start = address - image.base
        piece = image.raw[start : start + aligned(size, unit)] if start >= 0 else b""
        made[place : place + len(piece)] = piece
    return bytes(made) + data[behind:]
