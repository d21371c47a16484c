"""Options of commands from the config file, where the command line does not say otherwise.

The file has a table for each command, whose keys are options as on the command line. The values
become defaults of the command line's parser.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import typer

from maltriage.errors import MaltriageError
from maltriage.files.places import CONFIG_VARIABLE, DATA, config_file, read_config

if TYPE_CHECKING:
    from maltriage.report.formats import Format

_Need = Callable[[dict[str, Any]], bool]
HELP = frozenset(("-h", "--help"))
OF_PYDANTIC = "Value error, "
"""What newer versions of Typer put before the message on a wrong value."""
NEVER = frozenset(("help", "version", "config", "install-completion", "show-completion"))
"""Options that make no sense in a file."""


def _fits(feature: Callable[[Format], bool], quantity: Callable[[Iterable[bool]], bool]) -> _Need:
    """Whether any or all formats that a scan writes have a feature."""

    def fits(given: dict[str, Any]) -> bool:
        from maltriage.cli.outputs import targets

        outputs = [Path(name) for name in given["output"] or ()]
        usual = "ndjson" if given["watch"] or given["shards"] else None
        if len(outputs) == 1 and outputs[0].suffix:  # it has the format of its ending
            usual = None
        written = targets(outputs, given["format"] or usual)
        return quantity(feature(target.format) for target in written)

    return fits


_appended = _fits(lambda format: format.name == "ndjson", all)
AGAINST: Mapping[str, Sequence[tuple[str, str]]] = {
    "scan": (
        *(("output", "format"), ("ecs", "fields")),
        *(("no_cache", "cache"), ("no_cache", "refresh"), ("no_cache", "resume")),
        *(("no_archives", "carve"), ("watch", "files_from"), ("watch", "verify"), ("watch", "top")),
        *(("watch", "resume"), ("watch", "refresh"), ("watch", "cache"), ("watch", "engines")),
        *(("shards", "output"), ("shards", "cache"), ("shards", "refresh"), ("model", "fpr")),
    ),
    "explain": (
        *(("output", "format"), ("output", "offsets"), ("offsets", "format")),
        *(("method", "methods"), ("model", "fpr")),
    ),
    "train": (("patience", "folds"), ("split_file", "split"), ("split_file", "folds")),
}
"""Parameters that do not go together: one on the command line leaves the file's other out."""
NEEDS: Mapping[str, Mapping[str, _Need]] = {
    "scan": {
        "watch": lambda given: given["engine"] != "ray" and _appended(given),
        "engine": lambda given: not given["watch"],
        "address": lambda given: given["engine"] == "ray",
        "shards": lambda given: given["engine"] == "ray",
        "format": lambda given: not given["watch"] or _appended(given),
        "output": lambda given: not given["watch"] or _appended(given),
        "null": lambda given: given["files_from"] is not None,
        "fields": _fits(lambda format: format.selective, any),
        "ecs": _fits(lambda format: format.ecs, any),
        "analyse_known": lambda given: bool(given["known_good"]),
        "ecs_host": lambda given: bool(given["ecs"]),
    },
    "explain": {
        "against": lambda given: given["against"] != given["label"],
        "label": lambda given: given["label"] != given["against"],
        "goodware": lambda given: given["yara"] is not None,
        "labelled": lambda given: given["yara"] is not None,
    },
    "evaluate": {
        "clean": lambda given: not given["predictions"],
        "split_file": lambda given: given["split"] != "all",
        "split": lambda given: given["split_file"] is None or given["split"] != "all",
        "exclude": lambda given: given["clean"] is not None,
        "against": lambda given: bool(given["predictions"]),
        "added": lambda given: bool(given["predictions"]) and given["by"] is None,
        "coverage": lambda given: bool(given["predictions"]) and given["by"] is None,
        "fpr": lambda given: bool(given["predictions"]) and given["by"] is not None,
    },
    "calibrate": {
        "by": lambda given: given["predictions"] is not None and not given["goodware"],
        "root": lambda given: given["by"] is not None,
        "folds": lambda given: bool(given["goodware"]),
        "coverage": lambda given: bool(given["labelled"] or given["predictions"]),
    },
    "export": {"folds": lambda given: given["quantize"] is not None},
}
"""Parameters that the file may name for when they are of use, in the order of asking."""


def use_file(named: Path | None) -> None:
    """Take another config file than the user's own, in this process and its children."""
    if named is not None:
        os.environ[CONFIG_VARIABLE] = str(named)


def of_file(root: Any) -> dict[str, Any]:
    """The file's values by command and parameter, as a `default_map`.

    Args:
        root: the group of all commands.

    Raises:
        MaltriageError: the file cannot be read, or has an unknown command or option, or a value of
            a wrong type or out of range; not where help is asked for.
    """
    try:
        content = read_config()
        content.pop(DATA, None)  # see `configured_data`
        return _commands(root, content, ()) if content else {}
    except MaltriageError:
        if HELP.isdisjoint(sys.argv):
            raise
        return {}


