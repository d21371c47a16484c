"""JSON: the whole scan as one `ScanDocument`.

The document is written piece by piece as the records come, so a large scan is not held in
memory; it is complete, and valid JSON, once the summary is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import msgspec

from maltriage.report.document import SCHEMA_VERSION, Failed, Result, Skipped, Summary, encode
from maltriage.report.render import RenderOptions
from maltriage.report.sanitize import json_safe

if TYPE_CHECKING:
    from rich.console import Console


class JsonRenderer:
    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._fields = options.fields
        # What is no saved report begins as none does.
        chosen = b"" if self._fields is None else b'"fields":%b,' % encode(self._fields.names)
        self._before = b'{%b"records":[\n' % chosen

    def write(self, record: Result | Skipped | Failed) -> None:
        shown = record if self._fields is None else self._fields.document(record)
        self._stream.write(self._before + json_safe(encode(shown)))
        self._before = b",\n"

    def finish(self, summary: Summary) -> None:
        start = b"\n" if self._before == b",\n" else self._before
        version = msgspec.json.encode(SCHEMA_VERSION)
        self._stream.write(
            b'%b],"summary":%b,"schema_version":%b}\n'
            % (start, json_safe(encode(summary)), version)
        )
        self._stream.flush()
