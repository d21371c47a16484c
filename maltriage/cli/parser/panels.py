"""Options of `--help` in groups, the ten that matter most first.

As plain text: what the rich formatter of Typer draws is wide, and takes markup for what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from maltriage.cli.parser.defaults import OF_PYDANTIC, command_line_wins
from maltriage.cli.parser.overwritten import refuse_inputs, refuse_twice
from maltriage.cli.parser.wildcards import expanded

Panels = Mapping[str, Sequence[str]]
_ARCHIVES = tuple(
    "no_archives password password_file max_members max_unpacked max_ratio max_nesting"
    " max_time".split()
)

PANELS: Mapping[str, Panels] = {
    "scan": {
        "Options": (
            *("output", "format", "top", "include", "exclude", "model", "verify", "resume"),
            *("quiet", "help"),
        ),
        "Input": ("files_from", "null", "depth", "follow", "watch", "max_size"),
        "Output": ("only", "fields", "ecs", "ecs_host", "groups", "exit_zero", "verbose", "color"),
        "Archives": (*_ARCHIVES, "carve", "max_carved"),
        "Model and verdict": (
            *("fpr", "index", "coverage", "known_good", "analyse_known", "hashes", "identify"),
            "seed",
        ),
        "Speed": (
            *("cache", "no_cache", "refresh", "jobs", "device", "threads", "engines"),
            *("batch_size", "timeout"),
        ),
        "Cluster": ("engine", "address", "shards"),
    },
    "explain": {
        "Options": (
            *("output", "format", "top", "label", "against", "method", "model", "yara", "quiet"),
            "help",
        ),
        "Input": ("record", "sample", "max_size"),
        "Output": ("offsets", "png", "svg", "exit_zero", "verbose", "color"),
        "Archives": _ARCHIVES,
        "Model and verdict": (
            *("methods", "checkpoint", "verify", "no_inspect", "signatures", "prevalence"),
            *("fpr", "index", "coverage", "known_good", "seed"),
        ),
        "Rule": ("goodware", "labelled"),
        "Speed": ("device", "threads", "timeout"),
    },
}
"""Parameters by command and title, in the order of the help. Commands that are not here have one
list."""

OF_CALIBRATE = frozenset(("--threshold", "--fpr"))
"""Options that are looked for in other commands, where nothing like them is meant."""


class Command(TyperCommand):
    """A command whose options are listed in the groups of `PANELS`.

    What the command line says leaves out what the config file says against it. No output is
    written over an input, and none is dropped since another is named.
    """

    def make_parser(self, ctx: Any) -> Any:
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            values, rest, order = parse(args)
            for parameter in self.get_params(ctx):
                if parameter.param_type_name == "argument" and parameter.nargs == -1:
                    values[parameter.name] = expanded(values.get(parameter.name) or ())
            if not ctx.resilient_parsing:
                refuse_twice(order)
            return values, rest, order

        parser.parse_args = parse_args  # type: ignore[method-assign]
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(OF_PYDANTIC)
            raise
        except Exception as error:  # Typer does not export the class of unknown options
            if self.name != "calibrate" and getattr(error, "option_name", None) in OF_CALIBRATE:
                _point_to_calibrate(error)
            raise
        command_line_wins(ctx)
        if not ctx.resilient_parsing:  # a shell that asks for completions
            refuse_inputs(ctx.params)
        return rest

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels = PANELS.get(self.name or "")
        if panels is None:
            super().format_options(ctx, formatter)
            return
        records = {}
        arguments = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                arguments.append(record)
            else:
                records[parameter.name or ""] = record
        sections = {"Arguments": arguments}
        for title, names in panels.items():
            sections[title] = [records.pop(name) for name in names if name in records]
        sections["Other"] = list(records.values())
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _point_to_calibrate(error: Any) -> None:
    """Say where a threshold is set, in place of the options that are spelled like it."""
    error.message += ": --fpr of scan chooses a rate, and maltriage calibrate sets the threshold"
    error.possibilities = None
