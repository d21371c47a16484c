"""`maltriage prevalence`: the index of what is common among clean programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maltriage.cli import options as opt
from maltriage.errors import MaltriageError

app = typer.Typer(
    name="prevalence",
    help="Build an index of what clean programs have in common.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def prevalence() -> None:
    """Build an index of what clean programs have in common."""


@app.command("build")
def build(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of clean programs, e.g. goodware/train.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The index, e.g. clean.npz.")],
    max_size: opt.MaxSize = 256,
    jobs: opt.Jobs = 0,
    timeout: opt.Timeout = 60.0,
    quiet: opt.Quiet = False,
) -> None:
    """Count in how many packages of clean programs each text and piece of code is.

    Each folder right below a named one is a package, e.g. goodware/train/python-3.11: what is in
    ten of its files counts once. A file beside them is a package of its own. The index holds the
    most common texts and pieces, as hashes, and no byte of the programs.
    """
    from maltriage.cli.console import make_console
    from maltriage.cli.extras import status
    from maltriage.cli.files import cannot_write
    from maltriage.prevalence import build as built
    from maltriage.probe.common import save
    from maltriage.source.reading import Reading
    from maltriage.work.cores import cores
    from maltriage.work.isolation import Isolation, memory_for
    from maltriage.work.workers import Workers

    if not output.parent.is_dir():
        raise MaltriageError(f"cannot write {output}: no folder {output.parent}")
    if output.suffix != ".npz":  # a sample named by mistake is not written over
        raise MaltriageError(f"{output}: the name of an index ends in .npz")
    limit = max_size * opt.MIB
    shown = status(make_console(stderr=True), "reading clean programs", enabled=not quiet)
    isolation = Isolation(memory_for(limit))
    with Workers(jobs or cores(), timeout, isolation=isolation) as workers, shown:
        found = built(folders, workers, Reading(max_size=limit))
    try:
        save(found.index, output)
    except OSError as error:
        raise cannot_write(output, error) from error
    about = found.index.about
    typer.echo(
        f"{output}: {len(found.index.texts):,} texts that {about.texts_from} packages or more have,"
        f" {len(found.index.pieces):,} pieces of code and data that {about.pieces_from} or more"
        f" have; from {about.files:,} files of {about.packages:,} packages"
    )
    if found.unread and not quiet:
        typer.echo(f"maltriage: {found.unread:,} files could not be read", err=True)
