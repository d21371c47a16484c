"""Reads compressed streams, which hold one file: gzip, bzip2, xz and Zstandard, forward only."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from typing import Any, BinaryIO, Literal

from maltriage.source.archive.entries import Opening

Stream = Literal["gz", "bz2", "xz", "zst"]
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


class Unpacked(io.RawIOBase):
    """A stream's unpacked bytes, charged to the budget as read. Rewinds with `begin(file)`."""

    def __init__(self, opening: Opening, kind: Stream) -> None:
        self._budget = opening.budget
        opening.file.seek(0)
        self._source: Any = (
            gzip.GzipFile(fileobj=opening.file) if kind == "gz" else _Decoded(opening.file, kind)
        )

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
                rest = rest.lstrip(b"\0") if self._kind == "xz" else rest  # stream padding
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


def inner_name(opening: Opening, kind: Stream) -> str | bytes:
    """Name of the file in a stream: from the gzip header, or the stream's own less its ending."""
    if kind == "gz":
        opening.file.seek(0)
        head = opening.file.read(1024)
        if len(head) > 10 and head[3] & _FNAME and not head[3] & _FEXTRA:
            noted, end, _ = head[10:].partition(b"\0")
            if noted and end:
                return noted
    for suffix in _SUFFIXES[kind]:
        if opening.name.lower().endswith(suffix) and len(opening.name) > len(suffix):
            return opening.name[: -len(suffix)]
    return opening.name
