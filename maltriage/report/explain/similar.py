"""The similar files of a sample, in words and lines, for screens and pages."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.aligned import INDENT
from maltriage.report.documents.record import Similar
from maltriage.report.sanitize import clean, untrusted
from maltriage.sample.types import OTHER

MAX_LABEL = 24
SAME = "="
"""Prefix of the label that this very file has in the index."""


def distance(value: float) -> str:
    """`0.031`: three digits, enough to separate files."""
    return f"{value:.3f}"


def short(similar: Similar | None) -> str | None:
    """The nearest file in short: `gbot 0.031`, or `=gbot` if this very file is in the index; None:
    there is none. Holds a label: sanitize it."""
    if similar is None:
        return None
    if similar.known_as is not None:
        return f"{SAME}{similar.known_as}"
    if not similar.nearest:
        return None
    nearest = similar.nearest[0]
    label = "malware" if nearest.label == OTHER else nearest.label
    return f"{label} {distance(nearest.distance)}"


def alien(similar: Similar) -> bool:
    """Whether the nearest file is beyond the limit, and so not similar."""
    if similar.limit is None or not similar.nearest or similar.known_as is not None:
        return False
    return similar.nearest[0].distance > similar.limit


def remark(similar: Similar) -> str:
    """The measure of distance, as a remark beside a heading."""
    return f"the nearest of {numbers.count(similar.files, 'labelled file')}, by {similar.distance}"


def said(similar: Similar) -> str | None:
    """The sentence for an index without other files; None otherwise, since a notice covers it."""
    return None if similar.nearest else "No other file is in the index."


def lines(similar: Similar) -> Iterator[Text]:
    """The nearest files as lines of a screen."""
    sentence = said(similar)
    if sentence is not None:
        yield Text(" " * INDENT + sentence, style="dim")
    rows = [
        [
            Text(distance(found.distance)),
            untrusted(found.label, "dim" if alien(similar) else "", MAX_LABEL),
            Text(clean(found.sha256), style="dim"),
        ]
        for found in similar.nearest
    ]
    if rows:
        layout = aligned.columns(("distance", "label", "sha256"), rows, (0,))
        yield aligned.header(layout, 2, INDENT)
        for cells in rows:
            yield aligned.line(cells, layout, 2, INDENT)
