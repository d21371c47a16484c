"""`maltriage index`: the index of labelled files that samples are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import check_parts, open_labelled, scan_options, scanning
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.assess.verdicts.recall import Found
    from maltriage.bundle import Bundle
    from maltriage.corpus.datasets.base import Dataset
    from maltriage.report.documents.index import Limit
    from maltriage.sample.types import Notice
    from maltriage.triage.embed import Embedded


Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Bundle of the index, e.g. model.onnx; by default the one beside it."
    ),
]
Folds = Annotated[
    Path | None,
    typer.Option(help="Run of the model's cross-validation: compare out of fold, e.g. runs/cv5."),
]
Given = Annotated[Path, typer.Argument(help="An index: a file MODEL.index.npz.", metavar="INDEX")]
MAX_UNREAD = 20
"""Most unreadable files that are named."""

app = typer.Typer(
    name="index",
    help="Build, grow or measure an index of labelled files that samples are compared with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def build(
    model: Annotated[
        str, typer.Argument(help="A bundle: a file or shipped name, e.g. maltriage-evidence.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            callback=opt.spared,
            help="The index; scans find MODEL.index.npz by its name.",
        ),
    ],
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = 1,
    folds: Folds = None,
    device: opt.Device = "auto",
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    timeout: opt.Timeout = 60.0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Build an index of labelled files, usually those that the model was trained on.

    `scan` and `explain` then show similar files. The distance beyond which nothing is similar is
    measured on files that the model's net had not seen, or out of fold (--folds). Ends with 3 if
    files could not be read.
    """
    from maltriage.similar import index as indexes
    from maltriage.similar import index_file

    _check_folder(output)
    bundle, data = open_labelled(model, dataset, root, min_samples, goodware)
    _tell(data.notices, quiet)
    labels = {sample.path: sample.label for sample in data.samples}
    found = _embedded(labels, bundle, device, jobs, threads, timeout, quiet, color)
    limit = _limit(bundle, data, found, folds, device, threads, quiet, color)
    made = indexes.grown(indexes.empty(bundle, limit), found.sha256, found.labels, found.embeddings)
    index_file.write(made.index, output)
    twice = len(found.sha256) - made.added
    more = f" ({twice} duplicates left out)" if twice else ""
    _done(f"{output}: {made.added} files of {len(made.index.counts())} labels{more}", found, quiet)


