"""Reports that were saved: read back record by record, to be rendered again without the samples.

What `scan` and `explain` write as NDJSON or JSON has one record a line, and is read a line at a
time, so a report may be larger than the memory, and cut off anywhere: what is whole is kept. What
another tool has laid out anew (one long line, or indented) is read as a whole.

A report is an input like any other and may say anything: it is checked against the structs of
`document`, and its strings are sanitized by whoever renders them, as those of a sample are.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import (
    SCHEMA_VERSION,
    Failed,
    ModelRef,
    Record,
    Result,
    ScanDocument,
    Skipped,
    Summary,
)
from maltriage.report.scan.shape import written_with
from maltriage.version import __version__

MAX_LINE = 64 * 1024 * 1024
"""Bytes of one record; those that maltriage writes stay below 1 MB."""
MAX_WHOLE = 256 * 1024 * 1024
"""Bytes of a report that does not have one record a line."""
HEAD_BYTES = 4096
"""First bytes of a file that tell whether it is a saved report."""
TAIL_BYTES = 4096
"""Last bytes of a report, where its summary says which maltriage wrote it."""

_BOM = codecs.BOM_UTF8
_BEGIN = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*\{\s*"
    rb'(?:(?P<document>"records"\s*:\s*\[)|"type"\s*:\s*"(?:result|skipped|error|summary)")'
)
_LINES = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{[ \t]*"type"')
_DOCUMENT = b'{"records":['
_DOCUMENT_LINES = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{"records":\[\r?\n')
_DOCUMENT_END = b"]"
_WRITER = re.compile(rb'"version"\s*:\s*"([^"\\]{1,40})"')
_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})", re.ASCII)
_KNOWN = f"1.0 to {SCHEMA_VERSION}"

FileRecord = Result | Skipped | Failed
_R = TypeVar("_R", bound=Record)


class _Cut(NamedTuple):
    """The end of a report that breaks off: in the middle of a line, or before its summary."""

    line: int


class _Stamp(msgspec.Struct):
    """What tells a record of another schema from what is no record."""

    schema_version: str


_record = msgspec.json.Decoder(Record)
_document = msgspec.json.Decoder(ScanDocument)
_stamp = msgspec.json.Decoder(_Stamp)


def is_report(path: str) -> bool:
    """Whether a file that the user named begins like a saved report. Only its head is read."""
    head = _head(path)
    if written_with(head, len(head) == HEAD_BYTES):
        return False
    return _BEGIN.match(head) is not None or _is_utf16(head)


def _head(path: str) -> bytes:
    """The first bytes of a regular file, none of anything else."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return b""
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def refuse_other(path: str) -> None:
    """Raise MaltriageError where a file that the user named was written so that it is no report."""
    head = _head(path)
    option = written_with(head, len(head) == HEAD_BYTES)
    if option is not None:
        raise MaltriageError(
            f"{path}: written with {option}, so it lacks what a saved report has; write it without"
            " to read it again"
        )


@dataclass
class SavedReport:
    """A saved report, looked through once: it can be read, and this is what it holds."""

    path: str
    counts: Counts = field(default_factory=Counts)
    summaries: list[Summary] = field(default_factory=list)
    """Of each scan in it; a stream may hold several, one after the other."""
    models: list[ModelRef] = field(default_factory=list)
    """Each that made some of it, once."""
    cut: int | None = None
    """The line where it breaks off."""
    unfinished: bool = False
    """Its last records are those of a scan that wrote no summary: it was killed."""
    miscounted: bool = False
    """A summary counts other records than there are: some were taken out, or added."""

    @property
    def interrupted(self) -> bool:
        return self.cut is not None or self.unfinished or any(s.interrupted for s in self.summaries)

    def records(self) -> Iterator[FileRecord]:
        """What it says of each file, in its order, read anew.

        Raises:
            MaltriageError: it is not what it was when it was looked through.
        """
        for item in _read(self.path):
            if not isinstance(item, (Summary, _Cut)):
                yield item

    def notices(self) -> Iterator[str]:
        """What the reader should know besides what is rendered."""
        if self.cut is not None:
            yield f"{self.path}: cut off in line {self.cut}; what is whole before it is shown"
        elif self.unfinished:
            yield f"{self.path}: no summary at its end: the scan that wrote it did not finish"
        if self.miscounted:
            yield f"{self.path}: its summary counts other records than there are: counted anew"


