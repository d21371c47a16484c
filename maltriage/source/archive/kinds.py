"""Kinds of archives: one object a kind, and one registry.

A new kind is a file in this folder with a function `entries(opening)` and a line in `KINDS`, which
help and messages read. The file is imported once such an archive is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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


def _begins_like_bzip2(head: bytes) -> bool:
    """A digit, and a block or the end of an empty file."""
    return head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90")


def _begins_like_tar(head: bytes) -> bool:
    if len(head) < HEAD_BYTES:
        return False
    from maltriage.source.archive.tars import begins_like_tar

    return begins_like_tar(head[:HEAD_BYTES])


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
    )
}
"""By name, in the order that help has them; the first that a file begins like is its kind."""


def archive_kind(head: bytes) -> str | None:
    """The kind of archive that a file with these first `HEAD_BYTES` bytes is; None: it is none.

    A file that begins like a PE file is none, whatever else it looks like.
    """
    if head[:2] == b"MZ":
        return None
    for kind in KINDS.values():
        if head.startswith(kind.magics) or (kind.begins is not None and kind.begins(head)):
            return kind.name
    return None


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
