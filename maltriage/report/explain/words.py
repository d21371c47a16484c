"""The strongest words of a file, for the label and against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from maltriage.report import aligned, numbers
from maltriage.report.aligned import INDENT
from maltriage.report.documents.evidence import Evidence, Word
from maltriage.report.sanitize import clean

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 24
"""Letters shown of a word."""


def sides(evidence: Evidence) -> list[tuple[str, list[Word]]]:
    """Words for the label and against it, each with its heading, the strongest first."""
    found = [
        ("for", [word for word in evidence.words if word.contribution > 0]),
        ("against", [word for word in evidence.words if word.contribution < 0]),
    ]
    return [(side, words) for side, words in found if words]


def lines(evidence: Evidence, console: Console, width: int) -> Iterator[Text]:
    """A paragraph for each side: `for  CreateRemoteThread +0.31, ...`."""
    margin = INDENT + 9
    for side, words in sides(evidence):
        start = Text(" " * INDENT).append(f"{side:<{margin - INDENT}}", style="dim")
        text = Text()
        for number, word in enumerate(words):
            text.append(", " if number else "").append(clean(word.text, LONGEST))
            amount = numbers.signed(word.contribution)
            text.append(f" {amount}", style=numbers.heat_style(word.contribution))
        for part in aligned.wrapped(text, console, width, margin):
            yield start.append_text(part[margin:])
            start = Text(" " * margin)
