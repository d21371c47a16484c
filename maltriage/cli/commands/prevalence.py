"""`maltriage prevalence`: the index of what is common among clean programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.errors import MaltriageError, cannot_write

if TYPE_CHECKING:
    from maltriage.probe.common import Prevalence

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
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=opt.spared, help="The index, e.g. clean.npz.")
    ],
    extend: Annotated[
        Path | None,
        typer.Option(help="Index to add to, e.g. the one that ships (`prevalence show`)."),
    ] = None,
    max_size: opt.MaxSize = 256,
    jobs: opt.Jobs = 0,
    timeout: opt.Timeout = 60.0,
    quiet: opt.Quiet = False,
) -> None:
    """Count in how many packages of clean programs each text and piece of code is.

    Each folder right below a named one is a package, e.g. goodware/train/python-3.11: what is in
    ten of its files counts once. A file beside them is a package of its own. The index holds the
    most common texts and pieces, as hashes, and no byte of the programs. --extend adds the
    packages to those of another index, which is not changed.
    """
    from maltriage.cli.bars import bar
    from maltriage.cli.console import make_console
    from maltriage.prevalence import build as built
    from maltriage.probe.common import load, save
    from maltriage.source.reading import Reading
    from maltriage.work.cores import cores
    from maltriage.work.isolation import Isolation, memory_for
    from maltriage.work.workers import Workers

    if not output.parent.is_dir():
        raise MaltriageError(f"cannot write {output}: no folder {output.parent}")
    if output.suffix != ".npz":  # a sample named by mistake is not written over
        raise MaltriageError(f"{output}: the name of an index ends in .npz")
    base = None if extend is None else load(extend)
    limit = max_size * opt.MIB
    shown = bar(make_console(stderr=True), "reading packages", enabled=not quiet)
    isolation = Isolation(memory_for(limit))
    with Workers(jobs or cores(), timeout, isolation=isolation) as workers, shown as tick:
        found = built(folders, workers, Reading(max_size=limit), onto=base, done=tick)
    try:
        save(found.index, output)
    except OSError as error:
        raise cannot_write(output, error) from error
    typer.echo(f"{output}: {_said(found.index)}")
    if found.unread and not quiet:
        typer.echo(f"maltriage: {found.unread:,} files gave no sample", err=True)


@app.command("show")
def show(
    index: Annotated[
        Path | None, typer.Argument(help="An index; by default the one that ships.")
    ] = None,
) -> None:
    """Say what an index was made of: packages, files, and compilers of the programs."""
    from maltriage.bundle import models_dir
    from maltriage.probe.common import SHIPPED, load

    path = models_dir() / SHIPPED if index is None else index
    found = load(path)
    typer.echo(f"{path}: {_said(found)}")
    if found.about.makers:
        typer.echo("packages  with programs made with")
    for maker, packages in found.about.makers.items():
        typer.echo(f"{packages:8,}  {maker}")


def _said(index: Prevalence) -> str:
    about = index.about
    return (
        f"{len(index.texts):,} texts that {about.texts_from} packages or more have,"
        f" {len(index.pieces):,} pieces of code and data that {about.pieces_from} or more have;"
        f" from {about.files:,} files of {about.packages:,} packages"
    )
