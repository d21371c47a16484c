"""The fields of `--fields`: their names, types and values.

A field is a path into the record (`verdict.label`, `identity.imphash`) or a column of CSV
(`label`, `top_region`). If a name is both (`notices`, `model`), tables mean the column and JSON
the record.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, cast

import msgspec
from msgspec import inspect

from maltriage.errors import MaltriageError
from maltriage.report.documents.record import Failed, FileRecord, Result, Skipped, encode
from maltriage.report.sanitize import json_safe
from maltriage.report.scan.row import COLUMNS, Value, row

RECORDS = (Result, Skipped, Failed)
MAX_CLOSE = 4
"""Most names that are offered in place of an unknown one."""
Kind = type[str | int | float | bool] | None
"""Type of a field's value; None: a structure, which tables hold as JSON."""
_SCALARS: tuple[tuple[type, Kind], ...] = (
    (inspect.BoolType, bool),
    (inspect.IntType, int),
    (inspect.FloatType, float),
    (inspect.StrType, str),
    (inspect.LiteralType, str),
)


@dataclass(frozen=True)
class Fields:
    """Known names, as the user gave them."""

    names: tuple[str, ...]

    def document(self, record: FileRecord) -> dict[str, Any]:
        """The chosen fields of a record, nested as in the record; null for missing ones."""
        paths, found = _paths(), dict[str, Any]()
        for name in self.names:
            whole = any(name.startswith(f"{other}.") for other in self.names)
            if whole:
                continue  # included in another chosen field
            if name not in paths:
                found[name] = row(record).get(name)
                continue
            *above, last = name.split(".")
            place = reduce(lambda inner, part: inner.setdefault(part, {}), above, found)
            place[last] = msgspec.to_builtins(_value(record, name))
        return found

    def kinds(self) -> Iterator[tuple[str, Kind]]:
        """Each name and its type in tables."""
        paths = _paths()
        for name in self.names:
            yield name, COLUMNS[name] if name in COLUMNS else paths[name]

    def cells(self, record: FileRecord) -> list[Value]:
        """The values of a row, structures as JSON."""
        columns = row(record)
        return [
            columns.get(name) if name in COLUMNS else _flat(_value(record, name))
            for name in self.names
        ]


def choose(names: str) -> Fields:
    """The fields of a list with commas.

    Raises:
        MaltriageError: the list is empty, or has a name twice or an unknown one.
    """
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    if not chosen:
        raise MaltriageError("--fields: name at least one field")
    known = known_names()
    for name in chosen:
        if chosen.count(name) > 1:
            raise MaltriageError(f"--fields: {name} is named twice")
        if name not in known:
            raise MaltriageError(f"--fields: no field {name}{_close(name, known)}")
    return Fields(chosen)


def known_names() -> list[str]:
    """The names of all fields."""
    return list(dict.fromkeys([*COLUMNS, *_paths()]))


def _close(name: str, known: list[str]) -> str:
    """Names that may be meant: those that end in this name, or are spelt alike."""
    last = name.rpartition(".")[2]
    found = [other for other in known if other.rpartition(".")[2] == last]
    found += difflib.get_close_matches(name, known, MAX_CLOSE, 0.6)
    lasts = {other.rpartition(".")[2] for other in known}
    alike = difflib.get_close_matches(last, lasts, 2, 0.7)
    found += [other for other in known if other.rpartition(".")[2] in alike]
    close = list(dict.fromkeys(found))[:MAX_CLOSE]
    if close:
        return f"; close to it: {', '.join(close)}"
    return "; docs/reference/columns.md and schema.md list all"


@cache
def _paths() -> dict[str, Kind]:
    """Paths into records, with the types of the values."""
    found: dict[str, Kind] = {"type": str}
    for kind in RECORDS:
        found.update(_below("", inspect.type_info(kind)))
    return found


def _below(prefix: str, info: inspect.Type) -> Iterator[tuple[str, Kind]]:
    """Paths below a struct. Lists and dicts are fields as a whole only."""
    if not isinstance(info, inspect.StructType):
        return
    for field in info.fields:
        name, inner = f"{prefix}{field.encode_name}", field.type
        if isinstance(inner, inspect.UnionType):
            (inner,) = (kind for kind in inner.types if not isinstance(kind, inspect.NoneType))
        yield name, next((kind for type_, kind in _SCALARS if isinstance(inner, type_)), None)
        yield from _below(f"{name}.", inner)


def _value(record: FileRecord, name: str) -> Any:
    """The value at a path; None if the record has none."""
    if name == "type":
        return cast(Any, type(record).__struct_config__).tag
    value: Any = record
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _flat(value: Any) -> Value:
    if value is None or isinstance(value, (str, int, float)):
        return value
    return json_safe(encode(value)).decode()
