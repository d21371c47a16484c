"""Targets that read archives: each kind by itself, with its checksums made right, and nested ones.

A checksum that a mutation breaks would end nearly all runs before the code behind it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import get_args

from fuzz.target import Target

from maltriage.sample.errors import SampleError
from maltriage.source.archive.find import only_member
from maltriage.source.archive.kinds import kind_of_bytes
from maltriage.source.archive.limits import Archives
from maltriage.source.archive.walk import Cursor, Member, Walk

LIMITS = Archives(members=20, unpacked=1 << 20, ratio=50, nesting=3)
LARGEST = 1 << 18
_STEPS = 4
_HEADERS = 40
_AES = b"\x06\xf1\x07\x01"


def _walk(data: bytes, cursor: Cursor | None = None) -> Walk:
    start = cursor or Cursor()
    return Walk(
        io.BytesIO(data), "x", len(data), LIMITS, LARGEST, lambda *_: True, cursor_from=start
    )


def unpack(data: bytes, kind: str) -> None:
    """Caps hold, nothing but members and troubles comes out, and each step leads on."""
    walk, paths = _walk(data), []
    for item in walk.items(kind):
        cursor = walk.cursor()
        assert cursor.members <= LIMITS.members + 1
        paths.append(getattr(item, "path", None))
        if isinstance(item, Member):
            assert len(item.data) <= LARGEST
            assert item.path.startswith("x!")
    place, again = Cursor(), []
    for _ in range(min(len(paths), _STEPS)):  # as a scan does, from a cursor
        step = _walk(data, place)
        item = next(step.items(kind), None)
        again.append(getattr(item, "path", None))
        if step.ended:
            break
        assert step.cursor().at > place.at, "the cursor stays where it is"
        place = step.cursor()
    assert again == paths[: len(again)]
    try:
        only_member(io.BytesIO(data), "x", len(data), kind, LIMITS, LARGEST)
    except SampleError:
        return


def _of_kind(kind: str, mended: Callable[[bytes], bytes] = bytes) -> Callable[[bytes], None]:
    return lambda data: unpack(mended(data), kind)


def any_kind(data: bytes) -> None:
    """An archive by its first bytes, as a scan opens it."""
    kind = kind_of_bytes(data)
    if kind is not None:
        unpack(data, kind)


def any_stream(data: bytes) -> None:
    """A compressed stream, whose kind the first byte chooses where the rest does not."""
    kind = kind_of_bytes(data)
    unpack(data, kind if kind in ("gz", "bz2", "xz", "zst") else "gz")


def right_seven(data: bytes) -> bytes:
    """A 7z file with the checksums of both of its headers, and keys that are quick to derive."""
    if len(data) < 32:
        return data
    start, size = struct.unpack_from("<QQ", data, 12)
    found = bytearray(data)
    at = found.find(_AES)
    while 0 <= at < len(found) - 5:
        found[at + 5] &= 0xC3  # at most 8 rounds, of 2 ** 63
        at = found.find(_AES, at + 1)
    found[28:32] = struct.pack("<I", zlib.crc32(found[32 + start : 32 + start + size]))
    found[8:12] = struct.pack("<I", zlib.crc32(found[12:32]))
    return bytes(found)


def right_tar(data: bytes) -> bytes:
    """A tar file with the checksums of its first headers."""
    found, at = bytearray(data), 0
    for _ in range(_HEADERS):
        head = found[at : at + 512]
        if len(head) < 512:
            break
        head[148:156] = b" " * 8
        found[at + 148 : at + 156] = b"%06o\0 " % sum(head)
        text = bytes(head[124:136]).strip(b"\0 ")
        size = int(text, 8) if text and set(text) <= set(b"01234567") else 0
        at += 512 + -(-size // 512) * 512
    return bytes(found)


def _files() -> dict[str, bytes]:
    return {"a.exe": b"MZ" + bytes(300), "b/c.txt": b"text"}


def _zips() -> list[bytes]:
    from corpus.synthetic import zipped

    plain = zipped(_files(), None)
    return [plain, zipped({"z.zip": plain}, None), zipped({"a.exe": b"MZ"})]


def _sevens() -> list[bytes]:
    from corpus.synthetic import seven_zipped

    return [seven_zipped(_files(), None), *_plain_sevens()]


def _plain_sevens() -> list[bytes]:
    """7z files of several methods whose header is not packed, for a mutation to reach it."""
    import py7zr

    found = []
    methods = (py7zr.FILTER_LZMA2, py7zr.FILTER_BZIP2, py7zr.FILTER_DEFLATE, py7zr.FILTER_COPY)
    chains: list[list[dict[str, int]]] = [[{"id": method}] for method in methods]
    chains.append([{"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA, "preset": 0}])
    chains.append([{"id": py7zr.FILTER_COPY}, {"id": py7zr.FILTER_CRYPTO_AES256_SHA256}])
    for chain in chains:
        out = io.BytesIO()
        with py7zr.SevenZipFile(out, "w", filters=chain, password="infected") as archive:
            archive.set_encoded_header_mode(False)
            for name, data in _files().items():
                archive.writestr(data, name)
        found.append(out.getvalue())
    return found


def _tars() -> list[bytes]:
    from corpus.synthetic import tarred

    return [tarred(_files()), tarred({"l" * 120: b"MZ", "ü" * 90: b"MZ"})]


def _streams() -> list[bytes]:
    from corpus.synthetic import squeezed, tarred

    kinds = ("gz", "bz2", "xz", "zst")
    return [tarred(_files(), kind) for kind in kinds] + [squeezed(b"MZ" + bytes(9), kinds[0])]


def _installers() -> list[bytes]:
    from source.archive.nsis_writer import Pack, installer

    packs: tuple[Pack, ...] = get_args(Pack)
    apart = [installer(_files(), pack) for pack in packs]
    return [*apart, *(installer(_files(), pack, "ansi", solid=True) for pack in packs[1:])]


def by_upx(data: bytes) -> None:
    """A program that UPX packed: the mutations are in the headers and lists behind its image, and
    in its own headers from the signature on, which are the last part of the input."""
    from source.upx.repack import PROGRAMS, headers_in, image_of, repacked

    from maltriage.source.upx.packed import packed_by_upx
    from maltriage.source.upx.unpack import unpack

    lists, _, headers = data.partition(_OUTER)
    program = (PROGRAMS / "gui-x86.nrv2e.exe").read_bytes()
    image = image_of(program)
    begin = headers_in(image)
    packed = repacked(program, image[:begin] + lists + struct.pack("<I", begin))
    (at,) = struct.unpack_from("<I", packed, 60)
    changed = packed[:at] + headers[:_MOST] + packed[at + len(headers[:_MOST]) :]
    found = packed_by_upx(changed)
    if found is None:
        return
    try:
        assert len(unpack(changed, found, LARGEST)) <= LARGEST
    except SampleError:
        return


def by_nrv(data: bytes) -> None:
    """A stream of NRV: the first byte says which, and how large the result should be."""
    from maltriage.source.upx import nrv

    code = (nrv.NRV2B, nrv.NRV2D, nrv.NRV2E)[data[0] % 3] if data else nrv.NRV2B
    size = data[0] << 8 if data else 0
    try:
        assert len(nrv.unpack(data[1:], code, 4 if size & 0x400 else 1, size)) == size
    except ValueError:
        return


_OUTER, _MOST = b"headers:", 512


def _packed_programs() -> list[bytes]:
    from source.upx.repack import PROGRAMS, headers_in, image_of

    found = []
    for path in sorted(PROGRAMS.iterdir()):
        data = path.read_bytes()
        image = image_of(data)
        (at,) = struct.unpack_from("<I", data, 60)
        found.append(image[headers_in(image) : -4] + _OUTER + data[at : at + _MOST])
    return found


def _streams_of_nrv() -> list[bytes]:
    from source.upx.test_nrv import packed

    from maltriage.source.upx import nrv

    tokens: list[tuple[int, int] | int] = [1, 2, 3, (3, 253)]
    return [
        bytes([1 << 2 | n]) + packed(tokens, code, 4)
        for n, code in enumerate((nrv.NRV2B, nrv.NRV2D, nrv.NRV2E))
    ]


TARGETS = {
    "upx": Target(by_upx, _packed_programs, (b"PE\0\0", b"\xe8\xe9", b"\xff\xff", _OUTER)),
    "nrv": Target(by_nrv, _streams_of_nrv, (b"\xff\xff", b"\0\0", b"\xaa")),
    "archive": Target(
        any_kind,
        lambda: [*_zips(), *_sevens()[:2], *_tars(), *_streams()],
        (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"7z\xbc\xaf'\x1c", b"ustar", b"\x1f\x8b", b"BZh"),
    ),
    "zip": Target(
        _of_kind("zip"), _zips, (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"\1\x99\7\0\2\0AE")
    ),
    "seven": Target(
        _of_kind("7z", right_seven),
        _sevens,
        (b"\x21\x01", b"\x04\x01\x08", b"\x04\x02\x02", b"\x06\xf1\x07\x01", b"\x03\x03\x01\x03"),
    ),
    "nsis": Target(
        _of_kind("nsis"), _installers, (b"\xef\xbe\xad\xdeNullsoftInst", b"\x5d\0\0\1\0", b"1AY&SY")
    ),
    "tar": Target(_of_kind("tar", right_tar), _tars, (b"ustar\0", b"././@LongLink", b" path=")),
    "stream": Target(
        any_stream, _streams, (b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ", b"\x28\xb5/\xfd")
    ),
}
