"""The document of `maltriage index recall`, and its screen."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report import figures
from maltriage.report.document import ModelRef
from maltriage.report.index import Limit
from maltriage.report.measures import Interval
from maltriage.report.sanitize import untrusted


class LabelRecall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of the files of one label: shares whose nearest file is of the label, of whose five nearest
    one is, and that the model itself puts first. `median` is the median distance of the nearest."""

    label: str
    files: int
    at_1: float
    at_5: float
    classified: float
    median: float


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Malware whose nearest file is at a distance in [low, high): how many, and the share of it
    whose nearest file is of its family; None of no files."""

    low: float
    high: float
    files: int
    at_1: float | None


class Recall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often the files nearest to one that the net had not seen are of its family.

    Each file that was held back is compared with those that its net was trained on, by that net's
    embeddings. `at_1`: the nearest is of its family; `at_5`: at least one of the five nearest is.
    Both, and `classified`, how often the net itself puts the family first, are over malware alone,
    with 95 % bootstrap intervals over the files.
    """

    model: ModelRef
    distance: str
    held: str
    """Which files were held back, in words."""
    nets: int
    files: int
    """Malware that was held back."""
    indexed: int
    """Files that it was compared with, the mean over the nets."""
    near_twins: int
    """Files that were held back, clean ones too, with a near twin or duplicate among those."""
    at_1: Interval
    at_5: Interval
    classified: Interval
    labels: list[LabelRecall]
    """Every label of a file that was held back, `benign` as well."""
    bands: list[Band]
    """What a distance is worth."""
    distances: dict[str, float]
    """Of the nearest file, quantiles over all files that were held back, by their percents."""
    limit: Limit | None
    """What an index gets; None where too few files were held back to tell."""


def render(found: Recall, console: Console) -> None:
    """Print how often similar files are of the same family."""
    console.print(
        Text.assemble(
            untrusted(found.model.name, "bold"),
            f"  {found.model.weights_sha256[:16]}  ",
            untrusted(found.held),
        )
    )
    over = f", the mean over {found.nets} nets" if found.nets > 1 else ""
    console.print(
        f"{figures.count(found.files, 'malware file')}, each compared by {found.distance} with the"
        f" {found.indexed:,} files that its net was trained on{over}"
    )
    if found.near_twins:
        count = figures.count(found.near_twins, "file")
        console.print(
            f"{count} held back with a near twin among them: no split by groups", "yellow"
        )
    console.print()
    summary = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    summary.add_row("family recall at 1", *_interval(found.at_1))
    summary.add_row("family recall at 5", *_interval(found.at_5))
    summary.add_row("the model's own label", *_interval(found.classified))
    console.print(summary)
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("label")
    for name in ("files", "at 1", "at 5", "model", "distance"):
        table.add_column(name, justify="right")
    for row in found.labels:
        values = (row.at_1, row.at_5, row.classified, row.median)
        table.add_row(untrusted(row.label), str(row.files), *(f"{v:.3f}" for v in values))
    console.print(table)
    console.print()
    bands = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in ("nearest at", "malware", "of its family"):
        bands.add_column(name, justify="right")
    for band in found.bands:
        value = "" if band.at_1 is None else f"{band.at_1:.3f}"
        bands.add_row(f"{band.low:.1f} to {band.high:.1f}", str(band.files), value)
    console.print(bands)
    console.print()
    shown = ", ".join(f"{percent} % within {d:.3f}" for percent, d in found.distances.items())
    console.print(f"nearest file: {shown}")
    if found.limit is None:
        console.print("no limit: too few files were held back to tell", style="dim")
    else:
        console.print(f"limit {found.limit.distance:.3f}: beyond it a file resembles nothing")


def _interval(interval: Interval) -> tuple[str, str]:
    return f"{interval.value:.3f}", f"95 % interval {interval.low:.3f} to {interval.high:.3f}"
