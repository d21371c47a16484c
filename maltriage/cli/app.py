"""The program `maltriage`: its commands and its exit code."""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from maltriage.cli import options as opt
from maltriage.cli.console import quiet_broken_pipe
from maltriage.cli.options import EXIT_ERROR
from maltriage.cli.parser.completion import complete_at_once, is_asked
from maltriage.cli.parser.defaults import of_file, use_file
from maltriage.cli.parser.panels import Command
from maltriage.cli.stop.interrupt import stop_at_once
from maltriage.errors import MaltriageError
from maltriage.files import places
from maltriage.version import __version__


class _Commands(TyperGroup):
    """The commands; a file or folder in place of one is scanned by `scan`, and that is said."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and os.path.exists(args[0]):
            import subprocess  # not on the way of a command

            windows = sys.platform == "win32"  # where single quotes are part of a word
            typed = subprocess.list2cmdline(args) if windows else shlex.join(args)
            raise MaltriageError(f"{args[0]} is no command: maltriage scan {typed}")
        return super().resolve_command(ctx, args)

    # Click would end with 1, the code for flagged files, where the reader of stdout goes away.
    def make_context(self, *args: Any, **named: Any) -> Any:
        with _readerless():
            return super().make_context(*args, **named)

    def invoke(self, ctx: Any) -> Any:
        with _readerless():
            return super().invoke(ctx)


@contextmanager
def _readerless() -> Iterator[None]:
    with quiet_broken_pipe() as pipe:
        yield
    if pipe.broken:
        raise typer.Exit(pipe.exit_code)


COMMANDS = (
    *("scan", "explain", "group", "train", "export", "evaluate", "compare", "faithfulness"),
    *("patterns", "robustness", "calibrate", "serve", "schema", "doctor", "datasets", "models"),
    *("index", "cache", "config", "prevalence"),
)
"""In the order of `--help`: modules of `commands`, each with a function of its name or an `app`."""

HELP = "Triage Windows executables by their bytes: malware or not, which family, and which bytes."
MAX_LINE = 2000
"""Characters of an error: some name what a file holds, however long that is."""
STOP_BY_THEMSELVES = frozenset(("scan", "explain"))
"""Commands that still write their outputs when they are stopped; see `ending`."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maltriage {__version__}")
        raise typer.Exit


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


def application(only: str | None = None) -> typer.Typer:
    """The program.

    Args:
        only: the only command that it has; None: it has all. To make all takes a tenth of a second.
    """
    app = typer.Typer(
        name="maltriage",
        cls=_Commands,
        context_settings={"help_option_names": ["-h", "--help"]},
        help=HELP,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for name in COMMANDS if only is None else (only,):
        module = importlib.import_module(f"maltriage.cli.commands.{name}")
        group = getattr(module, "app", None)
        if group is not None:
            for command in group.registered_commands:
                command.cls = Command
            app.add_typer(group)
            continue
        # `train` says itself what is wrong with a folder behind --resume.
        settings = {"allow_extra_args": name == "train"}
        app.command(cls=Command, context_settings=settings)(getattr(module, name))
    return app


def _asked_for(arguments: Sequence[str]) -> str | None:
    """The command of a command line where no other is needed; None: all are.

    A config file is checked against all commands. A shell that asks for completions puts the
    command line into a variable.
    """
    if any(key.startswith("_MALTRIAGE") for key in os.environ):
        typed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
        words = typed.split()
        # The last word may be one that is still typed: `maltriage index` may become `indexes`.
        arguments = words[1:2] if len(words) > 2 or typed[-1:].isspace() else []
    name = arguments[0] if arguments else ""
    if name not in COMMANDS or name == "config" or os.path.exists(places.config_file()):
        return None
    return name


def run() -> int:
    """Run the command that the process was called with.

    Returns:
        The exit code.

    Raises:
        KeyboardInterrupt: the user stopped the command at once.
    """
    try:
        if is_asked(sys.argv[1:]):
            complete_at_once()
        with quiet_broken_pipe() as pipe:
            application(_asked_for(sys.argv[1:]))(windows_expand_args=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except MaltriageError as error:
        from maltriage.report.sanitize import clean

        sys.stderr.write(f"maltriage: {clean(str(error), MAX_LINE)}\n")
        if error.at_once:
            sys.stderr.flush()
            os._exit(EXIT_ERROR)
        return EXIT_ERROR
    except Exception as error:
        if (missing := _lacking(error)) is not None:
            sys.stderr.write(f"maltriage: {missing}\n")
            return EXIT_ERROR
        if (said := _of_the_system(error)) is not None:
            from maltriage.report.sanitize import clean

            sys.stderr.write(f"maltriage: {clean(said, MAX_LINE)}\n")
            return EXIT_ERROR
        # Python would end with 1, the code for flagged files, and print strings of a sample
        # unsanitized.
        import traceback

        from maltriage.report.sanitize import clean_lines

        lines = clean_lines("".join(traceback.format_exception(error)))
        sys.stderr.write("maltriage: internal error; please report these lines:\n")
        sys.stderr.write(lines)
        return EXIT_ERROR
    return pipe.exit_code


def _of_the_system(error: BaseException) -> str | None:
    """What the system said of a file: it is in a folder that may not be entered, or has too long a
    name. None: it is no error of the system, or of no file."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        try:
            os.getcwd()
        except FileNotFoundError:
            return "the current folder is gone: change to another one"
    return None


def _lacking(error: BaseException) -> str | None:
    """What the process has too little of, also where a module is imported; None: neither."""
    number = error.errno if isinstance(error, OSError) else None
    said = str(error) if isinstance(error, ImportError) else ""
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in said:
        return "too few descriptors (ulimit -n): Too many open files"
    # The second is what the loader says of a library that it has no address space for.
    words = ("Cannot allocate memory", "failed to map segment")
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(w in said for w in words):
        return "too little memory, or address space (ulimit -v)"
    return None