def look_through(path: str) -> SavedReport:
    """Read a saved report once, holding one record at a time.

    Raises:
        MaltriageError: it cannot be read, is no report, or of a schema that is not known.
    """
    report, scan, lone = SavedReport(path), Counts(), True
    for item in _read(path):
        if isinstance(item, _Cut):
            report.cut = item.line
        elif isinstance(item, Summary):
            report.summaries.append(item)
            report.miscounted |= any(getattr(item, n) != v for n, v in asdict(scan).items())
            scan, lone = Counts(), True
        else:
            report.counts.add(item)
            scan.add(item)
            # `explain` alone draws planes, and it writes no summary.
            lone &= isinstance(item, Result) and item.evidence.plane is not None
        if isinstance(item, (Result, Summary)) and item.model not in report.models:
            report.models.append(item.model)
    left = scan.records
    if report.cut is not None and not left and not report.summaries:
        raise MaltriageError(f"{path}: cut off before its first record ends")
    one = left == 1 and not report.summaries
    report.unfinished = left > 0 and not lone and not one
    return report


def combined(reports: Sequence[SavedReport]) -> Summary:
    """One summary of several reports. What it counts is what is there, and seconds add up.

    `version` is the one that wrote them all, or where they differ this one.

    Raises:
        MaltriageError: they are of different models.
    """
    total, models = Counts(), list[tuple[ModelRef, str]]()
    for report in reports:
        for name, value in asdict(report.counts).items():
            setattr(total, name, getattr(total, name) + value)
        models += [(model, report.path) for model in report.models]
    for model, path in models[1:]:
        if model != models[0][0]:
            raise MaltriageError(
                f"{_called(models[0][0])} made {models[0][1]}, and {_called(model)} made {path}:"
                " figures of two models do not add up; render them one by one"
            )
    summaries = [summary for report in reports for summary in report.summaries]
    versions = {summary.version for summary in summaries}
    return Summary(
        **asdict(total),
        seconds=sum(summary.seconds for summary in summaries),
        interrupted=any(report.interrupted for report in reports),
        model=models[0][0] if models else ModelRef("unknown", ""),
        version=versions.pop() if len(versions) == 1 else __version__,
    )


def _called(model: ModelRef) -> str:
    return f"{model.name} {model.weights_sha256[:12]}"


class Line(NamedTuple):
    number: int
    text: bytes
    ended: bool
    """Whether a line feed ends it; only the last line of a file may lack one."""


def _read(path: str) -> Iterator[Record | _Cut]:
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            begin = _BEGIN.match(head)
            if _is_utf16(head):
                raise MaltriageError(
                    f"{path}: in UTF-16, as some shells write what is sent to a file; use --output"
                )
            if begin is None:
                raise MaltriageError(f"{path}: no report that maltriage wrote")
            if _LINES.match(head):
                yield from _stream(path, _lines(path, file))
            elif _DOCUMENT_LINES.match(head):
                yield from _long_document(path, _lines(path, file))
            else:
                yield from _whole(path, file, begin["document"] is not None)
    except OSError as error:
        raise MaltriageError(f"cannot read {path}: {error.strerror}") from error


def _is_utf16(head: bytes) -> bool:
    """Whether it would be a report if it were UTF-8."""
    if not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    return _BEGIN.match(head.decode("utf-16", "ignore").encode("utf-8", "ignore")) is not None


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


