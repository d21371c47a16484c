"""The document of `maltriage config show`, and its screen."""

from __future__ import annotations

from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maltriage.report.sanitize import untrusted

Value = str | int | float | bool | list[str] | None


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An option of a command, and the value that it has where the command line says nothing.

    `origin`: the config file, or the command's own default. A value of None: none is set.
    """

    command: str
    option: str
    value: Value
    origin: Literal["file", "default"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The config file, and what holds.

    `named_by`: what named the file; `exists`: whether it is there. `data`: folder of datasets.
    """

    file: str
    named_by: str
    exists: bool
    data: str | None
    settings: list[Setting]


def render(found: Settings, console: Console) -> None:
    """Print the file and what holds."""
    there = "" if found.exists else ", which does not exist"
    console.print(untrusted(found.file, "bold"), overflow="fold")
    console.print(Text(f"  named by {found.named_by}{there}"))
    if found.data is not None:
        console.print(Text.assemble("  data  ", untrusted(found.data)), overflow="fold")
    if not found.settings:
        console.print(Text("  sets no option; `maltriage config show COMMAND` lists the defaults"))
        return
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for name in ("command", "option", "value", "from"):
        table.add_column(name, overflow="fold")
    for each in found.settings:
        style = "" if each.origin == "file" else "dim"
        cells = (each.command, each.option, shown(each.value), each.origin)
        table.add_row(*(untrusted(cell, style) for cell in cells))
    console.print(table)


def shown(value: Value) -> str:
    """A value as the file would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(value)
    return "-" if value is None else str(value)
