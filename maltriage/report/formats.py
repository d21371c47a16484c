"""The output formats: one object per format, one registry per command.

A new format is one file with a class that has the methods of `Renderer` and the arguments of
`open_renderer`, and one line in `SCAN` or `EXPLAIN`. Options, endings, refusals and shards read the
registry. `--help` imports this module, so it imports no renderer.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from rich.console import Console

    from maltriage.report.documents.record import FileRecord, Summary
    from maltriage.report.scan.fields import Fields


class Renderer(Protocol):
    """Renders the records of a scan as they come, then its summary, once."""

    def write(self, record: FileRecord) -> None: ...

    def finish(self, summary: Summary) -> None: ...


@dataclass(frozen=True)
class RenderOptions:
    """Options of renderers. Records are never shortened, except by `fields`."""

    top: int | None = None
    """Rows of a table; None: the default of the screen, 0: all."""
    show_skipped: bool = False
    """List skipped files with the reason; otherwise they are counted."""
    fields: Fields | None = None
    """Fields of records and rows (`selective` formats); None: all."""
    ecs: bool = False
    """Records by the names of the Elastic Common Schema (`ecs` formats)."""
    host: str | None = None
    """`host.name` of their events; None: they have none."""
    verbose: bool = False
    """All that is folded otherwise, such as fields of headers."""


class _Factory(Protocol):
    def __call__(self, stream: BinaryIO, options: RenderOptions, console: Console) -> Renderer: ...


@dataclass(frozen=True)
class Format:
    """An output format."""

    name: str
    """Value of `--format`."""
    title: str
    """Name in messages."""
    renderer: str
    """module:class, imported when an output is opened."""
    endings: tuple[str, ...] = ()
    """Endings of file names for this format, in lower case and with the dot."""
    screen: bool = False
    """Printed for people, as wide as the console; others write UTF-8 for programs."""
    failures: bool = True
    """Has a place for skipped and failed files."""
    single: bool = False
    """Holds the record of one file."""
    partial: bool = False
    """The beginning of a file can be read, so it is kept if the rest cannot be written."""
    selective: bool = False
    """Can hold a choice of fields (`--fields`)."""
    ecs: bool = False
    """Can hold events of the Elastic Common Schema (`--ecs`)."""
    shardable: bool = False
    """Can be written in shards, by several processes (`--shards`)."""
    flagged: bool = False
    """Holds flagged files alone."""


def registry(*formats: Format) -> dict[str, Format]:
    """Formats by name, in the order that help and messages have them."""
    return {format.name: format for format in formats}


_SCAN, _EXPLAIN = "maltriage.report.scan.", "maltriage.report.explain."
_JSON = {"partial": True, "selective": True, "ecs": True}

SCAN = registry(
    Format("table", "table", _SCAN + "table:TableRenderer", (".txt",), screen=True),
    Format(
        "ndjson",
        "NDJSON",
        _SCAN + "ndjson:NdjsonRenderer",
        (".ndjson", ".jsonl"),
        shardable=True,
        **_JSON,
    ),
    Format("json", "JSON", _SCAN + "json:JsonRenderer", (".json",), **_JSON),
    Format("csv", "CSV", _SCAN + "csv:CsvRenderer", (".csv",), partial=True, selective=True),
    Format("html", "HTML", _SCAN + "page:ScanPage", (".html", ".htm")),
    Format(
        "parquet",
        "Parquet",
        _SCAN + "parquet:ParquetRenderer",
        (".parquet",),
        selective=True,
        shardable=True,
    ),
    Format("stix", "STIX", _SCAN + "stix:StixRenderer", (".stix",)),
    Format("misp", "MISP", _SCAN + "misp:MispRenderer", (".misp",), flagged=True),
)
"""Formats of `scan`. The first is the default."""

OFFSETS = "offsets"
"""The format of `explain --offsets`."""

EXPLAIN = registry(
    Format(
        "table",
        "table",
        _EXPLAIN + "screen:ExplainRenderer",
        (".txt",),
        screen=True,
        failures=False,
    ),
    Format("json", "JSON", _SCAN + "ndjson:NdjsonRenderer", (".json", ".ndjson", ".jsonl")),
    Format(
        "html",
        "HTML",
        _EXPLAIN + "page:ExplainPage",
        (".html", ".htm"),
        failures=False,
        single=True,
    ),
    Format(
        OFFSETS,
        "a list of offsets",
        _EXPLAIN + "offsets:OffsetsRenderer",
        (".tsv",),
        failures=False,
    ),
)
"""Formats of `explain`, for the records of files, one after the other."""


def find(name: str, formats: Mapping[str, Format] = SCAN) -> Format:
    """The format of this name.

    Raises:
        MaltriageError: there is none.
    """
    if name not in formats:
        raise MaltriageError(f"no such format: {name} (there are {', '.join(formats)})")
    return formats[name]


def by_ending(
    name: str, formats: Mapping[str, Format] = SCAN, unknown: Format | None = None
) -> Format | None:
    """The format of a file name's ending; None if the name has no ending.

    Args:
        unknown: the format for unknown endings.

    Raises:
        MaltriageError: no format has this ending, and `unknown` is None.
    """
    ending = os.path.splitext(name)[1].lower()
    if not ending:
        return None
    for format in formats.values():
        if ending in format.endings:
            return format
    if unknown is None:
        raise MaltriageError(
            f"{name}: no format has the ending {ending} (known: {', '.join(endings(formats))});"
            " name one with --format"
        )
    return unknown


def endings(formats: Mapping[str, Format] = SCAN) -> list[str]:
    """Endings of these formats."""
    return [ending for format in formats.values() for ending in format.endings]


def listed(formats: Iterable[Format], word: str = "or") -> str:
    """Formats in words: `NDJSON, JSON or CSV`."""
    *others, last = [format.title for format in formats]
    return f"{', '.join(others)} {word} {last}" if others else last


def open_renderer(
    format: Format, stream: BinaryIO, options: RenderOptions, console: Console
) -> Renderer:
    """The renderer of a format. It writes nothing before its first record or the summary.

    Args:
        stream: for machine formats, which write UTF-8.
        console: for screens.

    Raises:
        MaltriageError: a library of the format is missing.
    """
    module, _, attribute = format.renderer.partition(":")
    factory = cast(_Factory, getattr(importlib.import_module(module), attribute))
    return factory(stream, options, console)
