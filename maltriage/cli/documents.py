"""Writes a command's document: as JSON, on a screen or as a page."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from maltriage.cli import options as opt


class Format(StrEnum):
    """Formats of a command without a page."""

    table = "table"
    json = "json"


class PageFormat(StrEnum):
    """Formats of a command with a page."""

    table = "table"
    json = "json"
    html = "html"


def write_document(
    document: Any,
    render: Any,
    format: StrEnum,
    output: Path | None,
    color: opt.Color,
    page: Callable[[Any], str] | None = None,
) -> None:
    """Write a document.

    Args:
        render: prints it on a console.
        format: `table`, `json`, or with `page` also `html`.
        output: the file; None: stdout.
        page: renders it as HTML.
    """
    from maltriage.cli.console import make_console
    from maltriage.cli.files import opened
    from maltriage.report.documents.record import encode
    from maltriage.report.sanitize import json_safe

    with opened(output) as out:
        if format == "json":
            out.binary.write(json_safe(encode(document)) + b"\n")
        elif format == "html" and page is not None:
            out.binary.write(page(document).encode())
        else:
            render(document, make_console(color.value, file=out.text))
