"""`maltriage compare`: compares nets on the same folds of a dataset."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maltriage.cli import options as opt
from maltriage.cli.bars import ShowTick, bar, between_bars, status
from maltriage.cli.documents import Format, write_document
from maltriage.cli.training import recipe as rec
from maltriage.cli.training.extra import need_torch
from maltriage.cli.training.study import (
    EPOCHS,
    Study,
    named_nets,
    numbers_by_net,
    recipes,
    wanted_of,
)
from maltriage.errors import MaltriageError, cannot_write

if TYPE_CHECKING:
    from rich.console import Console

    from maltriage.assess.studies.cell import Measured
    from maltriage.corpus.datasets.base import Dataset
    from maltriage.corpus.predictions import Predictions
    from maltriage.corpus.study import Cell
    from maltriage.report.documents.comparison import Comparison

TABLE_FILE, DOCUMENT_FILE, CHART_FILE = "table.md", "table.json", "chart.png"


def compare(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option(help="Folder of the study; finished cells are kept, e.g. studies/nets.")
    ],
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    allow_resized: opt.AllowResized = False,
    unmapped: opt.Unmapped = 0,
    nets: Annotated[str, typer.Option(help="Nets, e.g. evidence,mcnn, or all.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Number of seeds of each net.")] = 3,
    folds: Annotated[
        int, typer.Option(min=0, max=100, help="Folds of each seed; 0: hold one part back instead.")
    ] = 5,
    split: opt.Split = "grouped",
    split_seed: Annotated[int, typer.Option(min=0, help="Seed of the split, for all nets.")] = 0,
    image_size: Annotated[
        int, typer.Option(min=16, max=1024, help="Side of the body view, a multiple of 8.")
    ] = 64,
    views: Annotated[
        str | None,
        typer.Option(help="Views of all nets, e.g. body,code; by default those of each net."),
    ] = None,
    epochs: Annotated[
        str, typer.Option(help="Epochs of all nets, and of single ones, e.g. 30,mcnn=5,imcfn=5.")
    ] = str(EPOCHS),
    batch_size: Annotated[
        str | None,
        typer.Option(
            help="Samples in one step, of all nets or of single ones, e.g. 64,mcnn=16; by default"
            " that of each net."
        ),
    ] = None,
    precision: rec.Precision = "float32",
    accelerator: rec.Accelerator = "auto",
    reference: Annotated[
        str | None,
        typer.Option(help="Row that others are compared with, e.g. mcnn; by default the first."),
    ] = None,
    peers: Annotated[
        list[Path] | None,
        typer.Option(
            "--with", help="CSV of predictions on the same folds, as another row; repeatable."
        ),
    ] = None,
    train: Annotated[
        bool, typer.Option(help="Train missing cells; --no-train needs no torch.")
    ] = True,
    format: Annotated[Format, typer.Option("--format", "-f", help="Format on stdout.")] = "table",
    output: opt.Output = None,
    threads: opt.Threads = 0,
    jobs: opt.Jobs = 0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Train nets over seeds and folds, and compare their figures and their cost.

    Each net is measured with its exported bundle, on the samples that its training held back. OUT
    gets a run for each cell (net, seed, fold), table.md, table.json and chart.png. Ctrl-C saves
    the current cell; the same command goes on. Several processes with the same OUT share the
    cells.
    """
    from maltriage.cli.console import make_console
    from maltriage.cli.stop.ending import stopping
    from maltriage.corpus.datasets import open_dataset
    from maltriage.corpus.predictions import load_predictions
    from maltriage.corpus.splits import KINDS
    from maltriage.learn.nets import entry
    from maltriage.report.studies.comparison import render

    if folds == 1:
        raise MaltriageError("--folds 1: two or more, or 0 to hold one part back")
    if train:
        need_torch()
    elif not out.is_dir():
        raise MaltriageError(f"no study {out}")
    console = make_console(color, stderr=True)
    names = named_nets(nets)
    numbers = numbers_by_net("epochs", epochs, dict.fromkeys(names, EPOCHS), 1)
    usual = {net: entry(net).batch_size for net in names}
    batches = numbers_by_net("batch-size", batch_size, usual, 2)
    study = Study(out, names, seeds, folds, numbers, batches, dict(ctx.params))
    others = [load_predictions(path) for path in peers or []]
    known = [*names, *(run.recipe for run in others)]
    if reference is not None and reference not in known:
        raise MaltriageError(f"--reference {reference}: no row of that name ({', '.join(known)})")
    with status(console, "starting", enabled=not quiet):
        data = open_dataset(
            dataset, root, min_samples, goodware, allow_resized=allow_resized, unmapped=unmapped
        )
        if split not in KINDS:
            study.folds = _values(ctx, data, split)
        if train:
            study.fits = recipes(study, data)
    with stopping() as stop:
        found = _cells(study, data, console, stop)
        if not stop():
            with _alone(study, stop):
                document = None if stop() else _tabulate(study, found, reference, others, console)
        if stop():
            if not quiet:
                console.print(
                    f"Stopped: {len(found)} of {len(study.cells)} cells are finished."
                    " The same command goes on."
                )
            raise typer.Exit(stop.exit_code)
    assert document is not None
    write_document(document, render, format, output, color)


