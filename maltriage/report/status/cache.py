"""The screen of `maltriage cache info`."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.cache import CacheInfo
from maltriage.report.sanitize import untrusted


def day(seconds: int) -> str:
    """The day of a time since the epoch, ISO 8601 UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def render(found: CacheInfo, console: Console) -> None:
    """Print the kept results."""
    console.print(untrusted(found.path, "bold"), overflow="fold")
    text = (
        f"  {numbers.count(found.results, 'result')}, {numbers.count(found.files, 'path')} known,"
    )
    console.print(Text(f"{text} {numbers.size(found.size)} on disk"))
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
            Text(numbers.size(kept.bytes)),
            untrusted(kept.used),
        )
    console.print(table)
