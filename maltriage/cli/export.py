"""`maltriage export`: the bundle of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.training import need_torch


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint, or the folder of a run (its last one).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    quiet: opt.Quiet = False,
    color: opt.ColorOption = opt.Color.auto,
) -> None:
    """Export a checkpoint as a bundle, checked number by number against PyTorch."""
    need_torch()
    from maltriage.cli.console import make_console
    from maltriage.cli.training import status
    from maltriage.report.sanitize import clean

    with status(make_console(color.value, stderr=True), "exporting", enabled=not quiet):
        from maltriage.learn.train import export_checkpoint

        card = export_checkpoint(checkpoint, output)
    if not quiet:
        typer.echo(f"{clean(str(output))}: {clean(card.name)}, weights {card.weights_sha256}")
