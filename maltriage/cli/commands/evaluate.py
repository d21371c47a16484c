"""`maltriage evaluate`: measures a bundle on labelled files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import PageFormat, write_document
from maltriage.cli.labelled import check_clean, open_labelled, scan_options, scanning
from maltriage.cli.parser.misplaced import refuse
from maltriage.cli.training import recipe as rec
from maltriage.cli.training.openset import Protocol
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.corpus.datasets.base import Dataset
    from maltriage.report.documents.by_column import ColumnReport
    from maltriage.report.documents.evaluation import Evaluation, FoldReport


EPOCHS = 5
"""Epochs of the nets of `--open-set`: few, since many nets are trained and none is kept."""


_DATA = ("dataset", "root", "goodware", "min_samples")
_PART = ("split", "split_file")
_NETS = ("net", "views", "epochs", "precision")


Part = Literal["all", "train", "val", "test"]


def evaluate(
    ctx: typer.Context,
    model: opt.Bundle = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    split: Annotated[
        Part, typer.Option(help="Part of the model's training split to measure on.")
    ] = "test",
    split_file: opt.SplitFile = None,
    clean: Annotated[
        Path | None,
        typer.Option(help="Measure false positives on this folder of clean files instead."),
    ] = None,
    exclude: opt.Exclude = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Measure out-of-fold predictions instead, a CSV for each seed, e.g."
            " runs/cv5/out-of-fold.csv; repeatable."
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            help="CSV of another recipe's predictions on the same folds, to compare with;"
            " repeatable."
        ),
    ] = None,
    added: Annotated[
        bool, typer.Option("--added", help="Also count predictions of the added clean files.")
    ] = False,
    by: opt.By = None,
    fpr: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            max=0.5,
            help="With --by and --predictions: false-positive rate of the thresholds, e.g. 0.01; by"
            " default 0.005.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="With --by and --predictions: also count at this threshold, e.g. that of a model"
            " that ships, 1.750."
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=0.999,
            help="With --predictions: also measure prediction sets at this coverage, e.g. 0.95.",
        ),
    ] = None,
    open_set: Annotated[
        Path | None,
        typer.Option(
            help="Train nets into this folder, each without one family, and measure how well they"
            " recognise it as unknown, e.g. runs/open; with --goodware also clean files."
        ),
    ] = None,
    net: Annotated[str, typer.Option(help="Net of --open-set, e.g. mcnn.")] = "evidence",
    views: Annotated[
        str | None,
        typer.Option(help="Views of --open-set, e.g. body,code; by default those of the net."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, max=100_000, help="Epochs of --open-set.")] = EPOCHS,
    precision: Annotated[
        rec.PrecisionName, typer.Option(help="Precision of --open-set.")
    ] = "float32",
    format: Annotated[
        PageFormat, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    png: Annotated[
        Path | None,
        typer.Option(
            callback=opt.spared,
            help="Also draw a PNG of reliability, ROC, precision/recall and confusion.",
        ),
    ] = None,
    output: opt.Output = None,
    device: opt.Device = "auto",
    jobs: opt.Jobs = 0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Measure a model on labelled files, read as by `scan`.

    The default part is the one that training held back: the split is made again from the card, and
    a card of other data is refused. A cross-validated model has seen every sample: measure the
    out-of-fold predictions of its run. With --by source, figures are those of each source.

    --open-set DIR measures a recipe, not a model: nets are trained (extra `train`), each without
    one family. Finished nets in DIR are not trained again, so Ctrl-C loses little.
    """
    from maltriage.assess.held_back import Group, Held, Hints, part_of, samples_of
    from maltriage.assess.verdicts import evaluate as assess
    from maltriage.assess.verdicts.by_column import of_model
    from maltriage.assess.verdicts.column_files import files_of
    from maltriage.corpus.datasets import open_dataset
    from maltriage.corpus.load import load_corpus

    _check(format, png, output, clean)
    if predictions:
        others = {"a model": model, "--clean": clean, "--open-set": open_set, "--exclude": exclude}
        if wrong := [name for name, value in others.items() if value]:
            raise MaltriageError(f"--predictions has the answers: leave out {', '.join(wrong)}")
        refuse(ctx, (*_PART, "device"), "without --predictions, which has the answers")
        refuse(ctx, () if by is not None else _DATA, "with --predictions only beside --by")
    if open_set is None:
        refuse(ctx, _NETS, "with --open-set")
    if fpr is not None and not (by and predictions):
        raise MaltriageError("--fpr goes with --by and --predictions")
    if margin is not None and not (by and predictions):
        raise MaltriageError("--margin goes with --by and --predictions")
    if by is not None:
        _check_by(format, png, [clean, open_set, coverage, added or None])
    if by is not None and predictions:
        data = open_dataset(dataset, root, min_samples, goodware)
        paths = [*predictions, *(against or [])]
        _write_by(_by_predictions(by, data, paths, fpr, margin), format, output, color)
        return
    if predictions:
        _write(
            _predictions(predictions, against or [], added, coverage), format, png, output, color
        )
        return
    if against or added or coverage is not None:
        raise MaltriageError("--against, --added and --coverage go with --predictions")
    if open_set is not None:
        if model is not None or clean is not None or png is not None or format == "html":
            raise MaltriageError("--open-set takes no model, --clean or chart: it trains its nets")
        refuse(ctx, (*_PART, "exclude"), "without --open-set, which makes its own parts")
        data = open_dataset(dataset, root, min_samples, goodware)
        _open_set(
            Protocol(open_set, net, views, epochs, precision, jobs, device),
            *(data, format, output, color),
            quiet=quiet,
        )
        return
    if clean is not None:
        refuse(ctx, (*_DATA, *_PART), "without --clean, whose files have no labels")
        _clean(model, clean, exclude or [], device, jobs, format, output, color)
        return
    if exclude:
        raise MaltriageError("--exclude goes with --clean")
    if split == "all":
        refuse(ctx, ("split_file",), "without --split all, which takes every file")
    bundle, data = open_labelled(model, dataset, root, min_samples, goodware)
    held = Held(bundle, [Group(bundle, samples_of(data))], split)
    if split != "all":
        hints = Hints(
            "its figures are out of fold, see --predictions", "; --split all takes every file"
        )
        held = part_of(bundle, data, split, split_file, hints)
    if by is not None:
        files = files_of(load_corpus(data, (), jobs=jobs or None), by)
        with scanning(color, quiet, len(held)) as show:
            report = of_model(files, held, scan_options(device, jobs), changed=show)
        _write_by(report, format, output, color)
        return
    with scanning(color, quiet, len(held)) as show:
        found = assess.evaluate(held, scan_options(device, jobs), changed=show)
    _write(found, format, png, output, color)


