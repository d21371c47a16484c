"""Decides which records a scan takes from the store, and which it keeps there.

A record is found by the file's path and stat alone, without opening the file. Records are keyed by
the SHA-256 of the file and by everything else that they depend on (`settings_of`).
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import msgspec

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.logs import logger
from maltriage.probe.detect_it_easy import PACKAGE as DIE
from maltriage.probe.lookup import Lookup
from maltriage.probe.prepare import Same
from maltriage.report.documents.record import (
    SCHEMA_VERSION,
    Failed,
    FileRecord,
    Result,
    Skipped,
    decode,
    encode,
    path_fields,
)
from maltriage.results.store import Batch, Settings, Store, Stored
from maltriage.sample.types import KNOWN_GOOD
from maltriage.source.files import Found, WalkOptions
from maltriage.source.urls import is_url
from maltriage.version import __version__, version_of

MAKES_NO_DIFFERENCE = frozenset(
    "walk device jobs threads engines batch_size timeout checks index mappers".split()
)
"""Fields of `ScanOptions` that records do not depend on, or that are compared in another way.
Devices, threads, engines and batches move figures in their last digits."""
PARSERS = ("lief", "pefile")
"""Packages whose version may change a record."""
SAYS_CONTENT = frozenset(
    (
        "empty",
        "not-pe",
        "not-byteplot",
        "input",
        "damaged-png",
        "damaged-dump",
        KNOWN_GOOD,
    )
)
"""Codes of skips and failures that depend on the file's content alone, and so are kept. Known good
files depend on the lists, which are among the settings. Containers that are not opened are none:
what opens them may be installed since."""
PROVISIONAL = frozenset(("headers-only", "in-part"))
"""Codes of notices on results that another attempt, or another limit, may improve: they serve
`--resume` alone."""
SETTLED_NS = 2_000_000_000
"""A file changed within this time before it was read may change again without new times: file
systems count in steps of up to two seconds. It is read again the next time."""
MAX_RECORD_BYTES = 64 << 20
"""Longest JSON of a kept record; usual ones have some 10 KB."""
LEVEL = 1
"""Compression level of zlib: higher ones save 8 % and take longer."""

_log = logger(__name__)
NO_SETTINGS = Settings(b"", "", "", "", "")


class Options(Protocol):
    """The members of `triage.options.ScanOptions` used here."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def walk(self) -> WalkOptions: ...
    @property
    def checks(self) -> int | None: ...
    @property
    def hashes(self) -> bool: ...
    @property
    def identify(self) -> bool: ...
    @property
    def close(self) -> bool: ...


def settings_of(bundle: Bundle, options: Options, index_digest: str | None) -> Settings:
    """The settings that records of a scan depend on.

    Args:
        index_digest: of the index that samples are compared with; None: there is none.
    """
    card = bundle.card
    chosen = {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if field.name not in MAKES_NO_DIFFERENCE
    }
    packages = [*PARSERS]
    packages += ["py-tlsh"] if options.hashes or options.close else []
    packages += [DIE] if options.identify else []
    parts = [
        SCHEMA_VERSION,
        __version__,
        hashlib.sha256(bundle.model).hexdigest(),
        index_digest,
        chosen,
        [version_of(name) for name in packages],
    ]
    digest = hashlib.sha256(_text(parts)).digest()
    return Settings(digest, card.name, card.weights_sha256, SCHEMA_VERSION, __version__)


def scan_id(settings: Settings, roots: Sequence[str], options: Options) -> bytes:
    """Digest of a scan's work: its files, and the settings of its records."""
    parts = [os.getcwd(), [os.fsencode(root) for root in roots], options.walk, options.checks]
    return hashlib.blake2b(settings.digest + _text(parts), digest_size=16).digest()


def _text(parts: object) -> bytes:
    """Plain values and frozen dataclasses as their source code, which is unambiguous."""
    return repr(parts).encode("utf-8", "backslashreplace")


class Seen(NamedTuple):
    """A file whose content had a kept record: its path, its SHA-256 in hex, and the record's row if
    its time of use is old, else 0."""

    path: str
    file: str
    row: int


class _Mark(NamedTuple):
    """Digests of a file's path and stat, and whether it changed long enough ago."""

    path: bytes
    status: bytes
    settled: bool


