"""A result in many files, each written where its records are made: `scan --engine ray --shards`.

The folder holds

    part-00000.ndjson ...   the records of some files of the walk each, in its order
    manifest.ndjson         a line for each part that is whole: its number, a digest of what is in
                            it (files with their stat, options, model), and counts
    summary.json            the summary of the whole scan, once all parts are whole

A part takes its name when it is whole, and its line comes after that: of a scan that is killed at
any moment, the parts that are listed are whole, and others are written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from maltriage.errors import MaltriageError
from maltriage.files.atomic import PartFile, part_pattern, remove_leftovers, write_file
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Failed, Result, Skipped, Summary, encode
from maltriage.report.formats import SCAN, RenderOptions, find, open_renderer
from maltriage.source.files import Found, Rejected

SHARD_FILES = 2048
SHARD_BYTES = 2 << 30
"""A part is full with this much: some ten seconds for an actor of four workers."""
FORMATS = tuple(format.name for format in SCAN.values() if format.shardable)
"""Formats of shards; the first is that of a result for which no other is named."""
MANIFEST, SUMMARY = "manifest.ndjson", "summary.json"
_WHOLE = rf"part-\d{{5,}}\.(?:{'|'.join(FORMATS)})"
_UNFINISHED = part_pattern(_WHOLE)
_NAME = re.compile(f"{_WHOLE}|{_UNFINISHED}")


@dataclass(frozen=True)
class Shards:
    """A result in parts. `folder` is the same on all nodes; `resume`: parts that are whole stay."""

    folder: str
    format: str = FORMATS[0]
    render: RenderOptions = field(default_factory=RenderOptions)
    resume: bool = False


@dataclass(frozen=True)
class Shard:
    """One part: its number and where it goes."""

    number: int
    path: str
    shards: Shards


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part that is whole."""

    part: int
    digest: str
    files: int
    flagged: int
    failed: int
    skipped: int
    known: int
    bytes: int


class _Stream:
    """A file whose writer asks for each line to be flushed, which takes its time elsewhere."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def write(self, data: bytes) -> int:
        return self._stream.write(data)

    def flush(self) -> None:
        pass


def write_shard(
    part: Shard,
    records: Iterable[Result | Skipped | Failed],
    summary: Callable[[Counts], Summary],
    whole: Callable[[], bool] = lambda: True,
) -> Counts | None:
    """Write records as a part.

    Args:
        summary: of the part, which ends it as it ends any result.
        whole: asked after the last record: whether these are all there should be.

    Returns:
        How many there are of each kind; None where they are not all there should be.

    Raises:
        MaltriageError: it cannot be written.
    """
    from rich.console import Console

    counts, path = Counts(), Path(part.path)
    file = None
    try:
        file = PartFile(path)
        stream = cast(BinaryIO, _Stream(file.stream))
        shards = part.shards
        format, console = find(shards.format), Console(quiet=True)
        renderer = open_renderer(format, stream, shards.render, console)
        for record in records:
            renderer.write(record)
            counts.add(record)
        if not whole():
            return None
        renderer.finish(summary(counts))
        file.commit(sync=True)
    except OSError as error:
        raise MaltriageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if file is not None:
            file.discard()
    return counts


def digest_of(settings: bytes, shards: Shards, files: Sequence[Found | Rejected]) -> str:
    """Digest of what is in a part: which files, as they are now, and what is made of them."""
    digest = hashlib.blake2b(settings, digest_size=16)
    digest.update(repr((shards.format, shards.render)).encode())
    for file in files:
        text = (
            f"{file.size} {file.modified_ns} {file.changed_ns}"
            if isinstance(file, Found)
            else file.code
        )
        digest.update(os.fsencode(file.path) + b"\0" + text.encode() + b"\0")
    return digest.hexdigest()


class Manifest:
    """Which parts are whole. Use as a context manager.

    Raises:
        MaltriageError: the folder cannot be written, or has parts in it that are not to be gone
            on with, or it is damaged.
    """

    def __init__(self, shards: Shards) -> None:
        self.shards, self._folder = shards, Path(shards.folder)
        self._lines: dict[int, Line] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            names = os.listdir(self._folder)
            if not shards.resume and any(
                name == MANIFEST or _NAME.fullmatch(name) for name in names
            ):
                raise MaltriageError(
                    f"{self._folder}: parts of a result are in it; --resume goes on with them"
                )
            self._read()
            self._file = (self._folder / MANIFEST).open("ab")
        except OSError as error:
            raise self._failed(error) from error

    def _read(self) -> None:
        path = self._folder / MANIFEST
        if not path.exists():
            return
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        for text in data[:end].splitlines():
            try:
                line = msgspec.json.decode(text, type=Line)
            except msgspec.MsgspecError as error:
                raise MaltriageError(f"{path}: no manifest of parts: {error}") from error
            self._lines[line.part] = line
        if end < len(data):
            os.truncate(path, end)  # of who was killed while it was written

    def part(self, number: int) -> Shard:
        name = f"part-{number:05}.{self.shards.format}"
        return Shard(number, str(self._folder / name), self.shards)

    def counts(self, number: int, digest: str) -> Counts | None:
        """What is in a part that is whole; None: it is not.

        Raises:
            MaltriageError: there is another part of this number.
        """
        line = self._lines.get(number)
        if line is None or not Path(self.part(number).path).exists():
            return None
        if line.digest != digest:
            raise MaltriageError(
                f"{self._folder}: part {number} is of other files, or of other options or another"
                " model: take another folder, or take this one away"
            )
        return Counts(line.files, line.flagged, line.failed, line.skipped, line.known, line.bytes)

    def add(self, number: int, digest: str, counts: Counts) -> None:
        """A part is whole."""
        line = Line(
            number,
            digest,
            counts.files,
            counts.flagged,
            counts.failed,
            counts.skipped,
            counts.known,
            counts.bytes,
        )
        try:
            self._file.write(encode(line) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def end(self, summary: Summary) -> None:
        """All parts are whole."""
        path = self._folder / SUMMARY
        try:
            write_file(path, encode(summary) + b"\n")
        except OSError as error:
            raise self._failed(error) from error
        remove_leftovers(self._folder, _UNFINISHED, 0)  # of actors that were killed

    def _failed(self, error: OSError) -> MaltriageError:
        return MaltriageError(f"cannot write {self._folder}: {error.strerror or error}")

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def outside(folder: str, roots: Iterable[str]) -> None:
    """Raise MaltriageError where a folder of parts lies in what is walked, as a sample would."""
    own = os.path.realpath(folder)
    for root in roots:
        if os.path.isdir(root):
            with contextlib.suppress(ValueError):  # another drive
                if os.path.commonpath([own, os.path.realpath(root)]) == os.path.realpath(root):
                    raise MaltriageError(f"{folder}: it lies in {root}, which is scanned")
