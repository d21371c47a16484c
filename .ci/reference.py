"""Writes what docs/reference takes from the code: commands.md, and the tables of schema.md.

    python .ci/reference.py

Run it after a change of a command, an option, its help or a field of the record; a test holds the
pages to it. The tables of schema.md stand between two comments; the rest is written by hand.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from maltriage.cli.app import application
from maltriage.cli.parser.panels import PANELS
from maltriage.files.atomic import write_file
from maltriage.report.documents.schema import json_schema

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ROOT / "docs" / "reference" / "commands.md"
SCHEMA = ROOT / "docs" / "reference" / "schema.md"
BEGIN, END = "<!-- the fields: python .ci/reference.py -->\n", "<!-- end of the fields -->\n"
HEAD = """# Commands

This page is what the program says of itself: `maltriage COMMAND --help`. It is written by
`make reference`, so change the help and not this page. Options may also stand in a
[config file](config.md). [Exit codes](exit-codes.md) have a page of their own.

"""
STRUCTS = {
    "maltriage.report.documents.record": (
        *("Result", "Verdict", "Ranked", "ModelRef", "Timing", "Similar", "Neighbour"),
        *("Skipped", "Failed", "Summary", "Group", "ScanDocument"),
    ),
    "maltriage.report.documents.evidence": (
        *("Evidence", "RegionHeat", "HotRange", "ViewHeat", "Word", "Common", "Plane"),
        *("Checks", "Check", "MaskEffect", "Controls"),
        *("Occluded", "Compared", "MethodHeat", "Agreement"),
    ),
    "maltriage.sample.findings": (
        *("HotContent", "Listing", "Instruction", "LibraryFunction", "FoundString"),
        *("ImportedNames", "ResourceRef", "HeaderField"),
    ),
    "maltriage.sample.types": ("Identity", "VersionInfo", "Tool", "Layout", "Region", "Notice"),
}
"""The structs of a record, by module, in the order of the page."""


def commands() -> str:
    """The page of all commands, in the order of `maltriage --help`."""
    return HEAD + "".join(_command(typer.main.get_command(application()), "maltriage"))


def _command(command: Any, name: str, above: Any = None) -> Iterator[str]:
    own = command.context_settings  # names of the option of help, which commands inherit
    context = command.context_class(command, above, info_name=name, **own)
    arguments = " ".join(command.collect_usage_pieces(context))
    yield f"## {name}\n\n```text\n{name} {arguments}\n```\n\n{_prose(command.help)}\n\n"
    rows = {p.name: p for p in command.get_params(context) if p.get_help_record(context)}
    tables = {"Arguments": [n for n, p in rows.items() if p.param_type_name == "argument"]}
    listed = {name for names in tables.values() for name in names}
    for title, names in PANELS.get(command.name, {}).items():
        tables[title] = [name for name in names if name in rows]
        listed.update(names)
    rest = [name for name in rows if name not in listed]
    tables["Other" if len(tables) > 1 else "Options"] = rest
    for title, names in tables.items():
        if names:
            first = "argument" if title == "Arguments" else "option"
            yield f"**{title}**\n\n| {first} | what it does | default, range |\n|---|---|---|\n"
            yield from (_row(*rows[name].get_help_record(context)) for name in names)
            yield "\n"
    for part in getattr(command, "commands", {}).values():
        yield from _command(part, f"{name} {part.name}", context)


def _row(names: str, text: str) -> str:
    said, _, rest = text.partition("  [")
    if text.startswith("["):
        said, rest = "", text[1:]
    default = rest.removesuffix("]").replace("default: ", "")
    name, opened, kind = names.replace("|", ", ").partition(" <")
    takes = f" `<{kind}`" if opened else ""
    return f"| `{name}`{takes} | {_escaped(said)} | {_escaped(default)} |\n"


def _prose(text: str) -> str:
    """Text of the code as Markdown: documents that it names are links."""
    return re.sub(
        r"docs/([\w/.-]+\.md)", lambda found: f"[{found[0]}](../{found[1]})", _escaped(text)
    )


def _escaped(text: str) -> str:
    """Text that is no Markdown but for its `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*|\[\]])", r"\\\1", parts[i]).replace("<", "&lt;")
    return "".join(parts)


def fields() -> str:
    """A table of the fields of each struct, with what its source says."""
    definitions = json_schema()["$defs"]
    written = []
    for module, names in STRUCTS.items():
        source = ast.parse(inspect.getsource(importlib.import_module(module)))
        classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
        for name in names:
            said = _docstrings(classes[name])
            struct = definitions[name]
            rows = [
                f"| `{field}` | {_type(kind)} | {_prose(said.get(field, ''))} |\n"
                for field, kind in struct["properties"].items()
            ]
            about = _prose(struct.get("description", "")).strip() + "\n\n"
            head = "| field | type | what it holds |\n|---|---|---|\n"
            written.append(f"### {name}\n\n{about.lstrip()}{head}{''.join(rows)}\n")
    return "".join(written)


def _docstrings(struct: ast.ClassDef) -> dict[str, str]:
    """What stands as a string below a field, by field."""
    found = {}
    for field, below in zip(struct.body, struct.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[field.target.id] = " ".join(text.split())
    return found


def _type(kind: dict[str, Any]) -> str:
    match kind:
        case {"$ref": ref}:
            name = ref.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"anyOf": kinds}:
            return " or ".join(_type(one) for one in kinds)
        case {"type": "array", "prefixItems": [*kinds]}:
            return f"list of {len(kinds)}: {', '.join(map(_type, kinds))}"
        case {"type": "array", "items": {} as items}:
            return f"list of {_type(items)}" if items else "list"
        case {"type": "object", "additionalProperties": {} as values}:
            return f"map of {_type(values)}"
        case {"type": str(name)}:
            return name
    return "any"


def schema(page: str) -> str:
    """The page of the schema with its tables made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{fields()}{END}{after}"


if __name__ == "__main__":
    write_file(COMMANDS, commands().encode())
    write_file(SCHEMA, schema(SCHEMA.read_text("utf-8")).encode())
