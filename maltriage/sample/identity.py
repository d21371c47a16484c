"""Hashes of a file to look it up by, and the names that it claims."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from maltriage.sample.byteplot import pe_offset
from maltriage.sample.mapped import is_mapped
from maltriage.sample.pe import Headers, decode_name
from maltriage.sample.types import Identity, VersionInfo

MAX_TEXT = 1024
"""Characters kept of any one string of a sample."""
_PART = 1 << 24
_DEBUG_BYTES, _MAX_DEBUG, _REPRO = 28, 64, 16
"""Bytes of an entry of the debug directory, entries that are read, and the type of one that says
that a build is reproducible."""
_RICH_AT, _RICH_WITHIN = 0x80, 1 << 16
"""Where a Rich header begins, and bytes from there that are looked through for its end."""


def identify(
    data: bytes,
    headers: Headers | None,
    *,
    hashes: bool = False,
    digests: Mapping[str, str] | None = None,
    as_signed: bool | None = None,
) -> Identity:
    """The identity of a file.

    Args:
        data: the whole file (of a PNG: its pixels).
        headers: from `read_headers`.
        hashes: also md5, sha1 and TLSH, which cost as much as everything else together.
        digests: hashes already computed, by kind, in hex.
        as_signed: whether its signature matches it, from `is_as_signed`.
    """

    def digest(kind: str) -> str:
        done = (digests or {}).get(kind)
        return done or hashlib.new(kind, data, usedforsecurity=False).hexdigest()

    names: dict[str, Any] = {}
    if headers and headers.binary is not None:
        by_lief = headers.parser == "lief"
        names = _by_lief(headers.binary) if by_lief else _by_pefile(headers)
        names["rich_hash"] = rich_hash(data)
    return Identity(
        sha256=digest("sha256"),
        size=len(data),
        md5=digest("md5") if hashes else None,
        sha1=digest("sha1") if hashes else None,
        tlsh=_tlsh(data) if hashes else None,
        compile_time=_compile_time(data, headers),
        as_signed=as_signed,
        **names,
    )


def rich_hash(data: bytes) -> str | None:
    """MD5 of the decoded Rich header, as pefile and VirusTotal compute it; None without one.

    LIEF's own hash is of the mark and the key behind it, too.
    """
    pe = pe_offset(data)
    if pe is None:
        return None
    raw = bytes(data[_RICH_AT : min(pe, _RICH_AT + _RICH_WITHIN)])
    end = raw.find(b"Rich")
    key = raw[end + 4 : end + 8]
    if end < 0 or end % 4 or len(key) < 4:
        return None
    decoded = bytes(byte ^ key[i % 4] for i, byte in enumerate(raw[:end]))
    return hashlib.md5(decoded, usedforsecurity=False).hexdigest()


def _compile_time(data: bytes, headers: Headers | None) -> str | None:
    if headers is None or not headers.timestamp or is_reproducible(data, headers):
        return None
    return datetime.fromtimestamp(headers.timestamp, UTC).isoformat().replace("+00:00", "Z")


def _tlsh(data: bytes) -> str | None:
    try:
        import tlsh
    except ImportError:
        return None
    if is_mapped(data):  # it takes only bytes
        whole = tlsh.Tlsh()
        for at in range(0, len(data), _PART):
            whole.update(data[at : at + _PART])
        whole.final()
        digest = whole.hexdigest()
    else:
        digest = tlsh.hash(data)
    # "TNULL" and "" mean too short or too uniform.
    return None if digest in ("", "TNULL") else str(digest)


def is_reproducible(data: bytes, headers: Headers) -> bool:
    """Whether the debug directory says that a hash stands in place of the time."""
    rva, size = headers.directories.get("debug", (0, 0))
    start = headers.offset_of(rva) if rva else None
    if start is None:
        return False
    table = data[start : start + min(size, _MAX_DEBUG * _DEBUG_BYTES)]
    whole = len(table) - len(table) % _DEBUG_BYTES
    kinds = struct.iter_unpack("<12xI12x", table[:whole])
    return any(kind == _REPRO for (kind,) in kinds)


@contextlib.contextmanager
def _doubtful() -> Iterator[None]:
    """Guards a part of the file that may be malformed: what cannot be read is left out."""
    with contextlib.suppress(Exception):
        yield


def _text(value: Any) -> str | None:
    """A text without the blanks that builders pad it with; None: there is nothing else."""
    if not value:
        return None
    text = decode_name(value).strip()[:MAX_TEXT]
    return text or None


def _by_lief(binary: Any) -> dict[str, Any]:
    import lief

    found: dict[str, Any] = {}
    with _doubtful():
        if binary.has_imports:
            found["imphash"] = lief.PE.get_imphash(binary, lief.PE.IMPHASH_MODE.PEFILE) or None
    with _doubtful():
        if binary.codeview_pdb is not None:
            found["pdb_path"] = _text(binary.codeview_pdb.filename)
    with _doubtful():
        found["version"] = _lief_version(binary)
    with _doubtful():
        if binary.has_signatures:
            found["signer"] = _text(binary.signatures[0].signers[0].cert.subject)
    return found


def _lief_version(binary: Any) -> VersionInfo | None:
    if not binary.has_resources:
        return None
    for version in binary.resources_manager.version:
        info = version.string_file_info
        for table in info.children if info else ():
            entries = {_text(entry.key): _text(entry.value) for entry in table.entries}
            return _version(entries)
    return None


def _version(entries: dict[str | None, str | None]) -> VersionInfo | None:
    found = VersionInfo(
        entries.get("CompanyName"),
        entries.get("ProductName"),
        entries.get("OriginalFilename"),
        entries.get("FileVersion"),
        entries.get("FileDescription"),
    )
    return None if found == VersionInfo() else found


def _by_pefile(headers: Headers) -> dict[str, Any]:
    import pefile

    binary = headers.binary
    wanted = [
        pefile.DIRECTORY_ENTRY[f"IMAGE_DIRECTORY_ENTRY_{name.upper()}"]
        for name in ("import", "resource", "debug")
        if name not in headers.unread
    ]
    found: dict[str, Any] = {}
    with _doubtful():
        binary.parse_data_directories(directories=wanted)
    with _doubtful():
        found["imphash"] = binary.get_imphash() or None
    with _doubtful():
        for entry in getattr(binary, "DIRECTORY_ENTRY_DEBUG", ()):
            path = getattr(entry.entry, "PdbFileName", None)
            if path:
                found["pdb_path"] = _text(path)
    with _doubtful():
        for info in getattr(binary, "FileInfo", ()):
            for block in info:
                for table in getattr(block, "StringTable", ()):
                    entries = {_text(k): _text(v) for k, v in table.entries.items()}
                    found["version"] = found.get("version") or _version(entries)
    return found
