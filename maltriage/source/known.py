"""Known files: lists of hashes, and whether a file's hash is in one.

A list is read once. Its hashes are sorted and cached as bare bytes of a fixed width; workers map
them into memory for a binary search, so that a list of any length takes no memory of their own.
"""

from __future__ import annotations

import binascii
import csv
import hashlib
import io
import mmap
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from maltriage.errors import MaltriageError
from maltriage.files.atomic import PART, PartFolder, remove_leftovers
from maltriage.files.private import trouble
from maltriage.files.regular import open_regular

WIDTHS = {"sha256": 32, "sha1": 20, "md5": 16}
"""Kinds of hashes and their bytes, the strongest first: the one used of a row with several."""
BLOCK_BYTES = 8 * 1024 * 1024
"""Bytes of a list that are parsed at once."""
SORTED_ROWS = 1 << 20
"""Hashes that are compared with their neighbours at once."""
_VERDICTS = frozenset({"flagged", "verdict.flagged", "verdict.label"})
"""Columns of the tables that a scan writes."""
_KIND = {2 * width: kind for kind, width in WIDTHS.items()}
_FORMAT = "2"
FOLDER = "known"
"""Folder of sorted lists below the user's cache."""


@dataclass(frozen=True)
class KnownList:
    """A list of hashes, in the cache. Small enough to send to workers.

    `counts` has the number of different hashes of each kind that occurs, in the order of `WIDTHS`.
    """

    path: str
    folder: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Match:
    """The list that has a file, and the kind of hash found in it."""

    path: str
    kind: str

    def __str__(self) -> str:
        return f"its {self.kind} is in {self.path}"


class UnwritableError(MaltriageError):
    """No sorted list can be kept in a folder."""


