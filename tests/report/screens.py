"""Draws screens into strings, and says what may stand on one."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable

import pytest
from rich.console import Console

from maltriage.report.documents.record import Failed, Result, Skipped, Summary
from maltriage.report.formats import EXPLAIN, SCAN, RenderOptions, open_renderer

Item = Result | Skipped | Failed | Summary
FORMATS = {**SCAN, "explain": EXPLAIN["table"], "explain-page": EXPLAIN["html"]}
"""All formats by names that tell those of `explain` from those of `scan`."""
NEEDS = {"stix": "stix2", "misp": "pymisp", "parquet": "pyarrow"}
"""Modules of the extras that formats need, which are named as the formats are."""


def need(name: str) -> None:
    """Skip a test of the format `name` where its extra is not installed."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"needs the extra `{name}`", exc_type=ImportError)


def console_of(width: int, colour: bool = False, encoding: str = "utf-8") -> Console:
    """A console that writes to memory; `colour` makes it a terminal with 24-bit colours."""
    return Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n", errors="strict"),
        width=width,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def printed(console: Console) -> str:
    console.file.flush()
    assert isinstance(console.file, io.TextIOWrapper)
    buffer = console.file.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(console.file.encoding)


def screen(
    name: str,
    items: Iterable[Item],
    options: RenderOptions | None = None,
    width: int = 80,
    colour: bool = False,
    encoding: str = "utf-8",
) -> str:
    """What the format `name` prints for these records (a summary ends them)."""
    console = console_of(width, colour, encoding)
    renderer = open_renderer(FORMATS[name], io.BytesIO(), options or RenderOptions(), console)
    for item in items:
        if isinstance(item, Summary):
            renderer.finish(item)
        else:
            renderer.write(item)
    return printed(console)


def written(name: str, items: Iterable[Item]) -> bytes:
    """What a machine format writes for these records."""
    stream = io.BytesIO()
    renderer = open_renderer(FORMATS[name], stream, RenderOptions(), console_of(80))
    for item in items:
        if isinstance(item, Summary):
            renderer.finish(item)
        else:
            renderer.write(item)
    return stream.getvalue()


def hidden(text: str) -> set[str]:
    """Characters of `text` that a terminal acts on or does not show; line feeds are allowed."""
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return {c for c in text if c != "\n" and unicodedata.category(c) in kinds}
