"""Writes a command's document: as JSON, on a screen or as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from maltriage.cli import options as opt

Format = Literal["table", "json"]
"""Formats of a command without a page."""


PageFormat = Literal["table", "json", "html"]
"""Formats of a command with a page."""


def write_document(
    document: Any,
    render: Any,
    format: str,
    output: Path | None,
    color: opt.Color,
    page: Callable[[Any], str] | None = None,
) -> None:
    """Write a document.

    Args:
        render: prints it on a console.
        format: `table`, `json`, or with `page` also `html`. A file whose name ends in .json gets
            JSON in place of a table.
        output: the file; None: stdout.
        page: renders it as HTML.
    """
    from maltriage.cli.console import make_console
    from maltriage.cli.files import opened
    from maltriage.report.documents.record import encode
    from maltriage.report.sanitize import json_safe

    if format == "table" and output is not None and output.suffix.lower() == ".json":
        format = "json"
    with opened(output) as out:
        if format == "json":
            out.binary.write(json_safe(encode(document)) + b"\n")
        elif format == "html" and page is not None:
            out.binary.write(page(document).encode())
        else:
            render(document, make_console(color, file=out.text))
