"""Sharded results, each shard written where its records are made: `scan --engine ray --shards`.

The folder holds

    part-00000.ndjson ...   shards: the records of consecutive files of the walk
    manifest.ndjson         a line for each finished shard: its number, a digest of its inputs
                            (files with their stat, options, model), and counts
    summary.json            the summary of the whole scan, once all shards are finished

A shard takes its name when it is finished, and is listed after that: if a scan is killed at any
moment, the listed shards are complete, and the others are written again. So are those with files
that another try may read, and those that have no longer the size that was listed. The last line of
a shard counts; the manifest is written anew, with one line each, before the summary.
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

from maltriage.cluster.changes import first_change
from maltriage.errors import MaltriageError, cannot_write
from maltriage.files.atomic import PartFile, part_pattern, remove_leftovers, write_file
from maltriage.files.decoding import decoded
from maltriage.files.hold import hold
from maltriage.logs import logger
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Failed, FileRecord, Summary, encode
from maltriage.report.formats import SCAN, RenderOptions, find, open_renderer
from maltriage.report.numbers import LONG_UNITS, count, size
from maltriage.source.files import Found, Rejected

SHARD_FILES = 2048
SHARD_BYTES = 2 << 30
"""Bytes of a full shard: about ten seconds for an actor of four workers."""
FORMATS = tuple(format.name for format in SCAN.values() if format.shardable)
"""Formats of shards, the default one first."""
MANIFEST, SUMMARY = "manifest.ndjson", "summary.json"
MENDABLE = frozenset(("not-found", "unreadable", "io", "changed"))
"""Codes of files that failed by where they are, not by what they are: another try may read them."""
_WHOLE = rf"part-\d{{5,}}\.(?:{'|'.join(FORMATS)})"
_UNFINISHED = part_pattern(_WHOLE)
_NAME = re.compile(f"{_WHOLE}|{_UNFINISHED}")
_log = logger(__name__)


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


@dataclass
class Written(Counts):
    """The counts of a shard that was written, its bytes, and how many of its files another try may
    read."""

    size: int = 0
    mendable: int = 0


@dataclass(frozen=True)
class Inputs:
    """What a shard is made of: its files, and digests of them and of the settings."""

    digest: str
    settings: str
    files: Sequence[Found | Rejected]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finished shard. None: of an earlier version, which did not know."""

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
    size: int | None = None
    mendable: int | None = None
    settings: str | None = None


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
) -> Written | None:
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

    counts, path = Written(), Path(part.path)
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
            counts.mendable += isinstance(record, Failed) and record.code in MENDABLE
        if not whole():
            return None
        renderer.finish(summary(counts))
        file.commit(sync=True)
        counts.size = path.stat().st_size
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if file is not None:
            file.discard()
    return counts


def inputs_of(settings: bytes, shards: Shards, files: Sequence[Found | Rejected]) -> Inputs:
    """A shard's inputs: its files, as they are now, and the settings."""
    made, render = hashlib.blake2b(settings, digest_size=16), shards.render
    shown = RenderOptions(fields=render.fields, ecs=render.ecs, host=render.host)  # of a file
    made.update(repr((shards.format, shown)).encode())
    digest = made.copy()
    for file in files:
        text = (
            f"{file.size} {file.modified_ns} {file.changed_ns}"
            if isinstance(file, Found)
            else file.code
        )
        digest.update(os.fsencode(file.path) + b"\0" + text.encode() + b"\0")
    return Inputs(digest.hexdigest(), made.hexdigest(), files)


