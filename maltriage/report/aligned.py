"""Aligned lines of text, for the screens of `scan` and `explain`.

Rich's tables wrap or cut a cell by its own rules and cannot span columns; a triage screen
must never wrap a path, and an account needs its sums below the column they sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

INDENT = 2
"""Blanks before the lines below a heading."""
_ASCII = str.maketrans(
    {
        **dict.fromkeys("█▉▊▋▌▐", "#"),
        **dict.fromkeys("▍▎▏", " "),
        "…": "~",
        "│": "|",
        "─": "-",
        "·": "-",
        "×": "x",
    }
)


@dataclass(frozen=True)
class Column:
    """A column of `width` cells; a cell that is wider ends in an ellipsis."""

    title: str
    width: int
    right: bool = False


def columns(
    titles: Sequence[str], rows: Iterable[Sequence[Text]], right: Iterable[int] = ()
) -> list[Column]:
    """Columns as wide as their widest cell; `right` holds the indices of numeric ones."""
    widths = [len(title) for title in titles]
    for cells in rows:
        widths = [max(w, cell.cell_len) for w, cell in zip(widths, cells, strict=True)]
    numeric = frozenset(right)
    return [
        Column(title, width, index in numeric)
        for index, (title, width) in enumerate(zip(titles, widths, strict=True))
    ]


def width_of(layout: Sequence[Column], gap: int) -> int:
    return sum(column.width for column in layout) + gap * (len(layout) - 1)


def line(cells: Sequence[Text], layout: Sequence[Column], gap: int = 2, indent: int = 0) -> Text:
    """One line: each cell cut or padded to its column, no blanks at the end."""
    text = Text(" " * indent, no_wrap=True)
    for index, (cell, column) in enumerate(zip(cells, layout, strict=True)):
        text.append(" " * gap if index else "")
        cell = cell.copy()
        if cell.cell_len > column.width:
            cell.truncate(column.width, overflow="ellipsis")
        blank = " " * (column.width - cell.cell_len)
        text.append_text(Text.assemble(blank, cell) if column.right else cell)
        text.append("" if column.right else blank)
    text.rstrip()
    return text


def header(layout: Sequence[Column], gap: int = 2, indent: int = 0) -> Text:
    titles = [Text(column.title, style="bold dim") for column in layout]
    return line(titles, layout, gap, indent)


def rule(width: int, indent: int = 0, said: str = "") -> Text:
    """A line across, with a word at its begin."""
    line = f"── {said} " if said else ""
    return Text(" " * indent + line.ljust(width, "─")[:width], style="dim", no_wrap=True)


def wrapped(text: Text, console: Console, width: int, indent: int) -> list[Text]:
    """Prose over as many lines as it needs, each `indent` cells in."""
    text = text.copy()
    text.no_wrap = False
    lines = text.wrap(console, max(20, width - indent))
    for part in lines:
        part.rstrip()
    return [Text.assemble(" " * indent, part, no_wrap=True) for part in lines]


def emit(console: Console, lines: Iterable[Text]) -> None:
    """Print lines without wrapping or cropping, in ASCII if the console needs it."""
    for text in lines:
        if console.options.ascii_only:
            text = text.copy()
            text.plain = text.plain.translate(_ASCII)
            text.rstrip()
        console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)