def _check(format: PageFormat, png: Path | None, output: Path | None, clean: Path | None) -> None:
    """Find wrong use before the work."""
    for path in (png, output):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            why = "a folder" if path.is_dir() else "no such folder"
            raise MaltriageError(f"cannot write {path}: {why}")
    if png is not None and png == output:
        raise MaltriageError(f"--png and --output name the same file: {png}")
    if clean is not None and (png is not None or format == "html"):
        raise MaltriageError("--clean has no picture and no page: use -f table or json")
    check_clean([clean] if clean is not None else [])
    if png is not None or format == "html":
        from maltriage.report.studies.charts import need_matplotlib

        need_matplotlib()


def _check_by(format: PageFormat, png: Path | None, others: list[object]) -> None:
    if png is not None or format == "html":
        raise MaltriageError("--by has no picture and no page: use -f table or json")
    if any(other is not None for other in others):
        raise MaltriageError("--by goes without --clean, --open-set, --coverage and --added")


def _by_predictions(
    column: str, data: Dataset, paths: list[Path], fpr: float | None, margin: float | None
) -> ColumnReport:
    from maltriage.assess.verdicts.by_column import FPR, of_predictions
    from maltriage.assess.verdicts.column_files import files_of
    from maltriage.corpus.load import load_corpus

    return of_predictions(files_of(load_corpus(data, ()), column), paths, fpr or FPR, margin)


def _write_by(
    found: ColumnReport, format: PageFormat, output: Path | None, color: opt.Color
) -> None:
    from maltriage.report.studies.by_column import render

    write_document(found, render, format, output, color)


def _predictions(
    paths: list[Path], against: list[Path], added: bool, coverage: float | None
) -> FoldReport:
    from maltriage.assess.verdicts.folds import assess_folds, check_splits, training_share
    from maltriage.corpus.predictions import load_predictions

    ours = [load_predictions(path) for path in paths]
    theirs = [load_predictions(path) for path in against]
    for path, run in zip(against, theirs, strict=True):
        if run.recipe == ours[0].recipe:
            raise MaltriageError(
                f"--against {path}: of {run.recipe}, as those of --predictions: name another run"
                " by `train --name`, or change its first column"
            )
    check_splits([*paths, *against])
    share = training_share(paths[0], ours[0])
    return assess_folds([*ours, *theirs], added=added, test_share=share, coverage=coverage)


def _open_set(
    protocol: Protocol,
    data: Dataset,
    format: PageFormat,
    output: Path | None,
    color: opt.Color,
    *,
    quiet: bool,
) -> None:
    from maltriage.cli.console import make_console
    from maltriage.report.studies.openset import render

    console = make_console(color, stderr=True)
    write_document(protocol.run(data, console, quiet=quiet), render, format, output, color)


def _write(
    found: Evaluation | FoldReport,
    format: PageFormat,
    png: Path | None,
    output: Path | None,
    color: opt.Color,
) -> None:
    from maltriage.report.documents.evaluation import FoldReport
    from maltriage.report.studies import evaluation, folds
    from maltriage.report.studies.evaluation_page import render_page

    if png is not None:
        from maltriage.cli.pictures import write_picture
        from maltriage.report.studies.charts import picture

        write_picture(png, picture(found))
    render = folds.render if isinstance(found, FoldReport) else evaluation.render
    write_document(found, render, format, output, color, render_page)


def _clean(
    model: str | None,
    folder: Path,
    exclude: list[str],
    device: opt.DeviceName,
    jobs: int,
    format: PageFormat,
    output: Path | None,
    color: opt.Color,
) -> None:
    from maltriage import bundle as bundles
    from maltriage.assess.verdicts.clean_files import false_positives
    from maltriage.report.studies.clean_files import render
    from maltriage.source.files import WalkOptions
    from maltriage.triage.options import ScanOptions

    bundle = bundles.load(bundles.resolve(model))
    walk = WalkOptions(exclude=tuple(exclude))
    options = ScanOptions(device=device, jobs=jobs, walk=walk)
    write_document(false_positives(str(folder), bundle, options), render, format, output, color)
