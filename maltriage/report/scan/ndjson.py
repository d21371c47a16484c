"""NDJSON: one record a line, written while the scan runs, the summary last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from maltriage.report.documents.record import FileRecord, Summary, encode
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import json_safe
from maltriage.report.scan.shape import shape

if TYPE_CHECKING:
    from rich.console import Console


class NdjsonRenderer:
    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._shape = shape(options)
        self._narrowed = options.fields is not None

    def write(self, record: FileRecord) -> None:
        self._line(self._shape(record))

    def finish(self, summary: Summary) -> None:
        if not self._narrowed:  # a summary has none of the chosen fields
            self._line(self._shape(summary))

    def _line(self, record: Any) -> None:
        # Flushed line by line: the reader of a pipe follows the scan, and a scan that dies leaves
        # complete records.
        self._stream.write(json_safe(encode(record)) + b"\n")
        self._stream.flush()
