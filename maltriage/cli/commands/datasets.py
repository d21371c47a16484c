"""`maltriage datasets`: lists known datasets, and checks one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document

FormatOption = Annotated[Format, typer.Option("--format", "-f", help="Format of the result.")]

app = typer.Typer(
    name="datasets",
    help="List the known datasets and their folders; `check` examines one.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def datasets(
    ctx: typer.Context,
    format: FormatOption = "table",
    output: opt.Output = None,
    color: opt.ColorOption = "auto",
) -> None:
    """List the known datasets: their folders, and what is cached."""
    if ctx.invoked_subcommand is not None:
        return
    from maltriage.corpus.overview import known_datasets
    from maltriage.report.status.datasets import render_list

    write_document(known_datasets(), render_list, format, output, color)


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="Folder of the dataset.")],
    dataset: opt.DatasetName = "folder",
    goodware: opt.Goodware = None,
    allow_resized: opt.AllowResized = False,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Also list labels that are probably wrong, by out-of-fold predictions, e.g."
            " runs/cv5/out-of-fold.csv; repeatable, for seeds."
        ),
    ] = None,
    format: FormatOption = "table",
    output: opt.Output = None,
    jobs: opt.Jobs = 0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Examine a dataset: classes, sizes, duplicates, near duplicates, contradictions.

    A grouped split keeps near duplicates in one part. The test samples of a random split that
    have one in training are counted. Ends with 3 if files could not be read.

    --predictions also lists files whose label is probably wrong: nets that had not seen the file
    give another label more than an even chance.
    """
    from maltriage.cli.bars import bar
    from maltriage.cli.console import make_console
    from maltriage.corpus.datasets import open_dataset
    from maltriage.corpus.load import load_corpus
    from maltriage.corpus.overview import check as look
    from maltriage.corpus.predictions import load_predictions
    from maltriage.report.status.datasets import render_check

    errors = make_console(color, stderr=True)
    runs = [load_predictions(path) for path in predictions or ()]
    data = open_dataset(dataset, root, min_samples, goodware, allow_resized=allow_resized)
    with bar(errors, "reading samples", enabled=not quiet) as show:
        corpus = load_corpus(data, (), jobs=jobs or None, progress=show, conflicts=True)
    found = look(data, corpus, runs)
    write_document(found, render_check, format, output, color)
    if any(file.failed for file in found.unreadable):
        raise typer.Exit(opt.EXIT_UNREAD)