def read_known(path: str, cache: Path) -> KnownList:
    """Read a list of hashes, or find it in the cache.

    One sha256, sha1 or md5 in hex a line, of either case; text after a blank (the name, as
    `sha256sum` writes it) or a `#` is ignored, and so are blank lines. Or CSV, as the NSRL ships
    it: the columns SHA-256, SHA-1 and MD5 are found by their names in the first line.

    Args:
        cache: a folder for sorted lists.

    Raises:
        UnwritableError: the cache cannot be written.
        MaltriageError: the list cannot be read, or has a malformed line or no hash.
    """
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            own = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:24]
            # Another list can have the same size and time of change, and take its place by `mv`.
            times = f"{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"
            name = f"{own}-{status.st_size}-{times}-{_FORMAT}"
            folder = cache / name
            if not _is_kept(folder):
                _build(path, file, folder, own)
    except OSError as error:
        raise MaltriageError(f"cannot read {path}: {error.strerror}") from error
    sizes = {kind: folder / kind for kind in WIDTHS if (folder / kind).exists()}
    counts = {kind: part.stat().st_size // WIDTHS[kind] for kind, part in sizes.items()}
    return KnownList(path, str(folder), counts)


def _is_kept(folder: Path) -> bool:
    """Whether a sorted list is in a cache that can be trusted.

    Raises:
        UnwritableError: the cache may not be entered.
    """
    try:
        return folder.is_dir() and trouble(folder.parent) is None
    except OSError as error:
        raise UnwritableError(f"cannot write {folder.parent}: {error.strerror}") from error


def find_known(
    data: bytes, lists: Sequence[KnownList], digests: dict[str, str] | None = None
) -> Match | None:
    """The first of `lists` that has a file, or None.

    Args:
        data: the whole file.
        digests: hashes already computed, by kind, in hex; those computed here are added.

    Raises:
        OSError: a list is gone from the cache.
    """
    made = {kind: bytes.fromhex(digest) for kind, digest in (digests or {}).items()}
    found = None
    for known in lists:
        for kind in known.counts:
            if kind not in made:
                made[kind] = hashlib.new(kind, data, usedforsecurity=False).digest()
            if _holds(_mapped(os.path.join(known.folder, kind)), made[kind]):
                found = Match(known.path, kind)
                break
        if found:
            break
    if digests is not None:
        digests.update({kind: digest.hex() for kind, digest in made.items()})
    return found


def has_sha256(lists: Sequence[KnownList], digest: str) -> bool:
    """Whether one of `lists` has a file by its sha256, in hex; of other hashes this cannot say."""
    wanted = bytes.fromhex(digest)
    kind = "sha256"
    return any(
        kind in known.counts and _holds(_mapped(os.path.join(known.folder, kind)), wanted)
        for known in lists
    )


@lru_cache(maxsize=64)
def _mapped(path: str) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _holds(hashes: mmap.mmap, digest: bytes) -> bool:
    width = len(digest)
    low, high = 0, len(hashes) // width
    while low < high:
        middle = (low + high) // 2
        if hashes[middle * width : (middle + 1) * width] < digest:
            low = middle + 1
        else:
            high = middle
    return hashes[low * width : (low + 1) * width] == digest


def _build(path: str, file: BinaryIO, folder: Path, own: str) -> None:
    """Read a list into a folder of sorted hashes."""
    try:
        building = PartFolder(folder)
    except OSError as error:
        raise UnwritableError(
            f"cannot write {folder.parent}: {error.strerror}; MALTRIAGE_CACHE names another folder"
        ) from error
    with building:
        _write(path, file, building.part)
        kinds = [kind for kind in WIDTHS if (building.part / kind).exists()]
        if not kinds:
            raise MaltriageError(f"{path}: there is no hash in it")
        for kind in kinds:
            _sort(building.part / kind, WIDTHS[kind])
        if not building.commit() and not folder.is_dir():  # another process may have been faster
            raise UnwritableError(f"cannot write {folder}")
    for old in folder.parent.glob(f"{own}-*"):
        if old != folder and old.suffix != PART:  # the old list; processes that map it keep it
            shutil.rmtree(old, ignore_errors=True)
    remove_leftovers(folder.parent, f".*{re.escape(PART)}")


def _write(path: str, file: BinaryIO, folder: Path) -> None:
    """The hashes of a list in its order, in a file for each kind."""
    with ExitStack() as stack:
        parts: dict[str, BinaryIO] = {}
        for kind, hashes in _hashes(path, file):
            if kind not in parts:
                parts[kind] = stack.enter_context((folder / kind).open("wb"))
            try:
                parts[kind].write(hashes)
            except OSError as error:
                raise UnwritableError(f"cannot write {folder}: {error.strerror}") from error


def _hashes(path: str, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Hashes of a list in its order, many at a time: their kind, and their bytes."""
    head = file.read(4096)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise MaltriageError(f"{path}: in UTF-16; a list of hashes is plain text")
    begin = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    first = next((line for line in head[begin:].splitlines() if _text(line)), b"")
    file.seek(begin)
    # A name behind a hash may have a comma, too; of one column there is none.
    table = b"," in first.partition(b" ")[0] or _column(first.decode("latin-1")) in WIDTHS
    yield from _rows(path, file) if table else _lines(path, file)


def _lines(path: str, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    number = 0
    while block := file.read(BLOCK_BYTES) + file.readline():
        fast = _uniform(block)
        yield from [fast] if fast else _one_by_one(path, block.split(b"\n"), number)
        number += block.count(b"\n")


def _uniform(block: bytes) -> tuple[str, bytes] | None:
    """A block of nothing but hashes of one kind, one a line; None for any other block."""
    if not block.endswith(b"\n"):
        block += b"\n"
    length = block.index(b"\n") + 1
    digits = length - (2 if block[length - 2 : length] == b"\r\n" else 1)
    if digits not in _KIND or len(block) % length:
        return None
    rows = np.frombuffer(block, np.uint8).reshape(-1, length)
    if (rows[:, digits:] != rows[0, digits:]).any():
        return None
    try:
        return _KIND[digits], binascii.unhexlify(rows[:, :digits].tobytes())
    except binascii.Error:
        return None


def _one_by_one(path: str, lines: Iterable[bytes], number: int) -> Iterator[tuple[str, bytes]]:
    """Args: number: of lines before these."""
    found: dict[str, list[bytes]] = {}
    for line in lines:
        number += 1
        if b"\r" in line.strip():  # of a list with such ends of lines one hash would count
            raise MaltriageError(f"{path}, line {number}: a CR within a line; lines end in LF")
        text = _text(line)
        if text:
            # `sha256sum` begins a line with a backslash where it escapes the file's name.
            kind, digest = _hash(path, number, text.split()[0].removeprefix(b"\\"))
            found.setdefault(kind, []).append(digest)
    for kind, hashes in found.items():
        yield kind, b"".join(hashes)


def _text(line: bytes) -> bytes:
    """A line without its comment."""
    return line.partition(b"#")[0].strip()


def _hash(path: str, number: int, text: bytes) -> tuple[str, bytes]:
    kind = _KIND.get(len(text))
    try:
        digest = binascii.unhexlify(text)
    except binascii.Error:
        kind = None
    if kind is None:
        shown = text[:80].decode("utf-8", "replace")
        raise MaltriageError(f"{path}, line {number}: neither sha256, sha1 nor md5: {shown!r}")
    return kind, digest


def _column(name: str) -> str:
    """The name of a column, however it is written."""
    return name.strip(' \t"').lower().replace("-", "").replace("_", "")


def _rows(path: str, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The strongest hash of each row of a CSV file."""
    text = io.TextIOWrapper(file, encoding="latin-1", newline="")
    reader = csv.reader(text)
    try:
        rows = (row for row in reader if any(cell.strip() for cell in row))
        header = next((row for row in rows if not row[0].lstrip().startswith("#")), [])
        names = [_column(name) for name in header]
        if not _VERDICTS.isdisjoint(names):
            raise MaltriageError(
                f"{path}: a table of verdicts, not a list of known good files, since no flag means"
                " nothing; give the hashes of files that you have cleared, one a line"
            )
        places = [names.index(kind) for kind in WIDTHS if kind in names]
        if not places:
            raise MaltriageError(
                f"{path}, line {reader.line_num}: no column is called SHA-256, SHA-1 or MD5"
            )
        found: dict[str, list[bytes]] = {}
        for count, row in enumerate(rows, 1):
            cells = (row[place].strip() for place in places if place < len(row))
            value = next((cell for cell in cells if cell), "")
            kind, digest = _hash(path, reader.line_num, value.encode("latin-1"))
            found.setdefault(kind, []).append(digest)
            if count % 65_536 == 0:
                yield from ((kind, b"".join(hashes)) for kind, hashes in found.items())
                found = {}
        yield from ((kind, b"".join(hashes)) for kind, hashes in found.items())
    except csv.Error as error:
        raise MaltriageError(f"{path}, line {reader.line_num}: no CSV: {error}") from error
    finally:
        text.detach()  # the caller closes the file


def _sort(path: Path, width: int) -> None:
    """Sort hashes in place, and remove duplicates."""
    hashes = np.memmap(path, dtype=f"S{width}", mode="r+")
    hashes.sort()  # in the pages of the file, which the system may write back meanwhile
    kept = 1
    for start in range(1, len(hashes), SORTED_ROWS):
        some = np.array(hashes[start : start + SORTED_ROWS])
        some = some[some != hashes[start - 1 : start - 1 + len(some)]]
        # Rows already read are overwritten, except the last, which stays the same.
        hashes[kept : kept + len(some)] = some
        kept += len(some)
    hashes.flush()
    del hashes
    os.truncate(path, kept * width)
