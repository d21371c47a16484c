"""Prepares the samples of one file on disk: itself, or those in an archive. Runs in workers."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from maltriage.probe.prepare import (
    Again,
    Finish,
    Prepared,
    PrepareOptions,
    Same,
    prepare_contents,
    prepare_file,
)
from maltriage.sample.errors import SampleError
from maltriage.source.archive.closed import may_be_closed
from maltriage.source.archive.find import split_path
from maltriage.source.archive.kinds import kind_of
from maltriage.source.archive.walk import MAX_SEEN, Cursor, Ends, Member, Trouble, Walk
from maltriage.source.carve import carve, carved_path
from maltriage.source.decode import Contents, parse_contents, sniff, too_large
from maltriage.source.files import Rejected
from maltriage.source.samples import is_inside, opened, read_opened
from maltriage.source.self_extracting import packed, packed_path
from maltriage.source.upx.packed import packed_by_upx, unpacked_path
from maltriage.source.upx.unpack import unpack

MAX_CHUNK_BYTES = 128 * 1024 * 1024
"""Bytes unpacked for a chunk; the file that exceeds them is its last."""
NEITHER = "neither a PE file nor a byteplot PNG nor a hex dump"
SAMPLES = "a PE file, a byteplot PNG or a hex dump"
NO_SAMPLE = frozenset(("not-pe", "not-byteplot", "empty"))
"""Codes of files that are no samples: those of an archive are counted together."""


REPEATS = 64
"""Repeated files of a chunk for each sample that it may have: they cost a hash."""
_ENDS = 256
"""First and last bytes of a file that are compared before it is hashed."""

MAX_ARCHIVES = 16
"""Archives opened in one program, or what looks like one."""
_TOO_MANY = SampleError(
    "carve-limit", f"archives in it after the first {MAX_ARCHIVES} are not looked into"
)
_TOO_MUCH = SampleError(
    "carve-limit",
    f"archives in a program that unpack to more than {MAX_CHUNK_BYTES >> 20} MiB: the rest is left"
    " out, unless it is unpacked and scanned by itself",
)
"""What is left of the archives in a program, which are read in one go."""

Item = Prepared | Same | Again | Rejected


@dataclass(frozen=True)
class Chunk:
    """Samples of an archive, and its rejected files, in the archive's order.

    `cursor` is the start of the next chunk; None: this was the last one.
    """

    items: list[Item]
    cursor: Cursor | None


@dataclass(frozen=True)
class ChunkOptions:
    """Size of a chunk: at most `samples`, and none begun after `seconds`; with `step`, one file of
    an archive, sample or not."""

    samples: int
    seconds: float
    step: bool = False


def is_archive(path: str) -> bool:
    """Whether a file is an archive by its first bytes.

    Raises:
        SampleError: it cannot be read.
    """
    with opened(split_path(path)[0]) as (file, _):
        return kind_of(file) is not None


def prepare_members(
    path: str,
    options: PrepareOptions,
    chunk: ChunkOptions,
    cursor: Cursor | None = None,
    finish: Finish = prepare_contents,
) -> Prepared | Same | Chunk:
    """Prepare one file; of an archive, its next samples.

    Args:
        cursor: the end of the last chunk; None: the archive's start.
        finish: called with each sample.

    Raises:
        SampleError: the file gives no sample, or the archive cannot be opened; see `read_sample`.
    """
    archives = options.archives
    if archives is None or is_inside(path):
        return prepare_file(path, options, finish)
    start = time.perf_counter()
    outer, inner = split_path(path)
    with opened(outer, options.max_size) as (file, size):
        kind = kind_of(file)
        if kind is not None:
            if size > options.max_size:
                raise SampleError("too-large", too_large(size, options.max_size))
            only = path if inner is not None else None
            size_limit, begun = options.max_size, cursor or Cursor()
            walk = Walk(file, outer, size, archives, size_limit, _may_be_sample, only, begun)
            return _read_chunk(path, walk, kind, options, chunk, finish)
        contents = read_opened(path, outer, file, size, options)
    made = finish(path, contents, options, start)
    carved = [*_carved(path, contents, options, finish)]
    return Chunk([made, *carved], None) if carved else made


def _read_chunk(
    path: str,
    walk: Walk,
    kind: str,
    options: PrepareOptions,
    chunk: ChunkOptions,
    finish: Finish,
) -> Chunk:
    items: list[Item] = []
    began, paid = time.monotonic(), walk.unpacked
    prepared = repeated = 0
    seen = _Seen(walk.seen, carved=options.archives is not None and options.archives.carve > 0)
    for item in walk.items(kind):
        if isinstance(item, Trouble):
            items.append(Rejected.of(item.path, item.error))
        elif isinstance(item, Member):
            try:
                again = seen.again(item)
                made = again or _prepared(item, options, finish)
                items += made
                repeated += len(again)
                prepared += len(made) - len(again)
                if not again:
                    seen.add(item, made)
            except SampleError as error:
                if error.code in NO_SAMPLE:
                    walk.no_sample()
                else:
                    items.append(Rejected.of(item.path, error))
        full = (
            chunk.step
            or prepared >= chunk.samples
            or len(items) - repeated >= 2 * chunk.samples
            or repeated >= REPEATS * chunk.samples
            or walk.unpacked - paid >= MAX_CHUNK_BYTES
            or time.monotonic() - began >= chunk.seconds
        )
        if full and not walk.ended:
            return Chunk(items, walk.cursor())
    return Chunk([*items, *_end(path, walk)], None)


class _Seen:
    """Programs of an archive so far, to prepare those of equal content once.

    Args:
        kept: the latest ones, see `Cursor.seen`; updated, since another chunk goes on with it.
        carved: whether programs in programs are searched, which are known of this chunk alone.
    """

    def __init__(self, kept: dict[str, tuple[Ends, str]], *, carved: bool) -> None:
        self._kept, self._carved = kept, carved
        self._ends = {ends for ends, _ in kept.values()}
        self._made: dict[str, list[Item]] = {}
        """What became of those of this chunk, by path."""

    def again(self, member: Member) -> list[Item]:
        """The items of a member, from those of an earlier one; none: there is no such one."""
        start = time.perf_counter()
        if _ends(member.data) not in self._ends:
            return []
        _, path = self._kept.get(hashlib.sha256(member.data).hexdigest(), (None, ""))
        if not path:
            return []
        milliseconds = (time.perf_counter() - start) * 1e3
        items: list[Item] = []
        for item in self._made.get(path, ()):
            name = member.path + item.path[len(path) :]
            if isinstance(item, Prepared | Again):
                of = item.of if isinstance(item, Again) else item.path
                items.append(Again(name, of, milliseconds))
            else:
                items.append(replace(item, path=name))
        if not items and not self._carved:
            items.append(Again(member.path, path, milliseconds))
        return items

    def add(self, member: Member, made: list[Item]) -> None:
        first = made[0]
        if isinstance(first, Prepared) and first.file is not None:
            self._made[member.path] = made
            self._ends.add(_ends(member.data))
            self._kept[first.file] = _ends(member.data), member.path
            while len(self._kept) > MAX_SEEN:
                del self._kept[next(iter(self._kept))]


def _ends(data: bytes) -> Ends:
    return data[:_ENDS], data[-_ENDS:], len(data)


def _prepared(member: Member, options: PrepareOptions, finish: Finish) -> list[Item]:
    start = time.perf_counter()
    contents = parse_contents(member.path, member.data, options)
    made = finish(member.path, contents, options, start)
    return [made, *_carved(member.path, contents, options, finish)]


def _carved(
    path: str, contents: Contents, options: PrepareOptions, finish: Finish
) -> Iterator[Item]:
    """The programs in a program, if requested."""
    most = options.archives.carve if options.archives else 0
    if not most or contents.format not in ("pe", "png"):
        return
    data = contents.data
    inside = chain(
        _by_upx(path, data, options), _as_they_lie(path, data), _unpacked(path, data, options)
    )
    for count, found in enumerate(inside):
        if count == most:
            reason = f"programs in it after the first {most} are left out"
            error = SampleError("carve-limit", f"{reason} (--max-carved lifts the limit)")
            yield Rejected.of(path, error)
            return
        start = time.perf_counter()
        if isinstance(found, Trouble):
            yield Rejected.of(found.path, found.error)
            continue
        try:
            inner = parse_contents(found.path, found.data, options)
            yield finish(found.path, inner, options, start)
        except SampleError as error:
            yield Rejected.of(found.path, error)


def _as_they_lie(path: str, data: bytes) -> Iterator[Member]:
    for carved in carve(data):
        yield Member(carved_path(path, carved), data[carved.start : carved.end])


def _by_upx(path: str, data: bytes, options: PrepareOptions) -> Iterator[Member | Trouble]:
    """The program that UPX packed, if it did."""
    assert options.archives is not None
    found = packed_by_upx(data)
    if found is None:
        return
    name = unpacked_path(path, found)
    try:
        yield Member(name, unpack(data, found, options.max_size, options.archives))
    except SampleError as error:
        yield Trouble(name, error)


def _unpacked(path: str, data: bytes, options: PrepareOptions) -> Iterator[Member | Trouble]:
    """The programs in the archives in a program, as a self-extractor has one."""
    assert options.archives is not None
    left, at, tried = MAX_CHUNK_BYTES, 1, 0
    while left > 0 and (archive := next(packed(data, at), None)) is not None:
        if tried == MAX_ARCHIVES:
            yield Trouble(path, _TOO_MANY)
            return
        tried += 1
        # Bytes that look like an archive and are none, as programs that unpack some have, must not
        # hide a true one behind them.
        at = archive.start + 1
        name, size = packed_path(path, archive), archive.end - archive.start
        file = io.BytesIO(data[archive.start : archive.end])
        limits = replace(options.archives, unpacked=min(options.archives.unpacked, left))
        walk = Walk(file, name, size, limits, options.max_size, _is_program)
        for count, item in enumerate(walk.items(archive.kind)):
            if isinstance(item, Trouble):
                whole = item.path == name and not walk.unpacked  # and not a file that it lists
                if count == 0 and whole and item.error.code == "damaged-archive":
                    break
                if item.error.code != "archive-unlisted":  # where it begins is a guess
                    yield item if item.error.code != "archive-size" else Trouble(name, _TOO_MUCH)
            elif item is not None and _is_program(item.path, item.data):
                yield item
            at = archive.end
        left -= walk.unpacked


def _is_program(name: str, head: bytes) -> bool:
    """Whether a file in a program matters: pictures and texts of an installer are no samples."""
    return sniff(name, head) == "pe"


def _may_be_sample(name: str, head: bytes) -> bool:
    return sniff(name, head) is not None or may_be_closed(name, head)


def _end(path: str, walk: Walk) -> list[Rejected]:
    """The rejections at the end of an archive: how many of its files were no samples."""
    others, every = walk.others, walk.others + walk.samples + walk.unread
    if walk.samples or walk.troubles:
        if not others:
            return []
        verb = "is" if others == 1 else "are"
        reason = f"{others} of the {every} files in it {verb} {NEITHER}"
        return [Rejected(path, "members", reason, False)]
    if walk.only is not None and not walk.met:
        return [Rejected(path, "not-found", "no such file in the archive", True)]
    if walk.met == "file":
        return [Rejected(path, "not-pe", f"it is {NEITHER}", False)]
    reason = f"an archive without {SAMPLES}: {others} other files" if others else "an empty archive"
    return [Rejected(path, "not-pe", reason, False)]
