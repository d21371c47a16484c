"""Reads tar files and compressed streams, of a tar file or of any one file."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

from maltriage.source.archive.entries import HEAD_BYTES, Entry, Names, Opening

MAX_HEADER = 1024 * 1024
"""Most bytes of a file's long name or other attributes, which are read as a whole."""
_ATTRIBUTES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def begins_like_tar(head: bytes) -> bool:
    """Whether the first 512 bytes are the header of a file in a tar archive, old ones included."""
    if len(head) < HEAD_BYTES:
        return False
    if head[257:262] == b"ustar":
        return True
    try:
        return bool(tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape").name)
    except tarfile.HeaderError:
        return False


_INVALID: type[Exception] = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_TRUNCATED: type[Exception] = tarfile.TruncatedHeaderError  # type: ignore[attr-defined]


class DamagedTarError(Exception):
    """An error that `tarfile` does not take for the end of the archive."""


class _Info(tarfile.TarInfo):
    """A valid header, with attributes of a sensible size; others raise.

    Both methods are those that `tarfile` calls for a header in all its versions; since late 2026 it
    no longer calls `frombuf`.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Info:
        try:
            found: _Info = super().fromtarfile(archive)
        except (_INVALID, _TRUNCATED) as error:
            raise DamagedTarError(error) from error
        return found

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _ATTRIBUTES and self.size > MAX_HEADER:
            raise DamagedTarError(f"attributes of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def entries(opening: Opening) -> Iterator[Entry]:
    """The files of a tar archive, in their order.

    Raises:
        LimitError: a cap was hit.
        Exception: it is damaged.
    """
    return tar_entries(opening, opening.file, "r:")


def tar_entries(opening: Opening, file: Any, mode: Any) -> Iterator[Entry]:
    """The files of the tar archive that `file` reads, opened in a mode of `tarfile`."""
    names = Names()
    opening.budget.counting = opening.paid == 0
    with tarfile.open(
        fileobj=file, mode=mode, tarinfo=_Info, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        number = -1
        while info := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # or it would keep them all
            number += 1
            name = names(info.name)
            if number < opening.start:
                continue
            opening.begin(number)
            if info.isdir():
                continue
            # What is of an unknown type is unpacked as a file, as by other readers (POSIX, ustar).
            file_like = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
            if not file_like or not opening.select(name):
                yield Entry(number, name)
                continue
            source = archive.extractfile(info)
            assert source is not None
            # A stream was charged for its bytes already, but not for holes, which it does not have.
            charge = file is opening.file or info.issparse()
            yield opening.read(number, name, source.read, charge=charge)
