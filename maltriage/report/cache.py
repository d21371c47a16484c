"""The document of `maltriage cache info`, and its screen."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import figures
from maltriage.report.document import ModelRef
from maltriage.report.sanitize import untrusted


class KeptResults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Results of one model, by one version of maltriage and of the schema. `bytes` is what the
    records take, without tables and indexes."""

    model: ModelRef
    version: str
    record_schema: str
    settings: int
    """How many different sets of options they were made with."""
    results: int
    bytes: int
    used: str
    """When one of them was last used, ISO 8601 UTC; to the day."""


class CacheInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is kept of earlier scans. `size` is that of the files on disk, in bytes."""

    path: str
    size: int
    results: int
    files: int
    """Paths whose content is known as long as they do not change."""
    models: list[KeptResults]


def day(seconds: int) -> str:
    """The day of a time since the epoch, ISO 8601 UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def render(found: CacheInfo, console: Console) -> None:
    """Print what is kept."""
    console.print(untrusted(found.path, "bold"), overflow="fold")
    text = (
        f"  {figures.count(found.results, 'result')}, {figures.count(found.files, 'path')} known,"
    )
    console.print(Text(f"{text} {figures.size(found.size)} on disk"))
    if not found.models:
        return
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for name in ("model", "maltriage", "schema"):
        table.add_column(name)
    for name in ("options", "results", "size"):
        table.add_column(name, justify="right")
    table.add_column("last used")
    for kept in found.models:
        model = f"{kept.model.name} {kept.model.weights_sha256[:12]}"
        table.add_row(
            *(untrusted(name) for name in (model, kept.version, kept.record_schema)),
            *(Text(f"{number:,}") for number in (kept.settings, kept.results)),
            Text(figures.size(kept.bytes)),
            untrusted(kept.used),
        )
    console.print(table)
