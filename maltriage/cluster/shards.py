"""Sharded results, each shard written where its records are made: `scan --engine ray --shards`.

The folder holds

    part-00000.ndjson ...   shards: the records of consecutive files of the walk
    manifest.ndjson         a line for each finished shard: its number, a digest of its inputs
                            (files with their stat, options, model), and counts
    summary.json            the summary of the whole scan, once all shards are finished

A shard takes its name when it is finished, and is listed after that: if a scan is killed at any
moment, the listed shards are complete, and the others are written again.
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

from maltriage.errors import MaltriageError, cannot_write
from maltriage.files.atomic import PartFile, part_pattern, remove_leftovers, write_file
from maltriage.files.decoding import decoded
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import FileRecord, Summary, encode
from maltriage.report.formats import SCAN, RenderOptions, find, open_renderer
from maltriage.source.files import Found, Rejected

SHARD_FILES = 2048
SHARD_BYTES = 2 << 30
"""Bytes of a full shard: about ten seconds for an actor of four workers."""
FORMATS = tuple(format.name for format in SCAN.values() if format.shardable)
"""Formats of shards, the default one first."""
MANIFEST, SUMMARY = "manifest.ndjson", "summary.json"
_WHOLE = rf"part-\d{{5,}}\.(?:{'|'.join(FORMATS)})"
_UNFINISHED = part_pattern(_WHOLE)
_NAME = re.compile(f"{_WHOLE}|{_UNFINISHED}")


@dataclass(frozen=True)
class Shards:
    """A sharded result. `folder` is the same on all nodes; `resume`: keep finished shards."""

    folder: str
    format: str = FORMATS[0]
    render: RenderOptions = field(default_factory=RenderOptions)
    resume: bool = False


@dataclass(frozen=True)
class Shard:
    """One shard: its number and path."""

    number: int
    path: str
    shards: Shards


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finished shard."""

    part: int
    digest: str
    files: int
    flagged: int
    failed: int
    skipped: int
    known: int
    bytes: int
    clean: int
    unknown: int
    unjudged: int
    families: dict[str, int]
    skipped_by: dict[str, int]
    known_malware: int = 0


class _Stream:
    """A file that ignores its writer's flush after each line, which is slow elsewhere."""

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
    records: Iterable[FileRecord],
    summary: Callable[[Counts], Summary],
    whole: Callable[[], bool] = lambda: True,
) -> Counts | None:
    """Write records as a shard.

    Args:
        summary: makes the shard's summary, its last line.
        whole: called after the last record: whether the records are complete.

    Returns:
        The count of each kind; None where the records are not complete.

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
        raise cannot_write(path, error) from error
    finally:
        if file is not None:
            file.discard()
    return counts


def digest_of(settings: bytes, shards: Shards, files: Sequence[Found | Rejected]) -> str:
    """Digest of a shard's inputs: its files, as they are now, and the settings."""
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
    """The list of finished shards. Use as a context manager.

    Raises:
        MaltriageError: the folder cannot be written, has shards that must not be continued, or is
            damaged.
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
                    f"{self._folder} has shards of a result; --resume continues them"
                )
            self._read()
            self._file = (self._folder / MANIFEST).open("ab")
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def _read(self) -> None:
        path = self._folder / MANIFEST
        if not path.exists():
            return
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        for text in data[:end].splitlines():
            try:
                line = decoded(text, msgspec.json.Decoder(Line))
            except msgspec.MsgspecError as error:
                raise MaltriageError(f"{path}: not a manifest of shards: {error}") from error
            self._lines[line.part] = line
        if end < len(data):
            os.truncate(path, end)  # a line cut off when its writer was killed

    def part(self, number: int) -> Shard:
        name = f"part-{number:05}.{self.shards.format}"
        return Shard(number, str(self._folder / name), self.shards)

    def counts(self, number: int, digest: str) -> Counts | None:
        """The counts of a finished shard; None: it is not finished.

        Raises:
            MaltriageError: the shard of this number has other inputs.
        """
        line = self._lines.get(number)
        if line is None or not Path(self.part(number).path).exists():
            return None
        if line.digest != digest:
            raise MaltriageError(
                f"{self._folder}: shard {number} is of other files, options or another model: name"
                " another folder, or remove this one"
            )
        return Counts.of(line)

    def check_end(self, count: int) -> None:
        """Look whether shards are left of files that are gone: the walk gives only so many.

        Raises:
            MaltriageError: there are some. A result of fewer files would seem to have them.
        """
        names = filter(re.compile(_WHOLE).fullmatch, os.listdir(self._folder))
        there = {*self._lines, *(int(name[len("part-") :].partition(".")[0]) for name in names)}
        if beyond := sorted(number for number in there if number >= count):
            raise MaltriageError(
                f"{self._folder}: shard {beyond[0]} is of files that are no longer there: name"
                " another folder, or remove this one"
            )

    def add(self, number: int, digest: str, counts: Counts) -> None:
        """List a finished shard."""
        line = Line(number, digest, **counts.values())
        try:
            self._file.write(encode(line) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def end(self, summary: Summary) -> None:
        """Write the summary, once all shards are finished."""
        path = self._folder / SUMMARY
        try:
            write_file(path, encode(summary) + b"\n")
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        remove_leftovers(self._folder, _UNFINISHED, 0)  # of actors that were killed

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def outside(folder: str, roots: Iterable[str]) -> None:
    """Raise MaltriageError for a folder of shards inside a scanned folder, as a sample would be."""
    own = os.path.realpath(folder)
    for root in roots:
        if os.path.isdir(root):
            with contextlib.suppress(ValueError):  # another drive
                if os.path.commonpath([own, os.path.realpath(root)]) == os.path.realpath(root):
                    raise MaltriageError(f"{folder}: it lies in {root}, which is scanned")