def options_of(command: Any) -> dict[str, Any]:
    """Parameters of a command that the file may set, by their names in it."""
    return {
        option[2:]: parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in parameter.opts
        if option.startswith("--") and option[2:] not in NEVER
    }


def each_command(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands of a group and those below it, each with the names that lead to it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from each_command(command, (*above, name))
        else:
            yield (*above, name), command


def command_line_wins(ctx: Any) -> None:
    """Leave out values of the file that contradict the command line, that need an option which was
    not given, or that say how samples are read where saved reports are shown."""
    name = ctx.command.name or ""
    if ctx.resilient_parsing:  # a shell asks for completions
        return

    def by(parameter: str) -> str:
        source = ctx.get_parameter_source(parameter)
        return "" if source is None else str(source.name)

    def leave_out(parameter: str) -> None:
        (found,) = (each for each in ctx.command.params if each.name == parameter)
        ctx.params[parameter] = found.process_value(ctx, found.default)

    if name in ("scan", "explain"):
        of_file = [p.name for p in ctx.command.params if by(p.name) == "DEFAULT_MAP"]
        for parameter in _of_no_use_to_reports(of_file, ctx.params):
            leave_out(parameter)
    for pair in AGAINST.get(name, ()):
        for given, other in (pair, pair[::-1]):
            if (by(given), by(other)) == ("COMMANDLINE", "DEFAULT_MAP"):
                leave_out(other)
    for parameter, needed in NEEDS.get(name, {}).items():
        if by(parameter) == "DEFAULT_MAP" and not needed(ctx.params):
            leave_out(parameter)


def _of_no_use_to_reports(parameters: list[str], given: dict[str, Any]) -> list[str]:
    """Those of the parameters that say how samples are read, where saved reports are shown."""
    if not parameters or given.get("sample") is not None:
        return []
    from maltriage.cli.replay import SHOWN_ANEW
    from maltriage.cli.urls import on_disk
    from maltriage.report.saved.recognise import is_report

    paths = on_disk(given.get("paths") or given.get("files") or ())
    if not any(map(is_report, paths)):
        return []
    return [parameter for parameter in parameters if parameter not in SHOWN_ANEW]


def _commands(group: Any, tables: dict[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for name, table in tables.items():
        place = (*above, name)
        command = group.commands.get(name)
        if command is None:
            hint = "" if isinstance(table, dict) else " (options stand in a table, such as [scan])"
            raise _error(above, f"no command {name}{_close(name, group.commands)}{hint}")
        if not isinstance(table, dict):
            raise _error(above, f"{name} is a command: its options stand in [{'.'.join(place)}]")
        below = hasattr(command, "commands")
        found[name] = _commands(command, table, place) if below else _values(command, table, place)
    return found


def _values(command: Any, table: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    options, context, found = options_of(command), typer.Context(command), {}
    for key, value in table.items():
        if key not in options:
            raise _error(place, f"no option {key}{_close(key, options)}")
        parameter = options[key]
        kind = _kind(parameter)
        several = isinstance(value, list) and parameter.multiple
        plain = [_plain(each, kind, place, key) for each in (value if several else [value])]
        given = plain if parameter.multiple else plain[0]
        try:
            parameter.process_value(context, given)
        except typer.BadParameter as error:
            message = error.message.removeprefix(OF_PYDANTIC)
            raise _error(place, f"{key}: {message}") from error
        found[parameter.name] = given
    return found


def _kind(parameter: Any) -> Any:
    """The Python type of an option's values."""
    described = getattr(parameter, "type_descriptor", None)
    if described is None:  # an older Typer
        names = {"integer": int, "integer range": int, "float": float, "float range": float}
        return bool if parameter.is_flag else names.get(parameter.type.name, str)
    kind = described.annotation
    return get_args(kind)[0] if get_origin(kind) is list else kind


def _plain(value: Any, kind: Any, place: tuple[str, ...], key: str) -> Any:
    """A single value, if it is of the type that the option takes."""
    right: type | tuple[type, ...] = str
    named = "text in quotes"
    if kind is bool:
        right, named = bool, "true or false"
    elif kind is int:
        right, named = int, "a whole number"
    elif kind is float:
        right, named = (int, float), "a number"
    if not isinstance(value, right) or (isinstance(value, bool) and kind is not bool):
        raise _error(place, f"{key}: must be {named}, not {value!r}")
    if isinstance(value, str):
        if "\0" in value:
            raise _error(place, f"{key}: has a NUL byte")
        if value.startswith("~/"):  # as a shell does with what is typed
            return os.path.expanduser(value)
    return value


def _close(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    bare = name.removeprefix("no-")
    if bare != name and getattr(known.get(bare), "is_flag", False):
        return f": write {bare} = false"
    found = difflib.get_close_matches(name, known, 3, 0.6)
    return f"; close to it: {', '.join(found)}" if found else ""


def _error(place: tuple[str, ...], what: str) -> MaltriageError:
    table = f"[{'.'.join(place)}] " if place else ""
    return MaltriageError(f"config {config_file()}: {table}{what}")
