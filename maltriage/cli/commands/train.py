"""`maltriage train`: trains a net on labelled files and exports a bundle."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from maltriage.cli import options as opt
from maltriage.cli.bars import ShowTick, bar, status, training_bar
from maltriage.cli.training import recipe as rec
from maltriage.cli.training.extra import need_torch
from maltriage.cli.training.told import foretell, report, tell_held_back
from maltriage.errors import MaltriageError
from maltriage.learn.heat.guide_names import Cam, Kind
from maltriage.learn.nets import NETS, entry

if TYPE_CHECKING:
    from rich.console import Console

    from maltriage.cli.stop.ending import Stop
    from maltriage.corpus.corpus import Corpus
    from maltriage.corpus.datasets.base import Dataset
    from maltriage.learn.runs.crossval import FoldTick
    from maltriage.learn.runs.options import RunOptions
    from maltriage.learn.runs.train import Outcome


Guide = Literal["none", Kind]


def train(
    ctx: typer.Context,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    allow_resized: opt.AllowResized = False,
    unmapped: opt.Unmapped = 0,
    net: Annotated[str, typer.Option(help=f"The net to train: {', '.join(NETS)}.")] = "evidence",
    image_size: Annotated[
        int, typer.Option(min=16, max=1024, help="Side of the body view, a multiple of 8.")
    ] = 64,
    views: Annotated[
        str | None,
        typer.Option(help="Views, e.g. body,code; by default those of the net."),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|hub",
            help="Initial weights of a net with a timm backbone, e.g. xception.safetensors; hub:"
            " download those of timm.",
        ),
    ] = None,
    epochs: rec.Epochs = 30,
    batch_size: rec.BatchSize = None,
    seed: rec.Seed = 0,
    optimizer: rec.Optimizer = "adamw",
    learning_rate: rec.LearningRate = None,
    weight_decay: rec.WeightDecay = 0.05,
    schedule: rec.Schedule = "onecycle",
    warmup: rec.Warmup = 0.3,
    clip_norm: rec.ClipNorm = 0.0,
    class_weights: rec.ClassWeights = "sqrt",
    label_smoothing: rec.LabelSmoothing = 0.05,
    mixup: rec.Mixup = 0.3,
    augment: rec.Augment = True,
    clean_weight: rec.CleanWeight = 3.0,
    word_bound: rec.WordBound = None,
    harden: rec.Harden = False,
    ema: rec.Ema = 0.99,
    patience: rec.Patience = 0,
    accelerator: rec.Accelerator = "auto",
    devices: rec.Devices = 1,
    precision: rec.Precision = "float32",
    split: opt.Split = "grouped",
    split_seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    split_file: Annotated[
        Path | None,
        typer.Option(help="Use the split of a run or of a fold, e.g. runs/a/split.json."),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            help="Cross-validate in this many folds, then train on all, e.g. 5; 0: hold a part"
            " back. A split by a column has its own.",
        ),
    ] = 0,
    fold: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Train only this fold, e.g. 0, beside other processes; --resume ends the run.",
        ),
    ] = None,
    guide: Annotated[
        Guide, typer.Option(help="Guide --net camvit by the heat of teachers.")
    ] = "none",
    keep: Annotated[
        float,
        typer.Option(help="Share of the tokens that a guide keeps, 0.25 to 1; some keep all."),
    ] = 0.5,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="Run of a teacher on the same split, e.g. runs/a; repeatable."),
    ] = None,
    cam: Annotated[Cam, typer.Option(help="Heat maps of the teachers.")] = "hirescam",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/<time>.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in --out once it was stopped or killed."),
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle; by default <dataset>-<net>.")
    ] = None,
    checkpoint_minutes: rec.CheckpointMinutes = 5.0,
    threads: opt.Threads = 0,
    jobs: opt.Jobs = 0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Train a model on labelled files and export it.

    Files lie as <root>/<family>/<file>, or are listed in <root>/labels.csv; those of big2015 are
    hex dumps <Id>.bytes beside trainLabels.csv. One part of the files tunes the probabilities,
    another is held back for the figures at the end. With --folds every sample is held back once,
    and the exported model has seen all. With --split source each source is held back once, which
    shows what holds for files from elsewhere. Processes with the same --folds and --out share the
    folds, with --resume. Ctrl-C and SIGTERM save the run (exit codes 130 and
    143); the same command with --resume goes on with it, and so does --out RUN --resume alone.
    """
    need_torch()
    from maltriage.cli.console import make_console
    from maltriage.cli.stop import interrupt
    from maltriage.cli.stop.ending import stopping
    from maltriage.learn.runs.options import with_folds
    from maltriage.report.sanitize import untrusted

    console = make_console(color, stderr=True)
    named = {
        option: value
        for option, value in ctx.params.items()
        if (source := ctx.get_parameter_source(option)) is not None
        and source.name not in ("DEFAULT", "DEFAULT_MAP")
    }
    folder, begun = rec.run_folder(ctx.params, ctx.args)
    if resume and not begun and not quiet:
        console.print(
            untrusted(f"maltriage: {folder}: begins, since there is no run to go on with")
        )
    with status(console, "starting", enabled=not quiet):
        found, options = _prepare(ctx.params, named, folder, begun=begun)
    corpus = _load(found, options, jobs, console, quiet)
    options = with_folds(options, corpus)
    if not quiet:
        tell_held_back(options, corpus, console)
    if not begun and not quiet:
        foretell(corpus, options, console)

    @functools.cache
    def waiting(fold: int) -> None:
        if not quiet:
            what = f"fold {fold + 1}" if fold < options.folds else "the net on all samples"
            console.print(f"waiting for {what}, which another process trains")

    with stopping() as stop, training_bar(console, not quiet) as show:
        outcome = _run(corpus, options, show, waiting, stop)
    if outcome is None or outcome.bundle is None:
        if not quiet:
            where = "" if outcome is None else f" in epoch {outcome.state.epoch + 1}"
            console.print(
                f"Stopped{where}. Go on with: maltriage train --out {options.folder} --resume"
            )
        raise typer.Exit(stop.exit_code)
    interrupt.forget()  # a signal while the bundle was written stopped nothing
    without = _add_sets(outcome.bundle, options)
    if without and not quiet:
        console.print(untrusted(f"note: no prediction sets: {without}"), soft_wrap=True)
    report(outcome, corpus)


