"""The screen of `maltriage index info`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import numbers
from maltriage.report.documents.index import IndexInfo, Limit
from maltriage.report.sanitize import untrusted


def render(found: IndexInfo, console: Console) -> None:
    """Print an index."""
    console.print(untrusted(found.path, "bold"), overflow="fold")
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 2), pad_edge=True)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    model = f"{found.model.name} {found.model.weights_sha256[:16]}"
    facts.add_row("model", untrusted(model))
    facts.add_row("files", Text(f"{found.files:,}"))
    facts.add_row("distance", untrusted(f"{found.distance}, {found.dimensions} dimensions"))
    facts.add_row("limit", _limit(found.limit))
    facts.add_row("created", untrusted(found.created))
    facts.add_row("changed", untrusted(found.changed))
    facts.add_row("size", Text(numbers.size(found.size)))
    console.print(facts)
    if not found.labels:
        return
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    table.add_column("label")
    table.add_column("files", justify="right")
    table.add_column("")
    for label, count in found.labels.items():
        own = "not known to the model" if label in found.own_labels else ""
        table.add_row(untrusted(label), f"{count:,}", Text(own, "dim"))
    console.print(table)


def _limit(limit: Limit | None) -> Text:
    if limit is None:
        return Text("none: it was not measured", "dim")
    text = Text(f"{limit.distance:.3f}, with the nearest file of {limit.share:.0%} of ")
    text.append(f"{numbers.count(limit.files, 'file')} within it (")
    return text.append_text(untrusted(limit.measured_on)).append(")")