class Policy:
    """The store as one scan uses it: a context manager around keeping and recalling records.

    Args:
        store: None: nothing is recalled and nothing is kept.
        settings: of the records of this scan.
        refresh: read every file again, and replace its kept record.
        scan: digest of the scan, see `scan_id`; empty: it cannot be resumed.
        resume: recall the records of the same scan before it was stopped.
    """

    def __init__(
        self,
        store: Store | None = None,
        settings: Settings = NO_SETTINGS,
        *,
        refresh: bool = False,
        scan: bytes = b"",
        resume: bool = False,
    ) -> None:
        self._store = store
        self._settings = settings
        self._refresh = refresh
        self._scan = scan
        self._resume = resume
        self._stats: dict[tuple[str, str | None], _Mark] = {}
        """Marks of the files under way, by their record's path."""
        self._batch = Batch()

    def begin(self) -> int | None:
        """Begin the scan.

        Returns:
            The start of the scan that is resumed, in seconds since the epoch; None: none is.
        """
        if self._store is None or not self._scan:
            return None
        return self._store.begin(self._scan, resume=self._resume)

    @property
    def keeps(self) -> bool:
        """Whether records are kept."""
        return self._store is not None and self._store.usable

    @property
    def resumable(self) -> bool:
        """Whether the scan can be resumed once it was stopped."""
        return self._store is not None and self._store.usable and bool(self._scan)

    def end(self) -> None:
        """End the scan, so that it is not resumed."""
        if self._store is not None and self._scan:
            self._store.end(self._scan)

    def recall(
        self, found: Found, max_size: int, *, look: bool = True, carved: bool = False
    ) -> FileRecord | None:
        """The kept record of this file, if the file has not changed since.

        Args:
            max_size: of a sample, in bytes; a larger one is not recalled.
            look: False: only prepare to keep its record.
            carved: whether programs are searched in it: a scan that did not search knows of one
                record where there may be several.
        """
        if self._store is None or not self._store.usable or found.modified_ns is None:
            return None
        path, status = _path_digest(found.path, carved=carved), _stat_digest(found)
        if look:
            stored = None
            if not self._refresh:
                stored = self._store.find(path, status, self._settings)
            if stored is None and self._resume:
                stored = self._store.find_reported(self._scan, path, status, self._settings)
            record = self._taken(stored, found.path)
            if record is not None:
                _log.debug("%s: known by its path and times", found.path)
            if record is not None and not (isinstance(record, Result) and record.size > max_size):
                return record
        age = time.time_ns() - max(found.modified_ns, found.changed_ns)
        self._stats[path_fields(found.path)] = _Mark(path, status, age > SETTLED_NS)
        return None

    def lookup(self) -> Lookup | None:
        """The lookup by content for workers; None: they need none."""
        if self._store is None or self._refresh or not self._store.knows_any(self._settings):
            return None
        return Lookup(str(self._store.path), self._settings.digest)

    def known(self, same: Same) -> FileRecord:
        """The record of a file whose content a worker looked up."""
        record = _again(same.record, same.path)
        if not isinstance(record, Result):
            shown, raw = path_fields(same.path)
            reason = "its kept result cannot be read (--refresh reads the file anew)"
            return Failed(shown, "internal", reason, raw)
        self.note(Seen(same.path, same.file, same.row))
        return record

    def note(self, seen: Seen) -> None:
        """Note that the record of a file's content was used."""
        if seen.row:
            self._batch.used.append(seen.row)
        self._mark(self._stats.pop(path_fields(seen.path), None), bytes.fromhex(seen.file))

    def keep(self, record: FileRecord, file: str | None, data: bytes | None = None) -> None:
        """Keep the record of a file.

        Args:
            file: its SHA-256 in hex; None for a result: it is kept already.
            data: what `packed` makes of the record; None: it is made here.
        """
        if self._store is None:
            return
        mark = self._stats.pop((record.path, record.path_b64), None)
        data = data or packed(record)
        digest = None
        if isinstance(record, Result):
            if file is None:
                return
            if PROVISIONAL.isdisjoint(notice.code for notice in record.notices):
                digest = bytes.fromhex(file)
                self._batch.results.append((digest, record.size, data))
        elif mark is not None and mark.settled and record.code in SAYS_CONTENT:
            # Only the head was read: it has no digest and is found by its stat alone.
            digest = hashlib.blake2b(mark.path + mark.status, digest_size=16).digest()
            self._batch.results.append((digest, 0, data))
        self._mark(mark, digest, data)

    def _mark(self, mark: _Mark | None, digest: bytes | None, own: bytes | None = None) -> None:
        """Note the content of a file; `own` is its record where it has no digest."""
        if mark is None:
            return
        if digest is not None and mark.settled:
            self._batch.files.append((mark.path, mark.status, digest))
        if self._scan and (digest is None or not mark.settled or self._refresh):
            own = own if digest is None else None
            self._batch.reported.append((self._scan, mark.path, mark.status, digest, own))

    def forget(self, path: str) -> None:
        """Drop the mark of a file that has members: one record is not all of it."""
        self._stats.pop(path_fields(path), None)

    def commit(self) -> None:
        """Write the records kept since the last time."""
        if self._store is not None:
            self._store.write(self._batch, self._settings)
        self._batch = Batch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.commit()  # of a batch that was not read to its end

    def _taken(self, stored: Stored | None, path: str) -> FileRecord | None:
        """A kept record under the file's path; its use is noted."""
        record = None if stored is None else _again(stored.record, path)
        if stored is not None and record is not None and stored.row:
            self._batch.used.append(stored.row)
        return record