def _run(
    corpus: Corpus,
    options: RunOptions,
    show: ShowTick,
    waiting: Callable[[int], None],
    stop: Stop,
) -> Outcome | None:
    """Train one run, one fold of a cross-validation, or all folds."""
    from maltriage.corpus.splits import KINDS, values_of
    from maltriage.learn.runs.crossval import cross_validate, train_fold
    from maltriage.learn.runs.train import train as run
    from maltriage.report.sanitize import clean

    if not options.folds:
        return run(corpus, options, progress=show, stop=stop)
    values = () if options.split in KINDS else values_of(corpus, options.split)

    def show_fold(now: FoldTick) -> None:
        where = f"fold {now.run + 1}/{now.folds}" if now.run < now.folds else "all samples"
        if now.run < len(values):
            where += f", without {clean(values[now.run])}"
        show(now.tick, f"{where}, ")

    if options.fold is not None:
        return train_fold(corpus, options, options.fold, progress=show_fold, stop=stop)
    return cross_validate(corpus, options, progress=show_fold, waiting=waiting, stop=stop)


def _add_sets(bundle: Path, options: RunOptions) -> str | None:
    """Add prediction sets to the card of a cross-validated net; returns why not, if it fails."""
    from maltriage.assess.verdicts.crossval import add_sets
    from maltriage.corpus.predictions import OUT_OF_FOLD_FILE
    from maltriage.files.lock import locked
    from maltriage.learn.runs.run_folder import LOCK

    if not options.folds or options.fold is not None:
        return None
    try:
        # Another process that waited for this run adds the same sets.
        with locked(options.folder / LOCK, lambda: None):
            add_sets(bundle, options.folder / OUT_OF_FOLD_FILE)
    except MaltriageError as error:
        return str(error)
    return None


