"""`maltriage config`: options of commands from a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.report.status.settings import Settings, Value

app = typer.Typer(
    name="config",
    help="Show which options the config file sets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
HIDDEN = "(not shown)"
SECRET = frozenset(("password",))
"""Options whose values in the file are not shown."""


@app.callback()
def _group() -> None:
    """Typer makes a group of commands only with a callback."""


@app.command()
def show(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="A command, e.g. scan or cache prune: all of its options."),
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    output: opt.Output = None,
    color: opt.ColorOption = "auto",
) -> None:
    """Show what the config file sets; of a command all options, and where each value is from."""
    from maltriage.report.status.settings import render

    write_document(_settings(context.find_root(), command), render, format, output, color)


def _settings(root: Any, wanted: list[str] | None) -> Settings:
    """What holds of a command, or all that the file sets.

    Raises:
        MaltriageError: there is no such command.
    """
    from maltriage.cli.parser.defaults import each_command, options_of
    from maltriage.files import places
    from maltriage.report.status.settings import Setting, Settings

    settings = []
    commands = dict(each_command(root.command))
    if wanted is not None and tuple(wanted) not in commands:
        raise MaltriageError(f"no command {' '.join(wanted)}")
    for names, command in commands.items():
        if wanted is not None and names != tuple(wanted):
            continue
        file = root.default_map or {}
        for name in names:
            file = file.get(name, {})
        for option, parameter in options_of(command).items():
            if parameter.name in file:
                value = HIDDEN if option in SECRET else _plain(file[parameter.name])
                settings.append(Setting(" ".join(names), option, value, "file"))
            elif wanted is not None:
                default = _plain(parameter.default)
                settings.append(Setting(" ".join(names), option, default, "default"))
    path, data = places.config_file(), places.configured_data()
    by = places.CONFIG_VARIABLE
    return Settings(
        file=str(path),
        named_by=f"--config or ${by}" if os.environ.get(by) else "its place",
        exists=path.exists(),
        data=None if data is None else str(data),
        settings=settings,
    )


def _plain(value: Any) -> Value:
    if isinstance(value, (list, tuple)):
        return [str(_plain(each)) for each in value]
    if isinstance(value, Path):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
