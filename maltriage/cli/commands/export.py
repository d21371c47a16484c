"""`maltriage export`: exports checkpoints as bundles, and quantises bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import open_for
from maltriage.cli.parser.misplaced import refuse
from maltriage.cli.training.extra import need_torch
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.bundle import Bundle


_TO_QUANTIZE = tuple("folds dataset root goodware min_samples files seed format".split())


PrecisionName = Literal["int8", "fp16"]


def export(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="A checkpoint or the folder of a run, e.g. runs/a; with --quantize a bundle, a"
            " shipped name or the folder of a run."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=opt.spared, help="The bundle to write.")
    ],
    quantize: Annotated[
        PrecisionName | None,
        typer.Option(help="Convert convolutions to int8 (faster on a CPU) or fp16 (for a GPU)."),
    ] = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    files: Annotated[
        int,
        typer.Option(min=16, help="Samples to calibrate int8 on; as many are compared."),
    ] = 256,
    folds: Annotated[
        Path | None,
        typer.Option(
            help="Also quantise the nets of the run's folds into this folder, e.g. int8-folds, and"
            " measure the cost out of fold."
        ),
    ] = None,
    seed: opt.Seed = 0,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the figures.")
    ] = "table",
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Export a checkpoint as a bundle, checked number by number against PyTorch.

    --quantize makes a bundle of fewer bits from another bundle, without PyTorch. --dataset and
    --root name its training files, from which int8 takes the ranges of activations. The gain and
    the cost are shown. With --folds the card keeps figures, temperature and prediction sets,
    measured anew; `maltriage calibrate` sets the threshold.
    """
    if quantize is None:
        refuse(ctx, _TO_QUANTIZE, "with --quantize")
        _export(Path(source), output, quiet, color)
        return
    from maltriage.assess.studies.quantization import export_quantized
    from maltriage.cli.bars import bar, status
    from maltriage.cli.console import make_console
    from maltriage.corpus.load import load_corpus
    from maltriage.report.studies.quantization import render

    bundle, run = _source(source)
    if folds is not None and (run is None or not bundle.card.training.folds):
        raise MaltriageError(f"{source}: --folds needs the folder of a cross-validation")
    for path in (output, *([folds] if folds else [])):
        if not path.parent.is_dir() or path == run:
            raise MaltriageError(f"cannot write {path}: no such folder, or that of the run")
    errors = make_console(color, stderr=True)
    data = open_for([bundle], dataset, root, min_samples, goodware)
    with bar(errors, "preparing", enabled=not quiet) as progress:
        corpus = load_corpus(data, bundle.card.views, progress=progress)
    with status(errors, "quantising", enabled=not quiet):
        found = export_quantized(
            bundle, output, quantize, corpus, files, seed, run=run, folds=folds
        )
    if not quiet:
        write_document(found, render, format, None, color)


def _export(checkpoint: Path, output: Path, quiet: bool, color: opt.Color) -> None:
    need_torch()
    from maltriage.cli.bars import status
    from maltriage.cli.console import make_console
    from maltriage.report.sanitize import clean

    with status(make_console(color, stderr=True), "exporting", enabled=not quiet):
        from maltriage.learn.runs.train import export_checkpoint

        card = export_checkpoint(checkpoint, output)
    if not quiet:
        typer.echo(f"{clean(str(output))}: {clean(card.name)}, weights {card.weights_sha256}")


def _source(name: str) -> tuple[Bundle, Path | None]:
    """The bundle to quantise, and the folder of its run if that was named."""
    from maltriage import bundle as bundles

    folder = Path(name)
    if not folder.is_dir():
        return bundles.load(bundles.resolve(name)), None
    paths = sorted(folder.glob("*.onnx"))
    if len(paths) != 1:
        raise MaltriageError(
            f"{name}: {'several bundles' if paths else 'no bundle'} in this folder"
        )
    return bundles.load(paths[0]), folder
