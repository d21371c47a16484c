"""`maltriage doctor`: checks the installation and the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document


def doctor(
    model: opt.Model = None,
    cache: opt.Cache = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    output: opt.Output = None,
    color: opt.ColorOption = "auto",
) -> None:
    """Check the installation: versions, model, device, isolation, limits, folders.

    The model runs once, and a worker tries everything that it must not be able to do
    (docs/reference/isolation.md). Nothing is written. Exit code 0: no problems; 1: problems,
    listed last.
    """
    from maltriage.cli.commands.cache import folder_of
    from maltriage.doctor import examine
    from maltriage.files.places import cache_dir, models_dir
    from maltriage.report.status.doctor import render
    from maltriage.source.known import FOLDER
    from maltriage.work.forkserver import start_ahead

    start_ahead()
    places: dict[str, Path] = {
        "kept results": folder_of(cache),
        "prepared datasets": cache_dir() / "corpus",
        "known good lists": cache_dir() / FOLDER,
        "models of your own": models_dir(),
    }
    found = examine(model, places)
    write_document(found, render, format, output, color)
    raise typer.Exit(1 if found.problems else 0)
