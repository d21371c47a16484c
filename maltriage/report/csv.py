"""CSV for spreadsheets: one row per file, failures and skips included.

UTF-8, commas, a line feed after each row. Text passes the sanitizer, and no cell that came
from a sample can start a formula: a spreadsheet runs what begins with `=`, `+`, `-` or `@`.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, BinaryIO

from maltriage.report import facts
from maltriage.report.document import Failed, Result, Skipped, Summary
from maltriage.report.render import RenderOptions
from maltriage.report.sanitize import MAX_SHOWN, clean

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = (
    "path",
    "status",
    "sha256",
    "size",
    "format",
    "label",
    "closest",
    "probability",
    "flagged",
    "margin",
    "top_region",
    "top_share",
    "entropy",
    "packed",
    "notices",
    "model",
    "weights_sha256",
    "error",
    "supported",
    "claims",
    "rank_correlation",
    "nearest_label",
    "nearest_distance",
    "known_as",
    "calibrated",
    "set",
    "novelty",
)

EMPTY = "(empty)"
"""A prediction set without labels; a record without a set has an empty cell."""
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # the wide forms start a formula too
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def cell(value: str | float | bool | None) -> str:
    """A cell's text: numbers as they are, `true`/`false`, empty for None, text made inert."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    inert = value.lstrip(" ")[:1] not in _FORMULA or _NUMBER.fullmatch(value)
    return clean(value, MAX_SHOWN) if inert else "'" + clean(value, MAX_SHOWN)


class CsvRenderer:
    def __init__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> None:
        self._stream = stream
        self._started = False

    def write(self, record: Result | Skipped | Failed) -> None:
        self._row(_result(record) if isinstance(record, Result) else _problem(record))

    def finish(self, summary: Summary) -> None:
        self._start()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._put(COLUMNS)

    def _row(self, values: dict[str, str | float | bool | None]) -> None:
        self._start()
        self._put([cell(values.get(name)) for name in COLUMNS])

    def _put(self, cells: tuple[str, ...] | list[str]) -> None:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow(cells)
        self._stream.write(buffer.getvalue().encode())
        self._stream.flush()


def _problem(record: Skipped | Failed) -> dict[str, str | float | bool | None]:
    status = "skipped" if isinstance(record, Skipped) else "error"
    return {"path": record.path, "status": status, "error": f"{record.code}: {record.reason}"}


def _result(record: Result) -> dict[str, str | float | bool | None]:
    verdict, top, checks = record.verdict, facts.hottest(record), record.evidence.checks
    supported, claims = facts.supports(checks) if checks else (None, None)
    similar = record.similar
    nearest = similar.nearest[0] if similar and similar.nearest else None
    return {
        "path": record.path,
        "status": "result",
        "sha256": record.sha256,
        "size": record.size,
        "format": record.format,
        "label": verdict.label,
        "closest": verdict.closest,
        "probability": verdict.probability,
        "calibrated": verdict.calibrated,
        "flagged": verdict.flagged,
        "margin": verdict.margin,
        "top_region": top.name if top else None,
        "top_share": top.share if top else None,
        "entropy": facts.entropy(record),
        "packed": facts.packed(record),
        "notices": " ".join(facts.notice_codes(record)),
        "model": record.model.name,
        "weights_sha256": record.model.weights_sha256,
        "supported": supported,
        "claims": claims,
        "rank_correlation": checks.rank_correlation if checks else None,
        "nearest_label": nearest.label if nearest else None,
        "nearest_distance": nearest.distance if nearest else None,
        "known_as": similar.known_as if similar else None,
        "set": None if verdict.set is None else "; ".join(verdict.set) or EMPTY,
        "novelty": verdict.novelty,
    }
