"""Parquet for databases and data frames: one row per file, failures and skips included.

The columns are those of CSV, with types; `record` holds the whole record as JSON. Rows are written
in groups, so memory does not grow with the scan; the file can be read once its end is written. The
summary is in the metadata of the file, as `maltriage.summary`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from maltriage.errors import need
from maltriage.report.documents.record import FileRecord, Summary, encode
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import clean, json_safe
from maltriage.report.scan.row import COLUMNS, Value, row

if TYPE_CHECKING:
    from rich.console import Console

MAX_ROWS = 4096
"""Most rows in a group."""
MAX_BYTES = 8 * 1024 * 1024
"""Most text in a group, in characters, before compression."""
RECORD = "record"
SUMMARY = "maltriage.summary"


class ParquetRenderer:
    """Writes rows as Parquet. Raises MaltriageError if PyArrow is not installed."""

    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        need("parquet", "Parquet needs PyArrow", "pyarrow")
        import pyarrow

        types = {
            str: pyarrow.string(),
            int: pyarrow.int64(),
            float: pyarrow.float64(),
            bool: pyarrow.bool_(),
        }
        self._fields = options.fields
        whole = [*COLUMNS.items(), (RECORD, str)]
        chosen = whole if self._fields is None else self._fields.kinds()
        self._schema = pyarrow.schema([(name, types[kind or str]) for name, kind in chosen])
        self._table: Any = pyarrow.Table
        self._stream = _Stream(stream)
        self._begun: Any = None
        self._columns: dict[str, list[Value]] = {name: [] for name in self._schema.names}
        self._rows = self._bytes = 0

    def write(self, record: FileRecord) -> None:
        if self._fields is None:
            values = row(record)
            cells = [values.get(name) for name in COLUMNS]
        else:
            cells = self._fields.cells(record)
        shown = [clean(value) if isinstance(value, str) else value for value in cells]
        if self._fields is None:
            shown.append(json_safe(encode(record)).decode())
        for values_of, value in zip(self._columns.values(), shown, strict=True):
            values_of.append(value)
        self._rows += 1
        self._bytes += sum(len(value) for value in shown if isinstance(value, str))
        if self._rows >= MAX_ROWS or self._bytes >= MAX_BYTES:
            self._flush()

    def finish(self, summary: Summary) -> None:
        self._flush()
        self._writer.add_key_value_metadata({SUMMARY: json_safe(encode(summary)).decode()})
        self._writer.close()
        self._stream.flush()

    @property
    def _writer(self) -> Any:
        """The writer, opened with the first rows, since it writes at once."""
        if self._begun is None:
            import pyarrow
            from pyarrow import parquet

            sink = pyarrow.PythonFile(self._stream, mode="w")
            self._begun = parquet.ParquetWriter(sink, self._schema, compression="zstd")
        return self._begun

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table.from_pydict(self._columns, schema=self._schema))
            for values in self._columns.values():
                values.clear()
            self._rows = self._bytes = 0


class _Stream:
    """A stream that PyArrow cannot close. Writes after the end are ignored.

    A discarded writer still writes the end of its file, perhaps after the stream was closed.
    """

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        return len(data) if self._stream.closed else self._stream.write(data)

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()

    def close(self) -> None:
        pass
