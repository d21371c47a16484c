"""Kinds of archives: one object a kind, and one registry.

A new kind is a file in this folder with a function `entries(opening)` and a line in `KINDS`, which
help and messages read. The file is imported once such an archive is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from maltriage.source.archive import by_libarchive
from maltriage.source.archive.closed import VOLUME, At, like_lzh
from maltriage.source.archive.entries import HEAD_BYTES, Entry, Opening


@dataclass(frozen=True)
class Kind:
    """A kind of archive."""

    name: str
    module: str
    """In this folder, with the function `entries`."""
    magics: tuple[bytes, ...] = ()
    """What its files begin with, one of them."""
    begins: Callable[[bytes], bool] | None = None
    """Whether the first `HEAD_BYTES` bytes are those of one; None: the magics are enough."""
    offset: int = 0
    """Place of the magics in the file."""

    @property
    def by_libarchive(self) -> bool:
        """Whether it is read only where libarchive is installed."""
        return self.module == "by_libarchive"

    def is_of(self, head: bytes, at: At) -> bool:
        """Whether a file that begins with `head` is of this kind."""
        found = at(self.offset, MAGIC) if self.offset else head
        return found.startswith(self.magics) or (self.begins is not None and self.begins(head))


def _begins_like_bzip2(head: bytes) -> bool:
    """A digit, and a block or the end of an empty file."""
    return head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90")


def _begins_like_tar(head: bytes) -> bool:
    if len(head) < HEAD_BYTES:
        return False
    from maltriage.source.archive.tars import begins_like_tar

    return begins_like_tar(head[:HEAD_BYTES])


MAGIC = 8
"""Bytes of a magic, or more."""
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04", b"PK00PK\x03\x04")
"""Of a file, of an archive without files, and of one that was, or might have been, of several parts
(APPNOTE 8.5.3 and 8.5.4)."""
_SKIPPABLE = tuple(bytes((0x50 + n, 0x2A, 0x4D, 0x18)) for n in range(16))
"""Frames that a reader of Zstandard passes by (RFC 8878, section 3.1.2)."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("zip", "zips", _ZIPS),
        Kind("7z", "sevens", (b"7z\xbc\xaf\x27\x1c",)),
        Kind("tar", "tars", begins=_begins_like_tar),
        Kind("gz", "streams", (b"\x1f\x8b\x08",)),
        Kind("bz2", "streams", begins=_begins_like_bzip2),
        Kind("xz", "streams", (b"\xfd7zXZ\x00",)),
        Kind("zst", "streams", (b"\x28\xb5\x2f\xfd", *_SKIPPABLE)),
        Kind("nsis", "nsis", (b"\xef\xbe\xad\xdeNull",), offset=4),
        Kind("rar", "by_libarchive", (b"Rar!\x1a\x07",)),
        Kind("cab", "by_libarchive", (b"MSCF\0\0\0\0",)),
        Kind("iso", "by_libarchive", (b"CD001",), offset=VOLUME + 1),
        Kind("lzh", "by_libarchive", begins=like_lzh),
    )
}
"""By name, in the order that help has them; the first that a file begins like is its kind."""


def archive_kind(at: At) -> str | None:
    """The kind of archive that a file is; None: it is none, or of a kind that needs libarchive
    where that is not installed.

    A file that begins like a PE file is none, whatever else it looks like.

    Args:
        at: the bytes of the file from an offset on, at most so many; fewer where it ends.
    """
    head = at(0, HEAD_BYTES)
    if head[:2] == b"MZ":
        return None
    for kind in KINDS.values():
        if kind.is_of(head, at) and not (kind.by_libarchive and by_libarchive.library() is None):
            return kind.name
    return None


def kind_of(file: BinaryIO) -> str | None:
    """See `archive_kind`; the file is at its start afterwards."""

    def at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    kind = archive_kind(at)
    file.seek(0)
    return kind


def kind_of_bytes(data: bytes) -> str | None:
    """See `archive_kind`; of a file's first bytes where no more are known."""
    return archive_kind(lambda offset, size: data[offset : offset + size])


def entries(opening: Opening) -> Iterator[Entry]:
    """The files in an archive; folders are none, links and devices are not wanted.

    Raises:
        LimitError: a cap was hit.
        SampleError: no password opens it.
        Exception: it is damaged.
    """
    module = importlib.import_module(f"maltriage.source.archive.{KINDS[opening.kind].module}")
    found: Iterator[Entry] = module.entries(opening)
    return found
