"""Prepared arrays on disk: a folder of .npy files that is complete or absent.

A folder is built under another name, row by row, and renamed when it is complete, so an
interrupted build is never taken for a cache. Arrays are read through memory maps: a corpus
may be larger than the memory. They are written as files, not through maps: a full disk then
raises an error, while a write through a map would end the process.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage.errors import MaltriageError
from maltriage.files.atomic import PartFolder, part_pattern, remove_leftovers
from maltriage.files.decoding import decoded
from maltriage.files.private import trouble

LAYOUT_VERSION = 2
"""Version of the folder's layout; part of every cache key."""
MANIFEST = "manifest.json"
KEPT_CACHES = 8
"""Prepared datasets kept on disk; the one used longest ago goes first."""
LEFTOVER_SECONDS = 3600.0
"""A build without a write for this long was killed. A row takes 2 minutes at most."""
# Nothing else below the folder is touched: a user may have named one that holds more.
_PLACE = re.compile(r"[0-9a-f]{64}")
_OLD = re.compile(_PLACE.pattern + r"\.npz")

Arrays = dict[str, npt.NDArray[Any]]
Columns = Mapping[str, tuple[str, tuple[int, ...]]]
"""Dtype and shape of one row, by column name."""


class Reject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that gave no sample, by its index in the dataset; see `SampleError`."""

    index: int
    code: str
    reason: str
    failed: bool


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The contents of a folder of arrays: its manifest.json, written last."""

    dataset: str
    root: str
    goodware: str | None
    views: tuple[str, ...]
    files: int
    """Files in the dataset: each is one of the `rejects` or a row."""
    rejects: tuple[Reject, ...]


class StoreError(Exception):
    """The folder cannot be written (no room, no permission, no folder), with the reason."""


@dataclass(frozen=True)
class Cached:
    """A cache in the list of caches."""

    folder: Path
    manifest: Manifest
    size: int
    """Bytes of all its files."""
    used: float
    """Time of the last read or write, in seconds since 1970."""


class _Column:
    """An array that grows by rows, in .npy format on a stream."""

    def __init__(self, stream: BinaryIO, dtype: str, shape: tuple[int, ...]) -> None:
        self._stream, self._dtype, self._shape, self._rows = stream, np.dtype(dtype), shape, 0
        self._header()
        self._start = stream.tell()

    def append(self, row: npt.ArrayLike) -> None:
        values = np.asarray(row, dtype=self._dtype)
        if values.shape != self._shape:
            raise ValueError(f"a row of shape {values.shape} instead of {self._shape}")
        self._stream.write(values.tobytes())
        self._rows += 1

    def finish(self) -> None:
        """Write the number of rows into the header, which numpy pads for that."""
        self._stream.seek(0)
        self._header()
        if self._stream.tell() != self._start:
            raise ValueError("the header of an array grew")

    def _header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._stream,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._rows, *self._shape),
            },
        )


