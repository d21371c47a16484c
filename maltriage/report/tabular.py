"""Tables of a screen: of names and figures, and of few facts."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text


def figure_table(first: str | Text, *others: str) -> Table:
    """A table whose first column has names, and whose others have figures."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def fact_table() -> Table:
    """A table without titles: in each row a name, and what it is."""
    return Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
