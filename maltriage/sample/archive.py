"""Archives in which samples are passed around: one program under the usual password, in memory.

Collections hold a ZIP or 7z file for each sample, encrypted with `infected` so that nothing opens
it by mistake. What is inside is read into memory and never written; an archive in an archive is
not opened.
"""

from __future__ import annotations

import io
from typing import Any

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
"""Of a file entry, and of the end of an archive that has none."""
SEVEN_ZIP_MAGIC = b"7z\xbc\xaf\x27\x1c"
PASSWORD = "infected"
"""It opens archives that need none as well."""


class ArchiveError(Exception):
    """An archive gives no sample, with a stable code; `failed` where it should have."""

    def __init__(self, code: str, reason: str, *, failed: bool = False) -> None:
        super().__init__(reason)
        self.code, self.failed = code, failed


def begins_like_archive(head: bytes) -> bool:
    """Whether the first bytes are those of a ZIP or 7z file."""
    return head.startswith((*ZIP_MAGICS, SEVEN_ZIP_MAGIC))


def read_member(data: bytes, max_size: int) -> bytes:
    """The one file in an archive.

    Args:
        data: the whole archive.
        max_size: of the file in it, in bytes, whatever the archive says of it.

    Raises:
        ArchiveError: it holds no file, several or one that is too large (a skip), is under
            another password, or is damaged.
    """
    read = _read_seven_zip if data.startswith(SEVEN_ZIP_MAGIC) else _read_zip
    try:
        content = read(data, max_size)
    except ArchiveError:
        raise
    except Exception as error:  # both libraries raise many kinds for a damaged archive
        reason = f"an archive that is damaged, or not under the password {PASSWORD} ({error})"
        raise ArchiveError("damaged-archive", reason, failed=True) from error
    _refuse_size(len(content), max_size)
    return content


def _read_zip(data: bytes, max_size: int) -> bytes:
    import pyzipper

    with pyzipper.AESZipFile(io.BytesIO(data)) as archive:
        archive.setpassword(PASSWORD.encode())
        member = _only([entry for entry in archive.infolist() if not entry.is_dir()])
        _refuse_size(member.file_size, max_size)
        with archive.open(member) as file:
            # What the archive says of the size may be a lie.
            return bytes(file.read(max_size + 1))


def _read_seven_zip(data: bytes, max_size: int) -> bytes:
    import py7zr
    from py7zr.io import BytesIOFactory

    with py7zr.SevenZipFile(
        io.BytesIO(data), password=PASSWORD, max_extract_size=max_size + 1
    ) as archive:
        member = _only([entry for entry in archive.list() if not entry.is_directory])
        _refuse_size(member.uncompressed, max_size)
        factory = BytesIOFactory(max_size + 1)
        archive.extract(targets=[member.filename], factory=factory)
        (file,) = factory.products.values()
        file.seek(0)
        return bytes(file.read())


def _only(members: list[Any]) -> Any:
    if len(members) != 1:
        raise ArchiveError("archive", f"an archive of {len(members)} files, where one is expected")
    return members[0]


def _refuse_size(size: int, limit: int) -> None:
    if size > limit:
        raise ArchiveError("too-large", f"an archive of a file above the limit of {limit} bytes")
