"""Finds the kind of an archive by its first bytes, and the reader of that kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maltriage.source.archive.entries import HEAD_BYTES, Entry, Opening

Kind = Literal["zip", "7z", "tar", "gz", "bz2", "xz", "zst"]
_MAGICS: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an archive without files
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x1f\x8b\x08", "gz"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
"""The bytes after `BZh` and a digit: a block, or the end of an empty file."""


def archive_kind(head: bytes) -> Kind | None:
    """The kind of archive that begins with these `HEAD_BYTES` bytes; None: it is no archive.

    A file that begins like a PE file is none, whatever else it looks like.
    """
    if head[:2] == b"MZ":
        return None
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    if head[:3] == b"BZh" and head[4:10] in _BZIP2_BLOCKS:
        return "bz2"
    if len(head) < HEAD_BYTES:
        return None
    from maltriage.source.archive.tars import begins_like_tar

    return "tar" if begins_like_tar(head[:HEAD_BYTES]) else None


def entries(kind: Kind, opening: Opening) -> Iterator[Entry]:
    """The files in an archive, without folders; links and devices are never wanted.

    Raises:
        LimitError: a cap was hit.
        SampleError: no password opens it.
        Exception: it is damaged.
    """
    if kind == "zip":
        from maltriage.source.archive import zips

        return zips.entries(opening)
    if kind == "7z":
        from maltriage.source.archive import sevens

        return sevens.entries(opening)
    from maltriage.source.archive import tars

    return tars.tar_entries(opening) if kind == "tar" else tars.stream_entries(opening, kind)