def _prepare(
    params: dict[str, Any], named: dict[str, Any], folder: Path, *, begun: bool
) -> tuple[Dataset, RunOptions]:
    """The dataset and the options of a new or a resumed run.

    A resumed run has its own options, overridden by those that the user named. Where these
    differ, the run is refused later with a message.
    """
    from maltriage.corpus.datasets import open_dataset
    from maltriage.corpus.splits import KINDS

    values = dict(params)
    if begun:
        values |= rec.begun(folder) | named
    fold, folds = values["fold"], values["folds"]
    if fold is not None and values["split"] in KINDS and not (folds and fold < folds):
        raise MaltriageError("--fold I needs --folds K, with I from 0 to K - 1")
    also = {"split", "split_seed", "folds"} & named.keys()
    if values["split_file"] is not None and also:
        raise MaltriageError(
            f"--split-file holds the split already: leave out --{min(also).replace('_', '-')}"
        )
    if folds == 1:
        raise MaltriageError("--folds 1: at least two; 0 holds a part back")
    if values["patience"] and folds:
        raise MaltriageError("--patience needs a validation part: leave out --folds")
    dataset = open_dataset(
        values["dataset"],
        values["root"],
        values["min_samples"],
        values["goodware"],
        allow_resized=values["allow_resized"],
        unmapped=values["unmapped"],
    )
    from maltriage.learn.fit.recipe import FitOptions
    from maltriage.learn.runs.options import RunOptions, views_for
    from maltriage.sample.views import WordsSpec

    views = values["views"]
    named_views = None if views is None else tuple(part.strip() for part in views.split(","))
    fit = FitOptions(
        net=values["net"],
        image_size=values["image_size"],
        views=dataset.views(named_views or entry(values["net"]).views),
        threads=values["threads"] or None,
        **rec.as_fields(values, entry(values["net"])),
    )
    fit.check()
    chosen = views_for(fit)  # wrong use is found before anything is read
    tables = entry(fit.net).counted and any(view.fixed for view in chosen)
    words = entry(fit.net).counted and any(isinstance(view, WordsSpec) for view in chosen)
    for option, of_what, has in (
        ("clean_weight", "tables", tables),
        ("word_bound", "words", words),
    ):
        if option in named and not has:
            raise MaltriageError(
                f"--{option.replace('_', '-')} goes with {of_what}: net {fit.net} has none with"
                f" {', '.join(view.name for view in chosen)}"
            )
    fit.recipe()
    options = RunOptions(
        folder=folder,
        name=values["name"] or f"{values['dataset']}-{values['net']}",
        fit=fit,
        split=values["split"],
        split_seed=values["split_seed"],
        folds=folds,
        fold=fold,
        split_file=values["split_file"],
        guide=rec.guide(values, named),
        command=("maltriage", *sys.argv[1:]),
    )
    options.check_name()
    return dataset, options


def _load(
    dataset: Dataset, options: RunOptions, jobs: int, console: Console, quiet: bool
) -> Corpus:
    """Load the corpus, with a bar, and print its notices."""
    from maltriage.corpus.load import load_corpus
    from maltriage.learn.runs.options import views_for
    from maltriage.report.sanitize import untrusted

    with bar(console, "reading samples", enabled=not quiet) as show:
        corpus = load_corpus(dataset, views_for(options.fit), jobs=jobs or None, progress=show)
    if not quiet:
        for notice in corpus.notices:
            console.print(untrusted(f"note: {notice.text}"), soft_wrap=True)
    return corpus