def _values(ctx: typer.Context, data: Dataset, column: str) -> int:
    """The number of folds of a split by a column, one of each value."""
    from maltriage.corpus.datasets.columns import column_names
    from maltriage.corpus.value_folds import column_of, fold_names

    given = ctx.get_parameter_source("folds")
    if given is not None and given.name not in ("DEFAULT", "DEFAULT_MAP"):
        raise MaltriageError(f"--split {column} makes a fold of each value: leave out --folds")
    if column_of(column) not in (names := column_names(data.samples)):
        raise MaltriageError(f"no such split: {column} (columns here: {', '.join(names)})")
    values = [sample.columns.get(column_of(column), "") for sample in data.samples]
    return len(set(fold_names(column, values)) - {""})


def _cells(
    study: Study, data: Dataset, console: Console, stop: Callable[[], bool]
) -> dict[Cell, Measured]:
    """Train and measure the cells that are missing; return all."""
    from maltriage.assess.studies import cell as study_cell
    from maltriage.report.scan.progress import ScanProgress
    from maltriage.source.archive.limits import Archives
    from maltriage.triage.options import Progress, ScanOptions

    quiet, todo = study.params["quiet"], study.cells
    options = ScanOptions(device="cpu", jobs=study.params["jobs"], archives=Archives())
    _read(study, data, console)
    found: dict[Cell, Measured] = {}
    for cell in _finished(study, console, stop):
        corpus, wanted = study.corpora[cell.net], wanted_of(study, cell)
        measured = study_cell.known(cell, study.out)
        if measured is not None:
            study_cell.check(cell, measured.card.training, corpus, wanted)
        else:
            with ScanProgress(console, enabled=not quiet) as shown:

                def show(now: Progress, shown: ScanProgress = shown) -> None:
                    shown.update(now.files, now.flagged, now.failed, now.skipped, now.in_flight)

                measured = study_cell.measure(
                    cell, study.out, corpus, options, wanted=wanted, changed=show, stop=stop
                )
            if measured is None:
                break
            if not quiet:
                score = measured.card.metrics.get("test_macro_f1", float("nan"))
                console.print(f"{cell}: macro-F1 {score:.3f} ({len(found) + 1} of {len(todo)})")
        found[cell] = measured
        folds = [one for one in todo if (one.net, one.seed) == (cell.net, cell.seed)]
        if cell.fold is not None and all(one in found for one in folds):
            study_cell.save_out_of_fold(folds, study.out)
    return found


