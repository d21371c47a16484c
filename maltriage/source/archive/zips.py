"""Reads ZIP files, plain or encrypted (ZipCrypto, AES), file by file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from maltriage.sample.errors import SampleError
from maltriage.source.archive.entries import HEAD_BYTES, Entry, Names, Opening, damaged, sealed
from maltriage.source.archive.limits import LimitError

MAX_DIRECTORY = 32 * 1024 * 1024
"""Bytes of the table of contents, which is read as a whole: about 300,000 files."""
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
_UTF8 = 0x800


class _Guarded(io.RawIOBase):
    """A file read in small amounts, whatever sizes it claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > MAX_DIRECTORY:
            size = MAX_DIRECTORY + 1
        data = self._file.read(size)
        if len(data) > MAX_DIRECTORY:
            reason = f"its table of contents has more than {MAX_DIRECTORY} bytes"
            raise LimitError("archive-members", reason)
        return data


def entries(opening: Opening) -> Iterator[Entry]:
    """The files of a ZIP archive, in the order of its table of contents.

    Raises:
        LimitError: a cap was hit.
        Exception: it is damaged.
    """
    import pyzipper

    keys, names = _Keys(opening), Names()
    with pyzipper.AESZipFile(_Guarded(opening.file)) as archive:
        listed = archive.infolist()
        number = 0
        try:
            for number, info in enumerate(listed):
                name = names(_raw_name(info))
                if number >= opening.start and not info.is_dir():
                    yield _entry(opening, keys, archive, info, number, name)
        except LimitError:
            # A walk that goes on comes to the cap again.
            yield from _told(opening.file, listed, number - 1)
            raise
        yield from _told(opening.file, listed, len(listed))


def _entry(opening: Opening, keys: _Keys, archive: Any, info: Any, number: int, name: str) -> Entry:
    """One file, or its error; raises LimitError."""
    opening.begin(number)
    if not opening.select(name):
        return Entry(number, name)
    try:
        return keys.read(archive, info, number, name)
    except (LimitError, MemoryError):
        raise
    except SampleError as error:
        return Entry(number, name, error=error)
    except Exception as error:
        return Entry(number, name, error=damaged(error))


def _told(file: BinaryIO, listed: list[Any], number: int) -> Iterator[Entry]:
    """What is odd about the whole archive."""
    file.seek(0)
    if listed and file.read(4) == b"PK\x03\x04" and all(info.header_offset for info in listed):
        reason = "it begins with a file that its list lacks, which other readers may unpack"
        yield Entry(number, "", error=SampleError("archive-unlisted", reason))
    overlapping = _overlapping(listed)
    if overlapping:
        reason = f"{overlapping:,} of the {len(listed):,} files in it share bytes of the archive"
        yield Entry(number, "", error=SampleError("archive-overlap", f"{reason}, as in a bomb"))


def _overlapping(listed: list[Any]) -> int:
    """Number of entries whose bytes are in part those of another."""
    rows = sorted((info.header_offset, info.compress_size, len(info.filename)) for info in listed)
    end, count, shared = -1, 0, False
    for start, size, name in rows:
        if start < end:
            count += 1 if shared else 2  # the one before as well
        shared = start < end
        end = max(end, start + _LOCAL_HEADER + name + size)
    return count


def _raw_name(info: Any) -> str | bytes:
    """A name; as bytes where the archive does not mark it as UTF-8."""
    name: str = info.filename
    if info.flag_bits & _UTF8:
        return name
    try:
        return name.encode("cp437")  # the encoding it was decoded from
    except UnicodeEncodeError:
        return name


class _Keys:
    """Reads files with the password that opens them, the last successful one first."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._passwords = [password.encode() for password in opening.budget.limits.passwords]
        self._proven = False

    def read(self, archive: Any, info: Any, number: int, name: str) -> Entry:
        if not info.flag_bits & _ENCRYPTED:
            return self._plain(archive, info, number, name, None)
        for password in self._passwords:
            try:
                entry = self._plain(archive, info, number, name, password)
            except (SampleError, MemoryError, NotImplementedError):
                raise
            except Exception:
                continue
            self._proven = True
            self._passwords.remove(password)
            self._passwords.insert(0, password)
            return entry
        raise sealed(len(self._passwords))

    def _plain(
        self, archive: Any, info: Any, number: int, name: str, password: bytes | None
    ) -> Entry:
        # A wrong password passes the check of ZipCrypto once in 256 times, and then fails the
        # checksum at the end: until a password is proven all of a file is read.
        whole = password is not None and not self._proven
        with archive.open(info, pwd=password) as file:
            if info.file_size > self._opening.max_size and not whole:
                head = file.read(HEAD_BYTES)
                if self._opening.wanted(name, head):
                    raise self._opening.too_large(info.file_size)
                return Entry(number, name)
            return self._opening.read(number, name, file.read, whole=whole)
