"""CSV for spreadsheets: one row per file, failures and skips included.

UTF-8, commas, a line feed after each row. Text passes the sanitizer, and no cell with a string of a
sample can be a formula: spreadsheets run cells that begin with `=`, `+`, `-` or `@`. Where numbers
have a decimal comma they divide rows at semicolons, so what follows one begins a cell, too.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, BinaryIO

from maltriage.report.documents.record import FileRecord, Summary
from maltriage.report.formats import RenderOptions
from maltriage.report.sanitize import MAX_SHOWN, clean
from maltriage.report.scan.row import COLUMNS, Value, row

if TYPE_CHECKING:
    from rich.console import Console

MAX_CELL = 32_767
"""Characters that a spreadsheet takes in a cell; the limit for chosen fields."""
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # the wide forms start a formula too
_AFTER_SEMICOLON = re.compile(r";(?= *[=+\-@＝＋－＠])")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def cell(value: Value, limit: int = MAX_SHOWN) -> str:
    """A cell's text: a number, `true`/`false`, empty for None, or text that is not a formula.

    Args:
        limit: longest text in characters.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    inert = value.lstrip(" ")[:1] not in _FORMULA or _NUMBER.fullmatch(value)
    shown = _AFTER_SEMICOLON.sub(";'", clean(value, limit))
    return shown if inert else "'" + shown


class CsvRenderer:
    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._started = False
        self._fields = options.fields
        self._names = list(COLUMNS) if self._fields is None else list(self._fields.names)

    def write(self, record: FileRecord) -> None:
        self._start()
        if self._fields is None:
            values = row(record)
            self._put([cell(values.get(name)) for name in COLUMNS])
        else:
            self._put([cell(value, MAX_CELL) for value in self._fields.cells(record)])

    def finish(self, summary: Summary) -> None:
        self._start()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._put(self._names)

    def _put(self, cells: list[str]) -> None:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow(cells)
        self._stream.write(buffer.getvalue().encode())
        self._stream.flush()