def _read(study: Study, data: Dataset, console: Console) -> None:
    """Read the samples of each net, once for nets with the same views."""
    from maltriage import bundle as bundles
    from maltriage.corpus.load import load_corpus
    from maltriage.report.sanitize import untrusted

    quiet, read, said = study.params["quiet"], dict[Any, Any](), set[str]()
    for net in study.nets:
        if study.fits:
            from maltriage.learn.runs.options import views_for

            views = views_for(study.fits[net])
        else:
            done = (cell.bundle(study.out) for cell in study.cells if cell.net == net)
            first = next((path for path in done if path.exists()), None)
            if first is None:
                continue
            views = bundles.load(first).card.views
        if views not in read:
            with bar(console, "reading samples", enabled=not quiet) as show:
                jobs = study.params["jobs"] or None
                read[views] = load_corpus(data, views, jobs=jobs, progress=show)
        study.corpora[net] = read[views]
        for notice in read[views].notices:
            if not quiet and notice.text not in said:
                console.print(untrusted(f"note: {notice.text}"), soft_wrap=True)
            said.add(notice.text)


def _finished(study: Study, console: Console, stop: Callable[[], bool]) -> Iterator[Cell]:
    """Yield the cells that are finished, then each other once it is trained."""
    if not study.fits:
        for cell in study.cells:
            if not stop() and cell.bundle(study.out).exists():
                yield cell
        return
    from maltriage.learn.runs.compare import run_options, train_missing

    quiet, split = study.params["quiet"], study.params["split"]
    runs = {
        cell: run_options(
            cell,
            study.out,
            study.fits[cell.net],
            folds=study.folds,
            split=split,
            split_seed=study.params["split_seed"],
        )
        for cell in study.cells
    }
    told: list[int] = []

    def waiting(count: int) -> None:
        if told[-1:] != [count] and not quiet:
            console.print(f"waiting for {count} cells of other processes")
        told.append(count)

    def begin(show: ShowTick) -> Iterator[Cell]:
        return train_missing(
            runs,
            study.out,
            study.corpora,
            progress=lambda cell, tick: show(tick, f"{cell}, "),
            waiting=waiting,
            stop=stop,
        )

    yield from between_bars(console, not quiet, begin)


@contextmanager
def _alone(study: Study, stop: Callable[[], bool]) -> Iterator[None]:
    """Lock the study: one process at a time measures times and writes the table."""
    from maltriage.corpus.study import LOCKS
    from maltriage.files.lock import locked

    while True:
        with locked(study.out / LOCKS / "table.lock") as held:
            if held or stop():
                yield
                return
        time.sleep(0.5)


def _tabulate(
    study: Study,
    found: dict[Cell, Measured],
    reference: str | None,
    others: list[Predictions],
    console: Console,
) -> Comparison:
    """Write the files of the study's folder; return the document."""
    import msgspec

    from maltriage.assess.studies.compare import compare as assess
    from maltriage.files.atomic import write_file
    from maltriage.report.documents.record import encode
    from maltriage.report.sanitize import untrusted
    from maltriage.report.studies.comparison import markdown

    out, chart = study.out, importlib.util.find_spec("matplotlib") is not None
    with status(console, "measuring", enabled=not study.params["quiet"]):
        document = assess(
            found,
            study.nets,
            out,
            study.corpora,
            seeds=study.seeds,
            folds=study.folds,
            reference=reference,
            others=others,
        )
    try:
        write_file(out / DOCUMENT_FILE, msgspec.json.format(encode(document), indent=1) + b"\n")
        write_file(out / TABLE_FILE, markdown(document).encode())
        if chart:
            from maltriage.report.studies.charts import plot_comparison

            plot_comparison(document, out / CHART_FILE)
    except OSError as error:
        raise cannot_write(out, error) from error
    if not study.params["quiet"]:
        if not chart:
            console.print(f"note: no {CHART_FILE}: matplotlib is missing")
        files = f"{TABLE_FILE}, {DOCUMENT_FILE}" + (f", {CHART_FILE}" if chart else "")
        console.print(untrusted(f"written to {out}: {files}"), soft_wrap=True)
    return document
