"""How a command hands a document on: as JSON, or through the renderer of a screen or a page."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from maltriage.cli import options as opt


class Format(StrEnum):
    """Of a command that has no page."""

    table = "table"
    json = "json"


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
        format: `table`, `json`, or `html` where there is a page.
        output: the file; None: stdout.
        page: makes a page of it.
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