class Manifest:
    """The list of finished shards, which one scan holds at a time. Use as a context manager.

    Raises:
        MaltriageError: the folder cannot be written, another scan writes there, it has shards that
            must not be continued, or is damaged.
    """

    def __init__(self, shards: Shards) -> None:
        self.shards, self._folder = shards, Path(shards.folder)
        self._lines: dict[int, Line] = {}
        self._read_lines = 0
        """Lines of the manifest, several of a shard included."""
        self._whole: set[int] = set()
        """Shards of this scan that are finished."""
        self._damaged = self._mended = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not shards.resume and any(
                name == MANIFEST or _NAME.fullmatch(name) for name in os.listdir(self._folder)
            ):
                raise self._has_shards()
            self._file = (self._folder / MANIFEST).open("ab")
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        try:
            self._hold()
            self._read()
            if self._lines and not shards.resume:  # of a scan that began and ended meanwhile
                raise self._has_shards()
        except OSError as error:
            self._file.close()
            raise cannot_write(self._folder, error) from error
        except MaltriageError:
            self._file.close()
            raise

    def _has_shards(self) -> MaltriageError:
        return MaltriageError(f"{self._folder} has shards of a result; --resume continues them")

    def _hold(self) -> None:
        try:
            hold(self._file.fileno())
        except BlockingIOError as error:
            raise MaltriageError(
                f"{self._folder}: another scan writes shards there; wait for its end, or name"
                " another folder"
            ) from error
        except OSError as error:
            _log.warning("%s: its file system knows no locks: %s", self._folder, error.strerror)

    def _read(self) -> None:
        path = self._folder / MANIFEST
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        for text in data[:end].splitlines():
            try:
                line = decoded(text, msgspec.json.Decoder(Line))
            except msgspec.MsgspecError as error:
                raise MaltriageError(f"{path}: not a manifest of shards: {error}") from error
            self._lines[line.part] = line
            self._read_lines += 1
        if end < len(data):
            os.truncate(path, end)  # a line cut off when its writer was killed

    def part(self, number: int) -> Shard:
        name = f"part-{number:05}.{self.shards.format}"
        return Shard(number, str(self._folder / name), self.shards)

    def counts(self, number: int, inputs: Inputs) -> Counts | None:
        """The counts of a finished shard; None: it is not finished, or is to be written again.

        Raises:
            MaltriageError: the shard of this number has other inputs.
        """
        line, path = self._lines.get(number), Path(self.part(number).path)
        try:
            there = path.stat().st_size
        except OSError:
            return None
        if line is None:
            return None
        if line.digest != inputs.digest:
            raise MaltriageError(f"{self._folder}: {self._other(line, inputs)}")
        if line.size is not None and line.size != there:
            _log.warning("%s: %d bytes, and %d were written", path, there, line.size)
            self._damaged += 1
            return None
        if line.failed if line.mendable is None else line.mendable:
            self._mended += 1
            return None
        self._whole.add(number)
        return Counts.of(line)

    def _other(self, line: Line, inputs: Inputs) -> str:
        """How the inputs of a shard differ, and what to do."""
        shard = f"shard {line.part}"
        if line.settings is not None and line.settings != inputs.settings:
            return f"{shard} is of other options or another model: name another folder"
        path = Path(self.part(line.part).path)
        found = first_change(path, inputs.files)
        if found is None:
            what = "files" if line.settings is not None else "files, options or another model"
            return f"{shard} is of other {what}: name another folder, or remove this one"
        before = "; the shards before it stay" if line.part else ""
        behind = " and those behind it" if found.moves else ""
        return (
            f"{shard} is of other files: {found.text}{before}: name another folder, or remove"
            f" {path.name}{behind}, and --resume writes what is missing"
        )

    def check_end(self, count: int) -> None:
        """Look whether shards are left of files that are gone: the walk gives only so many.

        Raises:
            MaltriageError: there are some. A result of fewer files would seem to have them.
        """
        names = filter(re.compile(_WHOLE).fullmatch, os.listdir(self._folder))
        there = {int(name[len("part-") :].partition(".")[0]) for name in names}
        if beyond := sorted(number for number in there if number >= count):
            raise MaltriageError(
                f"{self._folder}: shard {beyond[0]} is of files that are no longer there: name"
                f" another folder, or remove {Path(self.part(beyond[0]).path).name} and those"
                " behind it"
            )

    def add(self, number: int, inputs: Inputs, written: Written) -> None:
        """List a finished shard."""
        rejected = sum(
            isinstance(file, Rejected) and file.failed and file.code in MENDABLE
            for file in inputs.files
        )  # by the walk: were it to find them, they would be other files
        line = Line(
            number,
            inputs.digest,
            **written.values(),
            size=written.size,
            mendable=max(0, written.mendable - rejected),
            settings=inputs.settings,
        )
        try:
            self._file.write(encode(line) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._lines[number] = line
        self._read_lines += 1
        self._whole.add(number)

    def end(self, summary: Summary) -> None:
        """Write the summary, once all shards are finished."""
        try:
            if self._read_lines > len(self._whole):
                lines = [encode(self._lines[number]) for number in sorted(self._whole)]
                write_file(self._folder / MANIFEST, b"".join(line + b"\n" for line in lines))
            write_file(self._folder / SUMMARY, encode(summary) + b"\n")
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        remove_leftovers(self._folder, _UNFINISHED, 0)  # of actors that were killed

    def notes(self) -> list[str]:
        """What a user has to know of the shards, a line each."""
        notes = []
        if self._damaged:
            shards = count(self._damaged, "shard")
            notes.append(f"{shards} had another size than was written, and went to nodes again")
        if self._mended:
            shards = count(self._mended, "shard")
            notes.append(f"{shards} had files that could not be read, and went to nodes again")
        left = sum(self._lines[number].mendable or 0 for number in self._whole)
        if left:
            where = "where it is" if left == 1 else "where they are"
            notes.append(
                f"{count(left, 'file')} could not be read {where}: --resume reads such shards again"
            )
        return notes

    def told(self, records: int) -> str:
        """`out (ndjson, 14 shards, 800 records, 3.1 MiB)`, not cleaned."""
        sizes = [self._lines[number].size for number in self._whole]
        said = [self.shards.format, count(len(sizes), "shard"), count(records, "record")]
        if None not in sizes:
            said.append(size(sum(filter(None, sizes)), LONG_UNITS))
        return f"{self._folder} ({', '.join(said)})"

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