class Collected(Policy):
    """Collects what a store takes beside records, for the process that has the store.

    `several` has the paths of files that may have more than one record, `seen` the files whose
    content that process had a record of.

    Args:
        finish: that process's `lookup`.
        packs: also make of each new result what the store keeps.
    """

    def __init__(self, finish: Lookup | None = None, *, packs: bool = False) -> None:
        super().__init__()
        self._finish, self._packs = finish, packs
        self._latest: tuple[str | None, bytes | None] = None, None
        self.several: list[str] = []
        self.seen: list[Seen] = []

    def lookup(self) -> Lookup | None:
        return self._finish

    def note(self, seen: Seen) -> None:
        self.seen.append(seen)

    def keep(self, record: FileRecord, file: str | None, data: bytes | None = None) -> None:
        self._latest = file, packed(record) if self._packs and file is not None else None

    def taken(self) -> tuple[str | None, bytes | None]:
        """The SHA-256 in hex of the file of the record that just came, None if it is no new result;
        and what the store keeps of it.

        Records come one by one, each right after it was kept.
        """
        latest, self._latest = self._latest, (None, None)
        return latest

    def forget(self, path: str) -> None:
        self.several.append(path)


def packed(record: FileRecord) -> bytes:
    """A record as the store keeps it: without its path."""
    return zlib.compress(encode(msgspec.structs.replace(record, path="", path_b64=None)), LEVEL)


def _again(data: bytes, path: str) -> FileRecord | None:
    """A kept record under the file's path; None where it cannot be read."""
    try:
        record = decode(_unpacked(data))
    except (zlib.error, MaltriageError):
        return None
    shown, raw = path_fields(path)
    if isinstance(record, Result):
        timing = msgspec.structs.replace(record.timing, stored=True)
        return msgspec.structs.replace(record, path=shown, path_b64=raw, timing=timing)
    if isinstance(record, Skipped | Failed):
        return msgspec.structs.replace(record, path=shown, path_b64=raw)
    return None


def _unpacked(data: bytes) -> bytes:
    """The JSON of a kept record, which may come from a worker; raises zlib.error."""
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(data, MAX_RECORD_BYTES)
    if not unpacking.eof:
        raise zlib.error("cut off, or too large")
    return text


def _path_digest(path: str, *, carved: bool) -> bytes:
    # A path that only looks like a URL has a digest of its own, as every file has.
    name = path if is_url(path) else os.path.abspath(path)
    person = b"carved" if carved else b""
    return hashlib.blake2b(os.fsencode(name), digest_size=16, person=person).digest()


def _stat_digest(found: Found) -> bytes:
    # A folder's listing has no such number on Windows, and the file itself has; of a URL it is made
    # of the ETag.
    inode = 0 if sys.platform == "win32" and not is_url(found.path) else found.inode
    text = f"{found.size} {found.modified_ns} {found.changed_ns} {inode}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
