"""Reads 7z files, plain or encrypted; solid ones in one pass, up to the last needed."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, BinaryIO

from maltriage.sample.errors import SampleError
from maltriage.source.archive.entries import HEAD_BYTES, Entry, Names, Opening, damaged, sealed

_POLL = 0.2
MAX_ROUNDS = 22
"""Power of two of the rounds of hashing that make a key; beyond, no password is tried: 2 ** 24 take
6 s for each. 7-Zip writes 19."""
MANY = 20
"""Times `--max-members` of files that an archive may list. The list is read for each chunk."""
_NO_ROUNDS = 0x3F
_MAX_HEADER = 1 << 20
_AES = re.compile(rb"\x24\x06\xf1\x07\x01.(.)", re.DOTALL)
"""The method of an encrypted stream in a header; the last byte has the power in its lower bits."""


def entries(opening: Opening) -> Iterator[Entry]:
    """The files of a 7z archive, in their order.

    Raises:
        LimitError: a cap was hit.
        SampleError: none of the passwords opens it.
        Exception: it is damaged.
    """
    import py7zr

    _check_rounds(max(map(_power, _AES.findall(_header(opening.file))), default=0))
    try:
        with py7zr.SevenZipFile(opening.file) as archive:
            _check_count(len(archive.files), opening.budget.limits.members)
            encrypted = archive.needs_password()
            if encrypted:  # the header may have been packed
                _check_rounds(max(map(_power, _methods(archive)), default=0))
    except py7zr.exceptions.PasswordRequired:
        encrypted = True
    passwords = opening.budget.limits.passwords if encrypted else (None,)
    for password in passwords:
        opening.file.seek(0)
        unpacking = _Unpacking(opening, password)
        try:
            unpacking.begin()
        except (SampleError, MemoryError):
            unpacking.end()
            raise
        except Exception:
            unpacking.end()
            if encrypted:  # a wrong password gives damaged data
                continue
            raise
        try:
            yield from unpacking.entries()
        finally:
            unpacking.end()
        return
    raise sealed(len(passwords))


def _header(file: BinaryIO) -> bytes:
    """The start of the header at the end of an archive, which may itself be packed or encrypted."""
    head = file.read(32)
    start, size = struct.unpack_from("<QQ", head.ljust(32, b"\0"), 12)
    header = b""
    if start < 1 << 62:
        file.seek(32 + start)
        header = file.read(min(size, _MAX_HEADER))
    file.seek(0)
    return header


def _methods(archive: Any) -> Iterator[bytes]:
    """The first byte of the properties of each encrypted stream of an archive."""
    streams = archive.header.main_streams
    for folder in streams.unpackinfo.folders if streams else ():
        for coder in folder.coders:
            if coder["method"] == b"\x06\xf1\x07\x01" and coder["properties"]:
                yield coder["properties"][:1]


def _power(properties: bytes) -> int:
    return properties[0] & 0x3F


def _check_count(files: int, limit: int) -> None:
    """Raise SampleError for a list of so many files that each chunk of them takes long to find."""
    if files > MANY * limit:
        reason = (
            f"it lists {files} files, more than {MANY} times the limit of {limit}: none is read"
        )
        raise SampleError("archive-members", f"{reason} (--max-members lifts the limit)")


def _check_rounds(power: int) -> None:
    """Raise SampleError if a key takes too long to make."""
    if MAX_ROUNDS < power < _NO_ROUNDS:
        reason = f"encrypted with keys of 2^{power} rounds, above the limit of 2^{MAX_ROUNDS}"
        raise SampleError("password", reason, failed=True)


class _StoppedError(Exception):
    """The rest is not needed."""


class _Sink:
    """Collects the bytes of one file; a file that is too large or not wanted is dropped."""

    def __init__(self, number: int, name: str, opening: Opening) -> None:
        self.number, self._name, self._opening = number, name, opening
        self.data = bytearray()
        self.wanted = True

    def write(self, data: bytes) -> int:
        if self.wanted and len(self.data) <= self._opening.max_size:
            known = len(self.data) >= HEAD_BYTES
            self.data += data
            if not known and len(self.data) >= HEAD_BYTES:
                self.decide()
        return len(data)

    def decide(self) -> None:
        """Drop the file if its first bytes are those of none that is wanted."""
        self.wanted = self._opening.wanted(self._name, bytes(self.data[:HEAD_BYTES]))

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Unpacking:
    """A pass through an archive under one password.

    py7zr pushes unpacked files and the reader pulls them: a thread connects both, at most one
    file ahead.
    """

    def __init__(self, opening: Opening, password: str | None) -> None:
        self._opening, self._password = opening, password
        self._ready: Queue[_Sink | BaseException | None] = Queue(maxsize=1)
        self._stopped = Event()
        self._thread: Thread | None = None
        self._first: _Sink | None = None
        self._all: list[tuple[int, str, int, bool]] = []
        """Number, name, size and whether it is a plain file, of every entry but folders."""
        self._selected: set[int] = set()
        self._names: dict[int, str] = {}
        self._pending: _Sink | None = None

    def begin(self) -> None:
        """Open the archive and unpack its first file, which shows whether the password is right."""
        import py7zr

        limits = self._opening.budget.limits
        archive = py7zr.SevenZipFile(
            self._opening.file, password=self._password, max_extract_size=limits.unpacked
        )
        listed: Any = archive.files.files_list
        names = Names()
        for number, (file, row) in enumerate(zip(archive.files, listed, strict=True)):
            name = names(file.filename)
            if not file.emptystream:  # a file by its content, whatever its attributes say
                row.pop("attributes", None)
            if file.is_directory:
                continue
            plain = not (file.is_symlink or file.is_junction or file.is_socket)
            size = 0 if file.emptystream else file.uncompressed
            self._names[number] = name
            self._all.append((number, name, size, plain))
            # The library refuses an archive for one name such as `../x`; names are not paths here.
            row["filename"] = f"{number}"
            if plain and size and number >= self._opening.start and self._opening.select(name):
                self._selected.add(number)
            if len(self._selected) > limits.members:
                break  # `entries` stops there
        if not self._selected:
            return
        self._thread = Thread(target=self._run, args=(archive,), daemon=True)
        self._thread.start()
        self._first = self._next()

    def entries(self) -> Iterator[Entry]:
        opening = self._opening
        for number, name, size, plain in self._all:
            if number < opening.start:
                continue
            opening.begin(number)
            if number not in self._selected:
                empty = plain and not size and opening.select(name)
                yield Entry(number, name, b"" if empty and opening.wanted(name, b"") else None)
                continue
            unpacked = self._first or self._next()
            self._first = None
            if unpacked is None or unpacked.number != number:
                raise damaged(ValueError("files are missing"))
            opening.budget.spend(size)
            if unpacked.wanted and size > opening.max_size:
                yield Entry(number, name, error=opening.too_large(size))
            else:
                yield Entry(number, name, bytes(unpacked.data) if unpacked.wanted else None)

    def end(self) -> None:
        """Stop unpacking."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def put(self, item: _Sink | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                return self._ready.put(item, timeout=_POLL)
            except Full:
                continue
        raise _StoppedError

    def _next(self) -> _Sink | None:
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _run(self, archive: Any) -> None:
        """Unpack, in the thread."""
        import py7zr

        try:
            targets = [f"{number}" for number in self._selected]
            archive.extract(targets=targets, factory=self)
            self._deliver()
            self.put(None)
        except _StoppedError:
            pass
        except py7zr.exceptions.DecompressionBombError:
            self._fail(self._opening.budget.too_much())
        except BaseException as error:  # the reader raises it
            self._fail(error)

    def create(self, filename: str) -> _Sink:
        """Called by py7zr as each file begins; the one before it has passed its checksum."""
        self._deliver()
        number = int(filename)
        self._pending = _Sink(number, self._names[number], self._opening)
        return self._pending

    def _deliver(self) -> None:
        if self._pending is not None:
            if len(self._pending.data) < HEAD_BYTES:
                self._pending.decide()
            self.put(self._pending)
            self._pending = None

    def _fail(self, error: BaseException) -> None:
        with suppress(_StoppedError):
            self.put(error)
