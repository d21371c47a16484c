"""Reads NumPy archives that somebody else may have written: arrays of numbers, within limits.

Not by `numpy.load`: it makes room for whatever size an array claims, and its errors are those of
six libraries. It also reads bzip2 and LZMA, of which a few bytes unpack to gigabytes in one step.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_RATIO = 100
"""Bytes of arrays by byte of the file: hashes and embeddings hardly shrink, zeros do by 1,000."""
MIN_ALLOWED = 1 << 20
"""Bytes of arrays that any file may have."""
MAX_ENTRIES = 64
_ENTRY = b"PK\x01\x02"
"""How each entry of an archive's list begins."""
_MAGIC = b"\x93NUMPY\x01\x00"
_HEAD = re.compile(
    rb"\{'descr': '([<|][a-z]\d{1,2})', 'fortran_order': (True|False),"
    rb" 'shape': \(((?:\d{1,18}(?:, \d{1,18})*,?)?)\), \} *\n"
)
"""The head of an array, as NumPy writes it. NumPy reads it as Python, with the errors of that."""


class BrokenArchiveError(ValueError):
    """What is no archive of arrays, or not of those that are wanted, in words."""


class Archive:
    """The arrays of an archive, by name.

    Args:
        data: bytes of its file.
        limit: most bytes of all arrays together.

    Raises:
        BrokenArchiveError: it is none, or above the limit.
    """

    def __init__(self, data: bytes, limit: int) -> None:
        if data.count(_ENTRY) > MAX_ENTRIES:  # a kilobyte of memory each, before one is looked at
            raise BrokenArchiveError("more arrays than any has")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except Exception as error:  # zipfile lets errors of struct and of decoding through
            raise BrokenArchiveError("no NumPy archive, or cut off") from error
        entries = self._zip.infolist()
        allowed = min(limit, max(MIN_ALLOWED, MAX_RATIO * len(data)))
        if sum(entry.file_size for entry in entries) > allowed:
            raise BrokenArchiveError(f"arrays above {allowed:,} bytes")
        if any(e.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for e in entries):
            raise BrokenArchiveError("compressed in another way than NumPy does")
        self.names = sorted(entry.filename.removesuffix(".npy") for entry in entries)
        self._entries = {entry.filename: entry for entry in entries}

    def size(self, name: str) -> int:
        """Bytes of an array with its head, as the archive says."""
        return self._entry(name).file_size

    def array(
        self, name: str, kinds: Collection[str], shape: tuple[int, ...] | None = None
    ) -> npt.NDArray[Any]:
        """One array. Its head is checked before any value is read.

        Args:
            kinds: dtypes that it may have, as `dtype.str`.
            shape: that it must have; None: any.

        Raises:
            BrokenArchiveError: it is missing, damaged, or of another type or shape.
        """
        entry = self._entry(name)
        try:
            with self._zip.open(entry) as stream:
                magic, length = stream.read(len(_MAGIC)), int.from_bytes(stream.read(2), "little")
                head = _HEAD.fullmatch(stream.read(length))
                if magic != _MAGIC or head is None:
                    raise ValueError("another head than NumPy writes")
                kind, by_rows = head[1].decode(), head[2] == b"False"
                found = tuple(int(part) for part in head[3].split(b",") if part.strip())
                size = entry.file_size - len(_MAGIC) - 2 - length
                fits = by_rows and kind in kinds
                fits = fits and size == math.prod(found) * np.dtype(kind).itemsize
                if fits and shape in (None, found):
                    values = stream.read(size)
                    if len(values) != size or stream.read(1):
                        raise ValueError("another size")
                    return np.frombuffer(values, kind).reshape(found)
        except Exception as error:  # zipfile, zlib and NumPy have their own
            raise BrokenArchiveError(f"{name} is damaged") from error
        if not fits:
            raise BrokenArchiveError(f"{name} has another type or size than its header says")
        raise BrokenArchiveError(f"{name} has the shape {found} instead of {shape}")

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._entries[f"{name}.npy"]
        except KeyError as error:
            raise BrokenArchiveError(f"no array {name}") from error
