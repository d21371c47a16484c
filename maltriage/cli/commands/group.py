"""`maltriage group`: lists the groups of similar files of a saved report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format


def group(
    reports: Annotated[list[Path], typer.Argument(help="Saved reports, e.g. scan.ndjson.")],
    top: Annotated[int, typer.Option(min=0, help="Most groups that are listed; 0: all.")] = 50,
    members: Annotated[
        int, typer.Option(min=0, help="Most files of a group on the screen; 0: all.")
    ] = 10,
    format: Annotated[Format, typer.Option("--format", "-f", help="Output format.")] = "table",
    output: opt.Output = None,
    color: opt.ColorOption = "auto",
) -> None:
    """List the groups of similar files of saved reports, with their members.

    Reports are those of `scan --format ndjson` or json; several are grouped together. The most
    urgent group comes first, and in it the most urgent file. JSON has all members of each group.
    What makes two files alike, and how well it agrees with labels, is in docs/how-to/groups.md.
    """
    from maltriage.cli.documents import write_document
    from maltriage.cli.files import keep
    from maltriage.cli.replay import Replay
    from maltriage.errors import MaltriageError
    from maltriage.report.saved.recognise import is_report, refuse_other
    from maltriage.report.scan.groups import render
    from maltriage.similar.groups import listed

    keep([str(path) for path in reports], *([output] if output else []))
    for path in reports:
        if not is_report(str(path)) and os.access(path, os.R_OK):  # else reading it says why not
            refuse_other(str(path))
            raise MaltriageError(
                f"{path}: not a saved report: scan first, maltriage scan DIR -o {path.stem}.ndjson"
            )
    found = listed(Replay.of_reports([str(path) for path in reports], quiet=False).saved(), top)
    write_document(
        found,
        lambda document, console: render(document, console, members),
        format,
        output,
        color,
    )
