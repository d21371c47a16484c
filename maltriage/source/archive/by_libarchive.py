"""Reads ISO images, cabinets, RAR and LZH archives by libarchive, where it is installed.

Each kind is read by its own reader of libarchive: told to find the kind itself it would also take
lists that name files on the disk, and start programs that unpack.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from ctypes import create_string_buffer
from functools import cache, partial
from types import ModuleType
from typing import Any

from maltriage.sample.errors import SampleError
from maltriage.source.archive.entries import Entry, Names, Opening, damaged
from maltriage.source.archive.limits import LimitError

_NAMES = {"iso": "iso9660", "cab": "cab", "lzh": "lha"}
_RAR5 = b"Rar!\x1a\x07\x01"
_PATH = "LIBARCHIVE"
"""The environment variable that names the library to the binding."""
_BLOCK = 64 * 1024
"""Bytes of the file that are given to the library at once."""
_FATAL = -30
"""ARCHIVE_FATAL: nothing more can be read (archive_read_data(3))."""


@cache
def library() -> ModuleType | None:
    """The binding of libarchive; None: it, or the library, is not installed."""
    given = os.environ.get(_PATH)
    if given is None and sys.platform == "linux":
        # Not named it is looked for by other programs, which a worker must not start.
        os.environ[_PATH] = "libarchive.so.13"
    try:
        import libarchive
    except (ImportError, OSError, AttributeError, TypeError):
        return None
    finally:
        if given is None:
            os.environ.pop(_PATH, None)
    logging.getLogger("libarchive").addHandler(logging.NullHandler())  # not to stderr
    found: ModuleType = libarchive
    return found


def entries(opening: Opening) -> Iterator[Entry]:
    """The files of an archive, in their order.

    Raises:
        LimitError: a cap was hit.
        SampleError: it is encrypted.
        Exception: it is damaged.
    """
    found = library()
    assert found is not None, "archives of such a kind are told by its presence"
    head = opening.file.read(len(_RAR5))
    opening.file.seek(0)
    format = _NAMES.get(opening.kind) or ("rar5" if head == _RAR5 else "rar")
    error: type[Exception] = found.exception.ArchiveError
    names = Names()
    try:
        with found.stream_reader(opening.file, format, "none", _BLOCK) as archive:
            for number, entry in enumerate(archive):
                name = names(entry.pathname or opening.name)
                if number < opening.start:
                    continue
                opening.begin(number)
                if entry.isdir:
                    continue
                if not entry.isreg or entry.islnk or not opening.select(name):
                    yield Entry(number, name)
                    continue
                try:
                    yield opening.read(number, name, partial(_data, found, archive))
                except SampleError as failure:
                    if isinstance(failure, LimitError):
                        raise
                    yield Entry(number, name, error=failure)
                except error as failure:
                    if getattr(failure, "retcode", _FATAL) <= _FATAL:
                        raise
                    yield Entry(number, name, error=_trouble(failure))
    except error as failure:
        raise _trouble(failure) from failure


def _data(found: ModuleType, archive: Any, size: int) -> bytes:
    """At most `size` more bytes of the file at hand; none at its end.

    Not by the binding's own loop, which takes a warning, such as a wrong checksum, for a length.
    """
    buffer = create_string_buffer(size)
    count = int(found.ffi.read_data(archive._pointer, buffer, size))
    if count < 0:
        raise damaged(ValueError("wrong checksum"))
    return buffer.raw[:count]


def _trouble(error: Exception) -> SampleError:
    message = getattr(error, "msg", None) or "it cannot be read"
    if "ncrypt" in f"{message}":
        reason = "encrypted, which libarchive does not read: unpack it with its own tool"
        return SampleError("password", reason, failed=True)
    return damaged(ValueError(message))
