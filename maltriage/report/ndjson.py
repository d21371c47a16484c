"""NDJSON: one record a line, written while the scan runs, the summary last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from maltriage.report.document import Failed, Record, Result, Skipped, Summary, encode
from maltriage.report.render import RenderOptions
from maltriage.report.sanitize import json_safe

if TYPE_CHECKING:
    from rich.console import Console


class NdjsonRenderer:
    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._fields = options.fields

    def write(self, record: Result | Skipped | Failed) -> None:
        self._line(record if self._fields is None else self._fields.document(record))

    def finish(self, summary: Summary) -> None:
        if self._fields is None:  # else every line has the chosen fields, and this has none of them
            self._line(summary)

    def _line(self, record: Record | dict[str, Any]) -> None:
        # Flushed line by line: a reader at the other end of a pipe follows the scan, and a
        # scan that dies leaves whole records behind.
        self._stream.write(json_safe(encode(record)) + b"\n")
        self._stream.flush()
