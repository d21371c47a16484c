"""Reads saved reports record by record, to render them again without the samples.

NDJSON and JSON of `scan` and `explain` have one record a line and are read line by line, so a
report may be larger than memory, and may be cut off: complete records are kept. Reports that
another tool has reformatted (one long line, or indented) are read as a whole.

Reports are untrusted input: they are checked against the structs of `record`, and renderers
sanitize their strings like those of a sample.
"""

from __future__ import annotations

import base64
import codecs
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from maltriage.errors import MaltriageError
from maltriage.files.decoding import TooDeepError, decoded
from maltriage.report.documents.record import (
    SCHEMA_VERSION,
    FileRecord,
    Record,
    Result,
    ScanDocument,
    Summary,
)
from maltriage.report.saved.recognise import BEGIN, HEAD_BYTES, is_utf16
from maltriage.version import __version__

MAX_LINE = 64 * 1024 * 1024
"""Most bytes of one record; maltriage writes fewer than 1 MB."""
MAX_WHOLE = 256 * 1024 * 1024
"""Most bytes of a report that does not have one record a line."""
TAIL_BYTES = 4096
"""Last bytes of a report, where its summary has the version of maltriage."""

_BOM = codecs.BOM_UTF8
_LINES = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{[ \t]*"type"')
_DOCUMENT = b'{"records":['
_DOCUMENT_LINES = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{"records":\[\r?\n')
_DOCUMENT_END = b"]"
_WRITER = re.compile(rb'"version"\s*:\s*"([^"\\]{1,40})"')
_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})", re.ASCII)
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_HASHES = {
    "md5": re.compile("[0-9a-fA-F]{32}"),
    "sha1": re.compile("[0-9a-fA-F]{40}"),
    "tlsh": re.compile("(T1)?[0-9a-fA-F]{70}"),
}
_LARGEST = 1e100
_WORD = 1 << 63
_ADDRESSES = frozenset({"image_base", "va"})
"""Fields whose numbers have 64 bits without a sign: a kernel lies in the upper half."""
_LONG = re.compile(rb"[:,\[]\s*-?(?:\d{19}|[\d.]+[eE]\+?\d{3})")
"""A number that may be too large for a renderer, unless it stands in a text."""
_KNOWN = f"1.0 to {SCHEMA_VERSION}"

_R = TypeVar("_R", bound=Record)


class Cut(NamedTuple):
    """The end of a report that is cut off: in the middle of a line, or before its summary."""

    line: int


class _Stamp(msgspec.Struct):
    """The schema version, by which records of another schema are recognised."""

    schema_version: str


_record = msgspec.json.Decoder(Record)
_document = msgspec.json.Decoder(ScanDocument)
_stamp = msgspec.json.Decoder(_Stamp)
_any = msgspec.json.Decoder(msgspec.Raw)


class Line(NamedTuple):
    number: int
    text: bytes
    ended: bool
    """Whether it ends in a line feed; only the last line of a file may lack one."""


def read(path: str) -> Iterator[Record | Cut]:
    """The records of a saved report in order, and where it is cut off.

    Raises:
        MaltriageError: it cannot be read, is no report, or has an unknown schema.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            begin = BEGIN.match(head)
            if is_utf16(head):
                raise MaltriageError(
                    f"{path}: UTF-16, as some shells redirect output; write it with --output"
                )
            if begin is None:
                raise MaltriageError(f"{path}: not a report of maltriage")
            if _LINES.match(head):
                yield from _stream(path, _lines(path, file))
            elif _DOCUMENT_LINES.match(head):
                yield from _long_document(path, _lines(path, file))
            else:
                yield from _whole(path, file, begin["document"] is not None)
    except OSError as error:
        raise MaltriageError(f"cannot read {path}: {error.strerror}") from error


def _lines(path: str, file: BinaryIO) -> Iterator[Line]:
    """The lines that are not blank."""
    number = 0
    while text := file.readline(MAX_LINE + 1):
        number += 1
        if len(text) > MAX_LINE:
            raise MaltriageError(
                f"{path}: line {number} is longer than {MAX_LINE:,} bytes, too large for a record"
            )
        stripped = text.removeprefix(_BOM).strip()
        if stripped:
            yield Line(number, stripped, text.endswith(b"\n"))


def _stream(path: str, lines: Iterator[Line]) -> Iterator[Record | Cut]:
    """NDJSON: one record a line."""
    for line in lines:
        if _broken_off(line, line.text):
            yield Cut(line.number)
            return
        yield _decoded(path, line.text, line.number)


def _long_document(path: str, lines: Iterator[Line]) -> Iterator[Record | Cut]:
    """A `ScanDocument` as `JsonRenderer` writes it: one record a line, commas after them."""
    number = next(lines).number
    for line in lines:
        number = line.number
        last = line.text.startswith(_DOCUMENT_END)
        text = _DOCUMENT + line.text if last else line.text.removesuffix(b",")
        if _broken_off(line, text):
            break
        if not last:
            yield _decoded(path, text, number)
            continue
        yield _whole_document(path, text).summary
        after = next(lines, None)
        if after is not None:
            raise MaltriageError(
                f"{path}: line {after.number} comes after the end of the report; name several"
                " reports one by one"
            )
        return
    yield Cut(number)


def _broken_off(line: Line, text: bytes) -> bool:
    """Whether a line is incomplete because the file ends in it."""
    if line.ended:
        return False
    try:
        decoded(text, _any)
    except TooDeepError:
        return False  # whatever its end is: who decodes it says so
    except msgspec.DecodeError:
        return True
    return False


def _whole(path: str, file: BinaryIO, is_document: bool) -> Iterator[Record]:
    """A document or one record, in any layout."""
    data = file.read(MAX_WHOLE + 1).removeprefix(_BOM)
    if len(data) > MAX_WHOLE:
        raise MaltriageError(f"{path}: larger than {MAX_WHOLE:,} bytes without one record a line")
    if not is_document:
        yield _decoded(path, data, None)
        return
    document = _whole_document(path, data)
    large = _LONG.search(data) is not None
    for record in document.records:
        _check_version(path, record.schema_version)
        yield _now(path, record, large=large)
    yield document.summary


def _whole_document(path: str, data: bytes) -> ScanDocument:
    try:
        document = decoded(data, _document)
    except msgspec.MsgspecError as error:
        raise _refusal(path, data, None, error) from error
    _check_version(path, document.schema_version)
    _check_version(path, document.summary.schema_version)
    summary = _now(path, document.summary, large=_LONG.search(data) is not None)
    return msgspec.structs.replace(document, summary=summary)


def _decoded(path: str, data: bytes, line: int | None) -> Record:
    try:
        record: Record = decoded(data, _record)
    except msgspec.MsgspecError as error:
        raise _refusal(path, data, line, error) from error
    _check_version(path, record.schema_version)
    return _now(path, record, large=_LONG.search(data) is not None)


def _now(path: str, record: _R, *, large: bool) -> _R:
    """A record with the current schema version, whose fields it has once it is read.

    Args:
        large: whether a number in it may be too large.

    Raises:
        MaltriageError: it has a value that no scan writes, and no renderer can show.
    """
    odd = _too_large(msgspec.to_builtins(record)) if large else None
    if odd is None and not isinstance(record, Summary):
        odd = _odd(record)
    if odd is not None:
        whose = "the summary" if isinstance(record, Summary) else record.path
        raise MaltriageError(f"{path}: not a maltriage record: the {odd} of {whose} is odd")
    if record.schema_version == SCHEMA_VERSION:
        return record
    return msgspec.structs.replace(record, schema_version=SCHEMA_VERSION)


def _odd(record: FileRecord) -> str | None:
    """The name of a field with an odd value, None if there is none."""
    try:
        base64.b64decode(record.path_b64 or "", validate=True)
    except ValueError:
        return "path_b64"
    if not isinstance(record, Result):
        return None
    if not _SHA256.fullmatch(record.sha256):
        return "sha256"
    if record.size < 0:
        return "size"
    for name, kind in _HASHES.items():
        value = getattr(record.identity, name)
        if value is not None and not kind.fullmatch(value):
            return name
    if not 0 <= (record.verdict.probability or 0) <= 1:
        return "probability"
    return None


def _too_large(value: object, name: str = "record") -> str | None:
    """The name of a field with a number that some renderer cannot show; None if there is none."""
    if isinstance(value, dict):
        return next((odd for key, of in value.items() if (odd := _too_large(of, key))), None)
    if isinstance(value, list):
        return next((odd for of in value if (odd := _too_large(of, name))), None)
    if isinstance(value, int):
        return None if -_WORD <= value < (2 * _WORD if name in _ADDRESSES else _WORD) else name
    return name if isinstance(value, float) and abs(value) > _LARGEST else None


def _refusal(path: str, data: bytes, line: int | None, error: Exception) -> MaltriageError:
    """The error for data that does not fit the structs; it names a schema that differs."""
    place = f"{path}, line {line}" if line is not None else path
    try:
        stated = decoded(data, _stamp).schema_version
    except TooDeepError as deep:
        return MaltriageError(f"{place}: not a maltriage record: {deep}")
    except msgspec.MsgspecError:
        stated = ""
    if _VERSION.fullmatch(stated):
        _check_version(path, stated)
        if _numbers(stated) > _numbers(SCHEMA_VERSION):
            return MaltriageError(
                f"{path}: made by a newer maltriage{_written_by(path)}, with schema {stated};"
                f" maltriage {__version__} reads {_KNOWN}: {error}"
            )
    if line is None and "trailing characters" in str(error):
        return MaltriageError(f"{path}: several records, not one a line (jq -c makes it so)")
    if "truncated" in str(error):
        return MaltriageError(f"{place}: cut off in the middle")
    hint = "" if stated else " (written with --fields?)"
    return MaltriageError(f"{place}: not a maltriage record{hint}: {error}")


def _check_version(path: str, stated: str) -> None:
    """Refuse another major version: its names may have another meaning."""
    if not _VERSION.fullmatch(stated):
        raise MaltriageError(f"{path}: no schema version {stated!r}")
    if _numbers(stated)[0] != _numbers(SCHEMA_VERSION)[0]:
        raise MaltriageError(
            f"{path}: schema {stated}{_written_by(path)}; maltriage {__version__} reads {_KNOWN}"
        )


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


def _written_by(path: str) -> str:
    """`, written by maltriage X`, from the summary; empty if there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            found = _WRITER.findall(file.read())
    except OSError:
        return ""
    return f", written by maltriage {found[-1].decode('utf-8', 'replace')}" if found else ""
