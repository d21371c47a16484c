"""The renderers behind one interface, found by name.

A new format is one file with a class that has the methods of `Renderer` and the arguments
of `open_renderer`, and one line in `FORMATS`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Failed, Result, Skipped, Summary

if TYPE_CHECKING:
    from rich.console import Console

    from maltriage.report.scan.fields import Fields


class Renderer(Protocol):
    """Takes the records of a scan as they come, then its summary, once."""

    def write(self, record: Result | Skipped | Failed) -> None: ...

    def finish(self, summary: Summary) -> None: ...


@dataclass(frozen=True)
class RenderOptions:
    """How to show results. Records are never shortened, but for `fields`."""

    top: int | None = None
    """Rows of a table; None: the screen's own choice, 0: all."""
    quiet: bool = False
    """Results only: no summary line and no remarks."""
    width: int | None = None
    """Columns of the screen; None: the console's."""
    show_skipped: bool = False
    """List what was skipped, with the reason; otherwise it is counted."""
    fields: Fields | None = None
    """What records and rows are to hold (`SELECTIVE` formats); None: all of it."""
    ecs: bool = False
    """Records by the names of the Elastic Common Schema (`ECS` formats)."""


class _Factory(Protocol):
    def __call__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> Renderer: ...


FORMATS: dict[str, str] = {
    "table": "maltriage.report.scan.table:TableRenderer",
    "ndjson": "maltriage.report.scan.ndjson:NdjsonRenderer",
    "json": "maltriage.report.scan.json:JsonRenderer",
    "csv": "maltriage.report.scan.csv:CsvRenderer",
    "parquet": "maltriage.report.scan.parquet:ParquetRenderer",
    "html": "maltriage.report.scan.page:ScanPage",
    "explain": "maltriage.report.explain.screen:ExplainRenderer",
    "explain-page": "maltriage.report.explain.page:ExplainPage",
}
"""Name of a format -> module:class, imported when it is opened."""


SELECTIVE = frozenset({"ndjson", "json", "csv", "parquet"})
"""Formats that can hold a choice of fields."""
ECS = frozenset({"ndjson", "json"})
"""Formats of records, which can have other names."""


def open_renderer(
    name: str, stream: BinaryIO, options: RenderOptions, console: Console
) -> Renderer:
    """The renderer of a format. It writes nothing before its first record or the summary.

    Args:
        name: a key of `FORMATS`.
        stream: where machine formats write UTF-8.
        console: where screens (`table`, `explain`) print.

    Raises:
        MaltriageError: no such format.
    """
    if name not in FORMATS:
        raise MaltriageError(f"no such format: {name} (there are {', '.join(FORMATS)})")
    module, _, attribute = FORMATS[name].partition(":")
    factory = cast(_Factory, getattr(importlib.import_module(module), attribute))
    return factory(stream, options, console)