@app.command()
def recall(
    model: opt.Bundle = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    folds: Folds = None,
    split_file: opt.SplitFile = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    output: opt.Output = None,
    device: opt.Device = "auto",
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Measure how often similar files are of the same family.

    Each file that training held back is compared with the files that its net was trained on: is
    the nearest, or one of the five nearest, of its family? A cross-validated model has seen every
    sample: --folds measures out of fold.
    """
    from maltriage.assess.verdicts import recall as assess
    from maltriage.report.studies.recall import render

    check_parts(folds, split_file)
    bundle, data = open_labelled(model, dataset, root, min_samples, goodware)
    found, held = _measured(bundle, data, folds, split_file, device, jobs, threads, quiet, color)
    write_document(assess.recall(found, bundle, held), render, format, output, color)


@app.command()
def add(
    index: Given,
    root: Annotated[Path, typer.Option(help="Folder of labelled files; any files with --label.")],
    dataset: opt.DatasetName = "folder",
    label: Annotated[
        str | None, typer.Option(help="Label of all files below --root, e.g. maze.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", callback=opt.spared, help="Write the new index here instead."
        ),
    ] = None,
    model: Model = None,
    device: opt.Device = "auto",
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    timeout: opt.Timeout = 60.0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Add labelled files of your own to an index; nothing is trained.

    Files lie as <root>/<family>/<file>, or are listed in <root>/labels.csv; families may be new to
    the model. A file that is already in the index gets the new label. The index is replaced at the
    end, or not at all; files that other processes added meanwhile stay. Ends with 3 if files could
    not be read.
    """
    from maltriage.files.lock import locked
    from maltriage.report.sanitize import clean
    from maltriage.similar import index as indexes
    from maltriage.similar import index_file

    target = output or index
    _check_folder(target)
    bundle = _bundle_of(index, index_file.read_header(index).model, model)
    index_file.read(index, bundle)
    labels, notices = _labelled(dataset, root, label)
    _tell(notices, quiet)
    found = _embedded(labels, bundle, device, jobs, threads, timeout, quiet, color)

    def waiting() -> None:
        if not quiet:
            text = f"maltriage: waiting for another process to unlock {clean(str(target))}"
            typer.echo(text, err=True)

    # Other processes may have added files meanwhile; they stay.
    with locked(target.with_name(f"{target.name}.lock"), waiting):
        now = index_file.read(index, bundle)
        made = indexes.grown(now, found.sha256, found.labels, found.embeddings)
        index_file.write(made.index, target)
    text = f"{target}: {made.added} added, {made.replaced} replaced, {len(made.index)} now"
    _done(text, found, quiet)


@app.command()
def info(
    index: Annotated[
        Path,
        typer.Argument(
            help="An index, a file MODEL.index.npz, or the name of an installed model.",
            metavar="INDEX",
        ),
    ],
    model: Model = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    output: opt.Output = None,
    color: opt.ColorOption = "auto",
) -> None:
    """Show an index: its model, the files of each label, its limit."""
    from maltriage import bundle as bundles
    from maltriage.report.status.index import render
    from maltriage.similar import index as indexes
    from maltriage.similar import index_file

    if not index.exists() and (known := bundles.installed().get(str(index))):
        own = index_file.beside(bundles.load(known))
        if own is None:
            raise MaltriageError(f"the model {index} has no index")
        index = own
    read = index_file.read(index)
    try:
        bundle = _bundle_of(index, read.header.model, model)
        read.check(bundle, index)
    except MaltriageError:
        if model is not None:
            raise
        bundle = None  # the content can be shown without it
    found = indexes.info(read, bundle, str(index))
    write_document(found, render, format, output, color)


def _measured(
    bundle: Bundle,
    data: Dataset,
    folds: Path | None,
    split_file: Path | None,
    device: opt.DeviceName,
    jobs: int,
    threads: int,
    quiet: bool,
    color: opt.Color,
) -> tuple[Found, str]:
    """The neighbours of files that nets had not seen, and the name of these files in words."""
    from maltriage.assess.held_back import fold_splits, split_of
    from maltriage.assess.verdicts import recall as assess
    from maltriage.cli.bars import bar
    from maltriage.cli.console import make_console
    from maltriage.corpus.load import load_corpus

    errors = make_console(color, stderr=True)
    with bar(errors, "reading samples", enabled=not quiet) as show:
        corpus = load_corpus(data, bundle.card.views, jobs=jobs or None, progress=show)
    if folds is None:
        nets = [(bundle, split_of(bundle, corpus, split_file))]
        words = "test part"
    else:
        nets = fold_splits(folds, bundle, corpus)
        words = f"out of fold, {len(nets)} folds"
    with bar(errors, "comparing", enabled=not quiet) as show:
        return assess.find(nets, corpus, device, threads, progress=show), words


def _limit(
    bundle: Bundle,
    data: Dataset,
    found: Embedded,
    folds: Path | None,
    device: opt.DeviceName,
    threads: int,
    quiet: bool,
    color: opt.Color,
) -> Limit | None:
    """The limit for an index, from files that nets had not seen; None if there are none.

    Raises:
        MaltriageError: the run is not the model's.
    """
    from maltriage.assess.verdicts import recall as assess
    from maltriage.corpus.split_file import manifest_of

    manifest = manifest_of(zip(found.sha256, found.labels, strict=True))
    training, why = bundle.card.training, ""
    if folds is None and training.folds:
        why = "the model has seen every sample: name its run with --folds"
    elif folds is None and manifest != training.manifest_sha256:
        why = "these are not the files that the model was trained on"
    else:
        measured, held = _measured(bundle, data, folds, None, device, 0, threads, quiet, color)
        limit = assess.limit_of(measured, held)
        if limit is not None:
            return limit
        why = f"fewer than {assess.MIN_HELD} files were held back"
    if not quiet:
        text = f"maltriage: the index has no limit for similar files: {why}"
        typer.echo(text, err=True)
    return None


def _bundle_of(index: Path, name: str, model: str | None) -> Bundle:
    """The bundle of an index: the one named, else the one beside it, else the one that ships.

    Raises:
        MaltriageError: there is none.
    """
    from maltriage import bundle as bundles
    from maltriage.similar.index_file import SUFFIX

    if model is None and index.name.endswith(SUFFIX):
        beside = index.with_name(index.name.removesuffix(SUFFIX) + ".onnx")
        model = str(beside) if beside.is_file() else None
    if model is None and name not in bundles.installed():
        raise MaltriageError(f"{index}: no bundle beside it; name that of {name} with --model")
    return bundles.load(bundles.resolve(model or name))


def _labelled(
    dataset: str, root: Path, label: str | None
) -> tuple[dict[str, str], tuple[Notice, ...]]:
    """Labels by path, and notices of files left out. One family is enough here."""
    from maltriage.corpus.datasets import open_dataset
    from maltriage.corpus.datasets.base import files_below
    from maltriage.corpus.datasets.folder import labelled_files

    if label is not None:
        if not root.exists():
            raise MaltriageError(f"no file or folder {root}")
        paths, notices = ([str(root)], []) if root.is_file() else files_below(root)
        if not paths:
            raise MaltriageError(f"no samples in {root}")
        return dict.fromkeys(paths, label), tuple(notices)
    if dataset == "folder":
        samples, notices = labelled_files(dataset, root)
        return {sample.path: sample.label for sample in samples}, tuple(notices)
    data = open_dataset(dataset, root, 1)
    return {sample.path: sample.label for sample in data.samples}, data.notices


def _embedded(
    labels: dict[str, str],
    bundle: Bundle,
    device: opt.DeviceName,
    jobs: int,
    threads: int,
    timeout: float,
    quiet: bool,
    color: opt.Color,
) -> Embedded:
    from maltriage.triage.embed import embed

    with scanning(color, quiet, len(labels)) as show:
        return embed(labels, bundle, scan_options(device, jobs, threads, timeout), changed=show)


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():  # found now, not after minutes
        raise MaltriageError(f"cannot write {path}: no such folder")


def _tell(notices: tuple[Notice, ...], quiet: bool) -> None:
    from maltriage.report.sanitize import clean

    for notice in notices if not quiet else ():
        typer.echo(f"maltriage: {clean(notice.text)}", err=True)


def _done(text: str, found: Embedded, quiet: bool) -> None:
    """Print the outcome; exit with 3 if files could not be read."""
    from maltriage.report.documents.record import Failed
    from maltriage.report.sanitize import clean

    if not quiet:
        typer.echo(clean(text))
        for record in found.unread[:MAX_UNREAD]:
            line = f"maltriage: left out: {record.path}: {record.reason}"
            typer.echo(clean(line), err=True)
        if len(found.unread) > MAX_UNREAD:
            typer.echo(f"maltriage: … and {len(found.unread) - MAX_UNREAD} more", err=True)
    if any(isinstance(record, Failed) for record in found.unread):
        raise typer.Exit(opt.EXIT_UNREAD)
