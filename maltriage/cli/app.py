"""The program `maltriage`: its commands and its exit code."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from maltriage.cli import options as opt
from maltriage.cli.commands import (
    cache,
    calibrate,
    compare,
    config,
    datasets,
    doctor,
    evaluate,
    explain,
    export,
    faithfulness,
    group,
    index,
    models,
    patterns,
    prevalence,
    robustness,
    scan,
    schema,
    train,
)
from maltriage.cli.console import quiet_broken_pipe
from maltriage.cli.options import EXIT_ERROR
from maltriage.cli.parser.defaults import of_file, use_file
from maltriage.cli.parser.panels import Command
from maltriage.cli.stop.interrupt import stop_at_once
from maltriage.errors import MaltriageError
from maltriage.version import __version__


class _Commands(TyperGroup):
    """The commands; a file or folder in place of one is scanned by `scan`, and that is said."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and os.path.exists(args[0]):
            raise MaltriageError(f"{args[0]} is no command: maltriage scan {shlex.join(args)}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="maltriage",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Triage Windows executables from images of their bytes: which family, and which bytes.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    scan.scan,
    explain.explain,
    group.group,
    train.train,
    export.export,
    evaluate.evaluate,
    compare.compare,
    faithfulness.faithfulness,
    patterns.patterns,
    robustness.robustness,
    calibrate.calibrate,
    models.models,
    schema.schema,
    doctor.doctor,
):
    # `train` says itself what is wrong with a folder behind --resume.
    settings = {"allow_extra_args": command is train.train}
    app.command(cls=Command, context_settings=settings)(command)
app.add_typer(datasets.app)
app.add_typer(index.app)
app.add_typer(cache.app)
app.add_typer(config.app)
app.add_typer(prevalence.app)

STOP_BY_THEMSELVES = frozenset(("scan", "explain"))
"""Commands that still write their outputs when they are stopped; see `ending`."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maltriage {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: opt.LogLevel = 0,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Options of commands, e.g. my.toml; by default the user's own file."
        ),
    ] = None,
) -> None:
    use_file(config_file)
    context.default_map = of_file(context.command)
    if verbose:
        from maltriage.cli.logs import show_logs

        show_logs(verbose)
    if context.invoked_subcommand not in STOP_BY_THEMSELVES:
        stop_at_once()


def run() -> int:
    """Run the command that the process was called with.

    Returns:
        The exit code.

    Raises:
        KeyboardInterrupt: the user stopped the command at once.
    """
    try:
        with quiet_broken_pipe() as pipe:
            app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except MaltriageError as error:
        from maltriage.report.sanitize import clean

        sys.stderr.write(f"maltriage: {clean(str(error))}\n")
        if error.at_once:
            sys.stderr.flush()
            os._exit(EXIT_ERROR)
        return EXIT_ERROR
    except Exception as error:
        # Python would end with 1, the code for flagged files, and print strings of a sample
        # unsanitized.
        import traceback

        from maltriage.report.sanitize import clean_lines

        lines = clean_lines("".join(traceback.format_exception(error)))
        sys.stderr.write("maltriage: internal error; please report these lines:\n")
        sys.stderr.write(lines)
        return EXIT_ERROR
    return pipe.exit_code
