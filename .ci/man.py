"""Writes the manual pages, from the definitions of the commands: `make man`.

A page a command, `maltriage-models-add.1` say, and `maltriage.1` with a list of them. The text is
that of `--help`. click-man would do this for Click, of which Typer has a copy of its own.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # when the wheel is built the package is not installed
    sys.path.insert(0, str(ROOT))

import typer  # noqa: E402

from maltriage.cli.app import HELP, application  # noqa: E402
from maltriage.cli.parser.panels import PANELS  # noqa: E402
from maltriage.version import __version__  # noqa: E402

EPOCH = "SOURCE_DATE_EPOCH"
EXIT_CODES = {
    "0": "Done; nothing was flagged, no problem was found.",
    "1": "Something was flagged, or a check found a problem.",
    "2": "Wrong use, or an error that ends the command.",
    "3": "Done, but some files could not be read, or nothing was triaged of one that was named.",
    "130": "Stopped by Ctrl-C.",
}


def pages() -> dict[str, str]:
    """The manual pages by the names of their files."""
    root = typer.main.get_command(application())
    found = {}
    commands = [((), root), *_below(root, ())]
    for names, command in commands:
        title = "-".join(("maltriage", *names))
        found[f"{title}.1"] = _page(title, names, command)
    return found


def _below(group: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*above, name), command
        if hasattr(command, "commands"):
            yield from _below(command, (*above, name))


def _page(title: str, names: tuple[str, ...], command: Any) -> str:
    name = " ".join(("maltriage", *names))
    context = typer.Context(command, info_name=name, help_option_names=["-h", "--help"])
    first, *paragraphs = _paragraphs(command.help or HELP)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        "'\\\" -*- coding: utf-8 -*-",
        f'.TH "{_text(title.upper())}" "1" "{_date()}" "maltriage {__version__}" "maltriage"',
        ".SH NAME",
        f"{_text(title)} \\- {_text(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{_text(name)}\\fR {_text(usage)}",
        ".SH DESCRIPTION",
        *_joined(paragraphs or [first]),
    ]
    for heading, rows in _sections(command, context):
        lines.append(heading)
        for option, said in rows:
            lines += [".TP", f"\\fB{_text(option)}\\fR", *_lines(said or "-")]
    commands = getattr(command, "commands", {})
    if commands:
        lines.append(".SH COMMANDS")
        for called, below in commands.items():
            first, *_ = _paragraphs(below.help or called)
            lines += [".TP", f"\\fB{_text(title)}\\-{_text(called)}\\fR(1)", *_lines(first)]
    if names:
        above = "-".join(("maltriage", *names[:-1]))
        lines += [".SH SEE ALSO", f"\\fB{_text(above)}\\fR(1)"]
    else:
        lines.append(".SH EXIT STATUS")
        for code, said in EXIT_CODES.items():
            lines += [".TP", f"\\fB{code}\\fR", *_lines(said)]
    return "\n".join(lines) + "\n"


def _sections(command: Any, context: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Arguments and options, under the headings of `--help`."""
    arguments, options = [], {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and parameter.param_type_name == "argument":
            arguments.append(record)
        elif record is not None:
            options[parameter.name or ""] = record
    if arguments:
        yield ".SH ARGUMENTS", arguments
    yield ".SH OPTIONS", []
    panels = PANELS.get(command.name or "", {})
    for title, names in panels.items():
        rows = [options.pop(name) for name in names if name in options]
        if title != "Options":
            yield f'.SS "{_text(title)}"', rows
        else:
            yield '.\\" the ones that matter most', rows
    if options:
        yield '.SS "Other"' if panels else '.\\" all of them', list(options.values())


def _paragraphs(written: str) -> list[str]:
    """Paragraphs of a help text; `\\b` and `\\f` are marks for Click."""
    text = written.split("\f", maxsplit=1)[0].replace("\b", "")
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _joined(paragraphs: list[str]) -> list[str]:
    lines = _lines(paragraphs[0])
    for paragraph in paragraphs[1:]:
        lines += [".PP", *_lines(paragraph)]
    return lines


def _lines(text: str) -> list[str]:
    """A paragraph in lines of the source, none of which is taken for a macro."""
    lines = textwrap.wrap(_text(text), 76, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{line}" if line.startswith((".", "'")) else line for line in lines]


def _text(text: str) -> str:
    """Text that roff shows as it is."""
    escaped = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    escaped = escaped.replace('"', "\\(dq").replace("`", "\\(ga").replace("~", "\\(ti")
    return escaped.replace("^", "\\(ha")


def _date() -> str:
    """The day of `SOURCE_DATE_EPOCH`, else none: the same sources give the same pages."""
    epoch = os.environ.get(EPOCH)
    return datetime.fromtimestamp(int(epoch), UTC).date().isoformat() if epoch else ""


def write(folder: Path) -> list[Path]:
    """Write all pages into a folder, and remove those of commands that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    found = pages()
    for old in folder.glob("maltriage*.1"):
        if old.name not in found:
            old.unlink()
    for name, text in found.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return sorted(folder / name for name in found)


if __name__ == "__main__":
    write(ROOT / "man")
