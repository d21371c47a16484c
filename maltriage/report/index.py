"""The document of `maltriage index info`, and its screen."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import figures
from maltriage.report.document import ModelRef
from maltriage.report.sanitize import untrusted


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The distance beyond which a file resembles nothing in an index."""

    distance: float
    share: float
    """Of the files that were measured, how many have their nearest within the distance."""
    files: int
    """How many were measured: none of them was in the training of its net."""
    measured_on: str
    """Which files those were, in words."""


class IndexInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in an index of labelled files. `size` is that of the file, in bytes."""

    path: str
    sha256: str
    size: int
    model: ModelRef
    distance: str
    dimensions: int
    files: int
    labels: dict[str, int]
    """Files of each label."""
    own_labels: tuple[str, ...]
    """Those of them that the model does not know."""
    limit: Limit | None
    created: str
    changed: str
    """When files were last put in, ISO 8601 UTC."""


def render(found: IndexInfo, console: Console) -> None:
    """Print what is in an index."""
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
    facts.add_row("size", Text(figures.size(found.size)))
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
        return Text("none: nothing is said to resemble nothing", "dim")
    text = Text(f"{limit.distance:.3f}, within which {limit.share:.0%} of ")
    text.append(f"{figures.count(limit.files, 'file')} have their nearest (")
    return text.append_text(untrusted(limit.measured_on)).append(")")
