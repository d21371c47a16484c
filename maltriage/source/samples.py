"""Opens one file, and reads the sample in it. Read-only throughout."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

from maltriage.sample.errors import SampleError
from maltriage.sample.mapped import MAP_BYTES, mapped
from maltriage.source import remote
from maltriage.source.archive.entries import HEAD_BYTES
from maltriage.source.archive.find import find_member, only_member, split_path
from maltriage.source.archive.kinds import kind_of
from maltriage.source.carve import split_carved, take
from maltriage.source.decode import Contents, parse_contents, too_large, wanted_format
from maltriage.source.reading import MAX_FILE_BYTES, MAX_IN_PART, PROGRAMS, Reading
from maltriage.source.self_extracting import split_packed, take_packed
from maltriage.source.stdin import STDIN, open_stdin
from maltriage.source.upx.packed import split_unpacked
from maltriage.source.upx.unpack import take_unpacked
from maltriage.source.urls import is_url


@contextmanager
def opened(path: str, max_size: int = MAX_FILE_BYTES) -> Iterator[tuple[BinaryIO, int]]:
    """A file to read, and its size in bytes.

    Raises:
        SampleError: it is no regular file, empty or too large (a skip), or cannot be read.
    """
    if (told := remote.held()) is not None and is_url(path):
        with remote.opened(path, told, max_size) as found:
            yield found
        return
    if path == STDIN and (stream := open_stdin()) is not None:
        with stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            yield stream, size
        return
    # Without O_NONBLOCK, a FIFO put in the file's place after the walk would block here.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SampleError("special-file", "not a regular file")
            yield file, status.st_size
    except OSError as error:
        raise failure(error) from error


def failure(error: OSError) -> SampleError:
    """The failure of a file that cannot be read, or a folder that cannot be listed."""
    code = {FileNotFoundError: "not-found", PermissionError: "unreadable"}.get(type(error), "io")
    return SampleError(code, error.strerror or str(error), failed=True)


def _mapped(file: BinaryIO) -> bytes | None:
    """A large file as a mapping; None where it cannot be mapped, as an object at a URL."""
    try:
        return mapped(file)
    except (OSError, ValueError):
        return None


def read_sample(
    path: str,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
) -> Contents:
    """Read one file, which must be of one of the wanted formats.

    Args:
        path: of the file. With archives opened, also of one in an archive, as
            `archive.zip!folder/x.exe`, of an archive of one file, which is the sample, or of a
            program in another file, as `x.exe!carved@0x1a400.exe`, in an archive in one, as
            `x.exe!carved@0x1a400.7z!y.exe`, or of what UPX packed, as
            `x.exe!carved@0x400.upx.exe`.

    Raises:
        SampleError: it is no sample, of another format, empty or too large (a skip), or
            cannot be read.
    """
    outer, inner = split_path(path) if reading.archives else (path, None)
    found = _inside(path, reading) if inner is not None else None
    if found is not None:
        return parse_contents(path, found, reading)
    with opened(outer, reading.max_size) as (file, size):
        return read_opened(path, outer, file, size, reading)


def is_inside(path: str) -> bool:
    """Whether a path is that of a program in another one."""
    return any(split(path) for split in (split_carved, split_unpacked, split_packed))


def _inside(path: str, reading: Reading) -> bytes | None:
    """The program in another one that a path names; None: it names none."""
    assert reading.archives is not None
    if (place := split_carved(path)) is not None:
        return take(_carrier(place[0], reading), place[1])
    if (place := split_unpacked(path)) is not None:
        return take_unpacked(
            _carrier(place[0], reading), place[1], reading.max_size, reading.archives
        )
    if (packed := split_packed(path)) is None:
        return None
    program, archive, start = packed
    data = _carrier(program, reading)
    found = take_packed(data, start)
    file, size = io.BytesIO(data[found.start : found.end]), found.end - found.start
    return find_member(file, archive, path, size, found.kind, reading.archives, reading.max_size)


def _carrier(path: str, reading: Reading) -> bytes:
    return read_sample(path, replace(reading, formats=PROGRAMS)).data


def read_again(path: str, reading: Reading, sha256: str) -> Contents:
    """As `read_sample`, for a file that was a sample before.

    Args:
        sha256: of its bytes then, in hex.

    Raises:
        SampleError: it cannot be read again, or has other bytes (`changed`).
    """
    try:
        contents = read_sample(path, reading)
    except SampleError as error:
        if error.failed:
            raise
        raise _changed(error.reason) from error
    if hashlib.sha256(contents.complete).hexdigest() != sha256:
        raise _changed("its bytes are others")
    return contents


def _changed(how: str) -> SampleError:
    return SampleError("changed", f"it changed meanwhile ({how})", failed=True)


def _at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def read_opened(path: str, outer: str, file: BinaryIO, size: int, reading: Reading) -> Contents:
    """As `read_sample`, for an open file.

    Args:
        outer: the path of `file`, which may be an archive that holds `path`.
        file: at its start, of `size` bytes.

    Raises:
        SampleError: as `read_sample`.
    """
    head = file.read(HEAD_BYTES)
    if not head:
        raise SampleError("empty", "an empty file")
    archives, max_size = reading.archives, reading.max_size
    kind = kind_of(file) if archives else None
    if kind is None and path == outer:
        wanted_format(path, lambda start, size: _at(file, start, size), reading.formats)
    if size > max_size:
        in_part = reading.in_part and path == outer and head[:2] == b"MZ" and size <= MAX_IN_PART
        whole = _mapped(file) if in_part else None
        if whole is None:
            raise SampleError("too-large", too_large(size, max_size))
        return replace(parse_contents(path, mapped(file, max_size), reading), whole=whole)
    file.seek(0)
    if archives and kind:
        if path == outer:
            name, data = only_member(file, outer, size, kind, archives, max_size)
        else:
            name, data = path, find_member(file, outer, path, size, kind, archives, max_size)
        return parse_contents(name, data, reading)
    if path != outer:
        raise SampleError("not-found", f"{outer} is no archive", failed=True)
    if size >= MAP_BYTES and head[:2] == b"MZ" and (whole := _mapped(file)) is not None:
        return parse_contents(path, whole, reading)
    # Not without a size: a file that grows while it is read must not pass the limit.
    data = file.read(min(size, max_size) + 1)
    if len(data) > max_size:
        raise SampleError("too-large", too_large(len(data), max_size))
    return parse_contents(path, data, reading)
