"""Names the first file of a shard that is another than when the shard was written.

The manifest has one digest for all files of a shard; their names and sizes are in its records. Only
NDJSON with whole records is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from maltriage.files.decoding import decoded
from maltriage.report.documents.record import path_fields
from maltriage.source.archive.names import SEPARATOR
from maltriage.source.files import Found, Rejected


@dataclass(frozen=True)
class Change:
    """What became of a file; `moves`: whether all files behind it are in other places now."""

    text: str
    moves: bool


class _Told(msgspec.Struct):
    """What is read of a record."""

    type: str
    path: str = ""
    size: int | None = None


def first_change(shard: Path, files: Sequence[Found | Rejected]) -> Change | None:
    """The first change among the files of a finished shard.

    Args:
        files: that it would be written of now.

    Returns:
        None: the shard does not say.
    """
    try:
        written = shard.stat().st_mtime_ns
        told = list(_records(shard))
    except (OSError, msgspec.MsgspecError):
        return None
    if not told or not all(record.path for record in told):
        return None
    at = 0
    for file in files:
        path, _ = path_fields(file.path)
        begin = at
        while at < len(told) and _is_of(told[at].path, path):
            at += 1
        if at == begin:
            if at < len(told) and any(_is_of(record.path, path) for record in told[at:]):
                return Change(f"{told[at].path} is gone", True)
            return Change(f"{path} is new", True)
        if isinstance(file, Found) and _changed(file, told[begin:at], path, written):
            return Change(f"{path} has changed", False)
    return Change(f"{told[at].path} is gone", True) if at < len(told) else None


def _records(shard: Path) -> Iterator[_Told]:
    decoder = msgspec.json.Decoder(_Told)
    with shard.open("rb") as lines:
        for line in lines:
            record = decoded(line, decoder)
            if record.type != "summary":
                yield record


def _is_of(record: str, path: str) -> bool:
    """Whether a record is of a file, or of one in it."""
    return record == path or record.startswith(path + SEPARATOR)


def _changed(file: Found, told: Sequence[_Told], path: str, written: int) -> bool:
    sizes = [record.size for record in told if record.path == path and record.size is not None]
    return file.changed_ns > written or bool(sizes and sizes[0] != file.size)