def _stream(path: str, lines: Iterator[Line]) -> Iterator[Record | _Cut]:
    """NDJSON: one record a line."""
    for line in lines:
        if _broken_off(line, line.text):
            yield _Cut(line.number)
            return
        yield _decoded(path, line.text, line.number)


def _long_document(path: str, lines: Iterator[Line]) -> Iterator[Record | _Cut]:
    """A `ScanDocument` as `JsonRenderer` lays it out: a line each record, commas after them."""
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
                f"{path}: it goes on after its end, in line {after.number}: name several reports"
                " one by one"
            )
        return
    yield _Cut(number)


def _broken_off(line: Line, text: bytes) -> bool:
    """Whether a line is not whole because the file ends in it."""
    if line.ended:
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return True
    return False


def _whole(path: str, file: BinaryIO, is_document: bool) -> Iterator[Record]:
    """A document or one record, laid out in any way."""
    data = file.read(MAX_WHOLE + 1).removeprefix(_BOM)
    if len(data) > MAX_WHOLE:
        raise MaltriageError(
            f"{path}: above {MAX_WHOLE:,} bytes, and not one record a line as maltriage writes it"
        )
    if not is_document:
        yield _decoded(path, data, None)
        return
    document = _whole_document(path, data)
    for record in document.records:
        _check_version(path, record.schema_version)
        yield _now(record)
    yield document.summary


def _whole_document(path: str, data: bytes) -> ScanDocument:
    try:
        document = _document.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _refusal(path, data, None, error) from error
    _check_version(path, document.schema_version)
    _check_version(path, document.summary.schema_version)
    return msgspec.structs.replace(document, summary=_now(document.summary))


def _decoded(path: str, data: bytes, line: int | None) -> Record:
    try:
        record: Record = _record.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _refusal(path, data, line, error) from error
    _check_version(path, record.schema_version)
    return _now(record)


def _now(record: _R) -> _R:
    """A record as it would be written now: it has the fields of this version, so it says so."""
    if record.schema_version == SCHEMA_VERSION:
        return record
    return msgspec.structs.replace(record, schema_version=SCHEMA_VERSION)


def _refusal(path: str, data: bytes, line: int | None, error: Exception) -> MaltriageError:
    """Why data that does not fit the structs is refused: its schema, if that is another."""
    place = f"{path}, line {line}" if line is not None else path
    try:
        stated = _stamp.decode(data).schema_version
    except (msgspec.MsgspecError, UnicodeDecodeError):
        stated = ""
    if _VERSION.fullmatch(stated):
        _check_version(path, stated)
        if _numbers(stated) > _numbers(SCHEMA_VERSION):
            return MaltriageError(
                f"{path}: made by a newer maltriage{_written_by(path)}, with schema {stated} where"
                f" this one, {__version__}, reads {_KNOWN}: {error}"
            )
    if line is None and "trailing characters" in str(error):
        return MaltriageError(f"{path}: several records that are not one a line each (jq -c)")
    if "truncated" in str(error):
        return MaltriageError(f"{place}: cut off in the middle")
    hint = "" if stated else " (written with --fields?)"
    return MaltriageError(f"{place}: not a maltriage record{hint}: {error}")


def _check_version(path: str, stated: str) -> None:
    """Refuse another major version: the same names may mean something else there."""
    if not _VERSION.fullmatch(stated):
        raise MaltriageError(f"{path}: no schema version is called {stated!r}")
    if _numbers(stated)[0] != _numbers(SCHEMA_VERSION)[0]:
        raise MaltriageError(
            f"{path}: schema {stated}{_written_by(path)}; this maltriage, {__version__}, reads"
            f" {_KNOWN}"
        )


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


def _written_by(path: str) -> str:
    """`, written by maltriage X`, where its summary says so."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            found = _WRITER.findall(file.read())
    except OSError:
        return ""
    return f", written by maltriage {found[-1].decode('utf-8', 'replace')}" if found else ""
