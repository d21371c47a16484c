"""Options on the command line that do nothing beside the others there."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from maltriage.errors import MaltriageError


def given(ctx: typer.Context, parameter: str) -> bool:
    """Whether the command line has a value for a parameter; one of the config file is none."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def refuse(ctx: typer.Context, parameters: Iterable[str], why: str) -> None:
    """Raise MaltriageError if the command line has one of the options, e.g. `--fpr goes with --by`.

    A value of the config file may do nothing: it is there for when it is of use.

    Args:
        parameters: names of parameters of the command.
        why: what follows "goes" in the message, such as `with --by`.
    """
    known = {parameter.name: parameter for parameter in ctx.command.params}
    wrong = [known[name].opts[0] for name in parameters if given(ctx, name)]
    if wrong:
        listed = ", ".join(wrong[:-1]) + " and " * (len(wrong) > 1) + wrong[-1]
        raise MaltriageError(f"{listed} {'go' if len(wrong) > 1 else 'goes'} {why}")