class Builder:
    """Arrays under construction. Use as a context manager: without `commit` nothing is left.

    Args:
        place: the final folder; None: the arrays are held in memory.
        columns: the values of a row.
        rows: the largest number of rows.

    Raises:
        StoreError: the folder cannot be made, or there is less room than it needs.
    """

    def __init__(self, place: Path | None, columns: Columns, rows: int) -> None:
        self._columns = dict(columns)
        self._building: PartFolder | None = None
        self._streams = dict[str, BinaryIO]()
        try:
            if place is not None:
                self._building = PartFolder(place)  # private: the views hold bytes of samples
                _need_room(self._building.part, self._columns, rows)
            for name in self._columns:
                self._streams[name] = (
                    io.BytesIO()
                    if self._building is None
                    else _file(self._building.part, name).open("xb")
                )
            self._open = {
                name: _Column(self._streams[name], *column)
                for name, column in self._columns.items()
            }
        except OSError as error:
            self._discard()
            raise StoreError(_why(error)) from error
        except StoreError:
            self._discard()
            raise

    def append(self, row: Mapping[str, npt.ArrayLike]) -> None:
        """Add a row: a value for each column.

        Raises:
            StoreError: the row cannot be written.
        """
        try:
            for name, column in self._open.items():
                column.append(row[name])
        except OSError as error:
            raise StoreError(_why(error)) from error

    def commit(self, manifest: Manifest) -> Arrays:
        """Rename the folder and return the arrays as read from it.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            for column in self._open.values():
                column.finish()
            if self._building is None:
                return {name: _from_memory(stream) for name, stream in self._streams.items()}
            for stream in self._streams.values():
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()
            (self._building.part / MANIFEST).write_bytes(msgspec.json.encode(manifest))
            arrays = _rename(self._building, self._columns)
        except OSError as error:
            raise StoreError(_why(error)) from error
        tidy(self._building.path)
        return arrays

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        """Remove an unfinished folder. Buffers in memory stay with the arrays over them."""
        if self._building is None:
            return
        for stream in self._streams.values():
            with contextlib.suppress(OSError):  # a full disk refuses the last flush as well
                stream.close()
        self._building.discard()


def _from_memory(stream: BinaryIO) -> npt.NDArray[Any]:
    assert isinstance(stream, io.BytesIO)
    stream.seek(0)
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return np.frombuffer(stream.getbuffer(), dtype, offset=stream.tell()).reshape(shape)


def _rename(building: PartFolder, columns: Columns) -> Arrays:
    """Move a complete build to its place; another process may have been faster."""
    for _ in range(2):
        building.commit()  # or the place is taken
        stored = read(building.path, columns)
        if stored is not None:
            return stored[1]
        shutil.rmtree(building.path, ignore_errors=True)  # damaged
    raise OSError(0, "the folder cannot be renamed")


def _need_room(part: Path, columns: Columns, rows: int) -> None:
    row = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for dtype, shape in columns.values())
    needed, free = rows * row, shutil.disk_usage(part).free
    if free < needed:
        raise StoreError(f"{needed >> 20} MiB are needed and {free >> 20} MiB are free")


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _file(folder: Path, column: str) -> Path:
    return folder / f"{column}.npy"


def read(place: Path, columns: Columns) -> tuple[Manifest, Arrays] | None:
    """Manifest and arrays of a folder, or None if it is missing or damaged.

    Arrays of more than one axis are read-only memory maps. They take no memory before they
    are used, and stay readable if the folder is removed meanwhile.
    """
    try:
        if trouble(place.parent):
            return None
        manifest = _manifest(place)
        arrays = Arrays()
        for name, (dtype, shape) in columns.items():
            mapped = np.load(
                _file(place, name), mmap_mode="r" if shape else None, allow_pickle=False
            )
            arrays[name] = np.asarray(mapped)
            rows = manifest.files - len(manifest.rejects)
            if mapped.dtype != np.dtype(dtype) or mapped.shape != (rows, *shape):
                return None
        with contextlib.suppress(OSError):  # a file system that is read-only, say
            os.utime(place / MANIFEST)
    except (OSError, ValueError, EOFError, msgspec.MsgspecError):
        return None
    return manifest, arrays


def _manifest(place: Path) -> Manifest:
    return decoded((place / MANIFEST).read_bytes(), msgspec.json.Decoder(Manifest))


def caches(folder: Path) -> list[Cached]:
    """The caches below a folder, the one used last first.

    Raises:
        MaltriageError: the folder exists and cannot be read.
    """
    found = list[Cached]()
    for place in _named(folder, _PLACE):
        try:
            size = sum(file.stat().st_size for file in place.iterdir())
            used = (place / MANIFEST).stat().st_mtime
            found.append(Cached(place, _manifest(place), size, used))
        except (OSError, msgspec.MsgspecError):
            continue
    return sorted(found, key=lambda cached: -cached.used)


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise MaltriageError(f"cannot read cache {folder}: {error.strerror}") from error


def tidy(own: Path) -> None:
    """Remove old caches and leftovers of killed builds beside a cache.

    Args:
        own: stays, even if the clock went back and others seem to be newer.
    """
    folder = own.parent
    with contextlib.suppress(OSError, MaltriageError):
        others = [cached.folder for cached in caches(folder) if cached.folder != own]
        for old in others[KEPT_CACHES - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
        remove_leftovers(folder, part_pattern(_PLACE.pattern), LEFTOVER_SECONDS)
        for file in _named(folder, _OLD):  # caches of an older version, one file each
            file.unlink(missing_ok=True)
