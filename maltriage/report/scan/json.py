"""JSON: the whole scan as one `ScanDocument`.

The document is written record by record, so a large scan is not held in memory. It is valid JSON
once the summary is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import msgspec

from maltriage.report.documents.record import (
    SCHEMA_VERSION,
    FileRecord,
    Summary,
    encode,
)
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import json_safe
from maltriage.report.scan.shape import mark, shape

if TYPE_CHECKING:
    from rich.console import Console


class JsonRenderer:
    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._shape = shape(options)
        self._before = b'{%b"records":[\n' % mark(options)

    def write(self, record: FileRecord) -> None:
        self._stream.write(self._before + json_safe(encode(self._shape(record))))
        self._before = b",\n"

    def finish(self, summary: Summary) -> None:
        start = b"\n" if self._before == b",\n" else self._before
        version = msgspec.json.encode(SCHEMA_VERSION)
        self._stream.write(
            b'%b],"summary":%b,"schema_version":%b}\n'
            % (start, json_safe(encode(self._shape(summary))), version)
        )
        self._stream.flush()
