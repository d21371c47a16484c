"""Compressed streams, of a tar archive or of one other file: gzip, bzip2, xz and Zstandard, read
forward."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from maltriage.source.archive.entries import HEAD_BYTES, Entry, Names, Opening
from maltriage.source.archive.tars import begins_like_tar, tar_entries

MAX_DICTIONARY = 256 * 1024 * 1024
"""Most memory in bytes of an xz stream's decoder; `xz -9` takes 65 MiB."""
_PIECE = 64 * 1024
_SUFFIXES: dict[str, tuple[str, ...]] = {
    "gz": (".gz", ".gzip"),
    "bz2": (".bz2",),
    "xz": (".xz",),
    "zst": (".zst", ".zstd"),
}
_FNAME, _FEXTRA = 0x08, 0x04


def entries(opening: Opening) -> Iterator[Entry]:
    """The files of a compressed tar archive, or the one file that was compressed.

    Raises:
        LimitError: a cap was hit.
        Exception: it is damaged.
    """
    opening.budget.counting = opening.paid == 0
    head = _Unpacked(opening).read(HEAD_BYTES)
    if begins_like_tar(head):
        yield from tar_entries(opening, _Unpacked(opening), "r|")
        return
    if opening.start == 0:
        name = Names()(_inner_name(opening))
        opening.begin(0)
        yield opening.read(0, name, _Unpacked(opening).read)


class _Unpacked(io.RawIOBase):
    """What a stream unpacks to, charged to the budget as it is read. Begins the file anew."""

    def __init__(self, opening: Opening) -> None:
        self._budget, file = opening.budget, opening.file
        file.seek(0)
        gzipped = opening.kind == "gz"
        self._source: Any = gzip.GzipFile(fileobj=file) if gzipped else _Decoded(file, opening.kind)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        pieces, left = [], sys.maxsize if size < 0 else size
        while left > 0 and (piece := self._source.read(min(left, _PIECE))):
            self._budget.spend(len(piece))
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


class _Decoded:
    """Concatenated streams, decoded as the command-line tools do."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        self._file, self._kind = file, kind
        self._decoder = self._new()
        self._held = b""
        self._begun = False

    def _new(self) -> Any:
        if self._kind == "bz2":
            return bz2.BZ2Decompressor()
        if self._kind == "xz":
            return lzma.LZMADecompressor(memlimit=MAX_DICTIONARY)
        if sys.version_info >= (3, 14):
            from compression.zstd import ZstdDecompressor
        else:
            from backports.zstd import ZstdDecompressor
        return ZstdDecompressor()

    def read(self, size: int) -> bytes:
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data or self._file.read(_PIECE)
                if self._kind == "xz":
                    while rest and not rest.strip(b"\0"):  # padding between streams
                        rest = self._file.read(_PIECE)
                    rest = rest.lstrip(b"\0")
                if not rest:
                    return b""
                self._decoder, self._held = self._new(), rest
            if not self._held and self._decoder.needs_input:
                self._held = self._file.read(_PIECE)
                if not self._held:
                    raise EOFError("it ends in the middle of a stream")
            data: bytes = self._decoder.decompress(self._held, size)
            self._held = b""
            if data:
                return data


def _inner_name(opening: Opening) -> str | bytes:
    """The name of the file in a stream: what gzip noted, or the stream's own less its ending."""
    if opening.kind == "gz":
        opening.file.seek(0)
        head = opening.file.read(1024)
        if len(head) > 10 and head[3] & _FNAME and not head[3] & _FEXTRA:
            noted, end, _ = head[10:].partition(b"\0")
            if noted and end:
                return noted
    for suffix in _SUFFIXES[opening.kind]:
        if opening.name.lower().endswith(suffix) and len(opening.name) > len(suffix):
            return opening.name[: -len(suffix)]
    return opening.name
