"""Reads saved reports record by record, to render them again without the samples.

NDJSON and JSON of `scan` and `explain` have one record a line and are read line by line, so a
report may be larger than memory, and may be cut off: complete records are kept. Reports that
another tool has reformatted (one long line, or indented) are read as a whole.

Reports are untrusted input: they are checked against the structs of `record`, and renderers
sanitize their strings like those of a sample.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from maltriage.errors import MaltriageError
from maltriage.files.decoding import TooDeepError, decoded
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
"""Most bytes of one record; maltriage writes fewer than 1 MB."""
MAX_WHOLE = 256 * 1024 * 1024
"""Most bytes of a report that does not have one record a line."""
HEAD_BYTES = 4096
"""First bytes of a file, by which a saved report is recognised."""
TAIL_BYTES = 4096
"""Last bytes of a report, where its summary has the version of maltriage."""

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
    """The end of a report that is cut off: in the middle of a line, or before its summary."""

    line: int


class _Stamp(msgspec.Struct):
    """The schema version, by which records of another schema are recognised."""

    schema_version: str


_record = msgspec.json.Decoder(Record)
_document = msgspec.json.Decoder(ScanDocument)
_stamp = msgspec.json.Decoder(_Stamp)
_any = msgspec.json.Decoder(msgspec.Raw)


def is_report(path: str) -> bool:
    """Whether a file begins like a saved report. Only its head is read."""
    head = _head(path)
    if written_with(head, len(head) == HEAD_BYTES):
        return False
    return _BEGIN.match(head) is not None or _is_utf16(head)


def _head(path: str) -> bytes:
    """The first bytes of a regular file; empty for anything else."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return b""
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def refuse_other(path: str) -> None:
    """Raise MaltriageError if a file is output of `--fields` or `--ecs`, which is no report."""
    head = _head(path)
    option = written_with(head, len(head) == HEAD_BYTES)
    if option is not None:
        raise MaltriageError(
            f"{path}: not a saved report, since it was written with {option}; scan again without"
            " that option"
        )


@dataclass
class SavedReport:
    """A saved report that was read through once: its counts, summaries and models."""

    path: str
    counts: Counts = field(default_factory=Counts)
    summaries: list[Summary] = field(default_factory=list)
    """Summary of each scan in it; a stream may hold several scans."""
    models: list[ModelRef] = field(default_factory=list)
    """The models of its records, each once."""
    cut: int | None = None
    """The line where it is cut off."""
    unfinished: bool = False
    """Whether its last scan was killed and has no summary."""
    miscounted: bool = False
    """Whether a summary does not match the records: some were removed or added."""

    @property
    def interrupted(self) -> bool:
        return self.cut is not None or self.unfinished or any(s.interrupted for s in self.summaries)

    def records(self) -> Iterator[FileRecord]:
        """The records of its files, in order, read from the file again.

        Raises:
            MaltriageError: the file has changed and is not a report any more.
        """
        for item in _read(self.path):
            if not isinstance(item, (Summary, _Cut)):
                yield item

    def notices(self) -> Iterator[str]:
        """Notices for the user about flaws of the report."""
        if self.cut is not None:
            yield f"{self.path}: cut off in line {self.cut}; the records before it are shown"
        elif self.unfinished:
            yield f"{self.path}: no summary at the end; the scan did not finish"
        if self.miscounted:
            yield f"{self.path}: the summary does not match the records, which are counted anew"


def look_through(path: str) -> SavedReport:
    """Read through a saved report, holding one record at a time.

    Raises:
        MaltriageError: it cannot be read, is no report, or has an unknown schema.
    """
    report, scan, explained = SavedReport(path), Counts(), set[bool]()
    for item in _read(path):
        if isinstance(item, _Cut):
            report.cut = item.line
        elif isinstance(item, Summary):
            report.summaries.append(item)
            report.miscounted |= any(getattr(item, n) != getattr(scan, n) for n in _COUNTED)
            scan, explained = Counts(), set[bool]()
        else:
            report.counts.add(item)
            scan.add(item)
            if isinstance(item, Result):
                explained.add(_explained(item))
        if isinstance(item, (Result, Summary)) and item.model not in report.models:
            report.models.append(item.model)
    left = scan.records
    if report.cut is not None and not left and not report.summaries:
        raise MaltriageError(f"{path}: cut off in its first record")
    one = left == 1 and not report.summaries
    # `explain` writes no summary. A file that could not be read has the same record from both.
    report.unfinished = left > 0 and explained != {True} and not one
    return report


def _explained(result: Result) -> bool:
    """Whether `explain` made a result: it alone draws planes and masks windows."""
    return result.evidence.plane is not None or result.evidence.occluded is not None


def combined(reports: Sequence[SavedReport]) -> Summary:
    """One summary of several reports, with the counts of their records and the sum of seconds.

    `version` is that of the reports, or this one if they differ.

    Raises:
        MaltriageError: the reports are of different models.
    """
    total, models = Counts(), list[tuple[ModelRef, str]]()
    for report in reports:
        total.join(report.counts)
        models += [(model, report.path) for model in report.models]
    for model, path in models[1:]:
        if model != models[0][0]:
            raise MaltriageError(
                f"{models[0][1]} is by {_called(models[0][0])}, {path} by {_called(model)}:"
                " reports of two models cannot be joined; render them one by one"
            )
    summaries = [summary for report in reports for summary in report.summaries]
    versions = {summary.version for summary in summaries}
    return total.summary(
        models[0][0] if models else ModelRef("unknown", ""),
        sum(summary.seconds for summary in summaries),
        interrupted=any(report.interrupted for report in reports),
        version=versions.pop() if len(versions) == 1 else __version__,
    )


def _called(model: ModelRef) -> str:
    return f"{model.name} {model.weights_sha256[:12]}"


_COUNTED = ("files", "flagged", "failed", "skipped", "known", "bytes")
"""What every summary counts; older ones have no more."""


class Line(NamedTuple):
    number: int
    text: bytes
    ended: bool
    """Whether it ends in a line feed; only the last line of a file may lack one."""


def _read(path: str) -> Iterator[Record | _Cut]:
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            begin = _BEGIN.match(head)
            if _is_utf16(head):
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


def _is_utf16(head: bytes) -> bool:
    """Whether a file is a report in UTF-16."""
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
    yield _Cut(number)


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
    for record in document.records:
        _check_version(path, record.schema_version)
        yield _now(record)
    yield document.summary


def _whole_document(path: str, data: bytes) -> ScanDocument:
    try:
        document = decoded(data, _document)
    except msgspec.MsgspecError as error:
        raise _refusal(path, data, None, error) from error
    _check_version(path, document.schema_version)
    _check_version(path, document.summary.schema_version)
    return msgspec.structs.replace(document, summary=_now(document.summary))


def _decoded(path: str, data: bytes, line: int | None) -> Record:
    try:
        record: Record = decoded(data, _record)
    except msgspec.MsgspecError as error:
        raise _refusal(path, data, line, error) from error
    _check_version(path, record.schema_version)
    return _now(record)


def _now(record: _R) -> _R:
    """A record with the current schema version, whose fields it has once it is read."""
    if record.schema_version == SCHEMA_VERSION:
        return record
    return msgspec.structs.replace(record, schema_version=SCHEMA_VERSION)


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
