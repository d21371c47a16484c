"""The program `maltriage`: its commands, and how it ends."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from maltriage import __version__
from maltriage.cli.commands import (
    cache,
    calibrate,
    compare,
    datasets,
    doctor,
    evaluate,
    explain,
    export,
    faithfulness,
    index,
    models,
    patterns,
    robustness,
    scan,
    schema,
    train,
)
from maltriage.cli.console import quiet_broken_pipe
from maltriage.cli.options import EXIT_ERROR, EXIT_INTERRUPTED
from maltriage.errors import MaltriageError

app = typer.Typer(
    name="maltriage",
    help="Triage Windows executables from images of their bytes: which family, and which bytes.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    scan.scan,
    explain.explain,
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
    app.command()(command)
app.add_typer(datasets.app)
app.add_typer(index.app)
app.add_typer(cache.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maltriage {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # Before NumPy is loaded: its threads wait in a loop after each product of matrices, and take
    # the cores from the model and the workers. The products here are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with quiet_broken_pipe():
            app()
    except MaltriageError as error:
        from maltriage.report.sanitize import clean

        sys.stderr.write(f"maltriage: {clean(str(error))}\n")
        if error.at_once:
            sys.stderr.flush()
            os._exit(EXIT_ERROR)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        # Python would end with 1, which says that something is flagged, and print what a sample
        # may have put into the error.
        import traceback

        from maltriage.report.sanitize import clean_lines

        lines = clean_lines("".join(traceback.format_exception(error)))
        sys.stderr.write("maltriage: a fault of its own; please report these lines:\n")
        sys.stderr.write(lines)
        sys.exit(EXIT_ERROR)
