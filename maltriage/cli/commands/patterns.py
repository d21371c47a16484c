"""`maltriage patterns`: the evidence for each family, by one bundle or several."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import PageFormat, write_document
from maltriage.cli.labelled import open_for, scan_options, scanning
from maltriage.errors import MaltriageError
from maltriage.report.documents.methods import ADDITIVE, DEFAULT

if TYPE_CHECKING:
    from maltriage.assess.held_back import Held
    from maltriage.bundle import Bundle
    from maltriage.corpus.corpus import Corpus

if TYPE_CHECKING:
    Method = str
else:
    Method = opt.choice(ADDITIVE)


def patterns(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Bundles: files or shipped names, e.g. maltriage-evidence.", metavar="BUNDLE"
        ),
    ] = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    family: Annotated[
        list[str] | None,
        typer.Option(help="Only this family, with details, e.g. maze; repeatable."),
    ] = None,
    folds: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run of a bundle's cross-validation: measure out of fold, e.g. runs/cv5;"
            " repeatable, one for each bundle."
        ),
    ] = None,
    limit: opt.Limit = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the files that --limit draws.")] = 0,
    method: Annotated[
        Method | None, typer.Option(help="Method of explanation.", show_default=DEFAULT)
    ] = None,
    format: Annotated[
        PageFormat, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    output: opt.Output = None,
    png: Annotated[
        Path | None,
        typer.Option(
            callback=opt.spared, help="Also draw a PNG: a row per family, a column per bundle."
        ),
    ] = None,
    device: opt.Device = "auto",
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    timeout: opt.Timeout = 60.0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Show the evidence for each family over many labelled files, and where bundles differ.

    Each file is explained for its own label against the mean of all labels. The result has mean
    maps with their spread, the kinds of bytes that carry them, recurring bytes, and the most
    typical files; with several bundles also the likeness of each two. A bundle explains its
    training files differently: --folds measures out of fold.
    """
    from maltriage import bundle as bundles
    from maltriage.assess.explanations.patterns import find_patterns
    from maltriage.assess.held_back import samples_of
    from maltriage.corpus.load import load_corpus
    from maltriage.report.studies.patterns import render
    from maltriage.report.studies.patterns_page import render_page

    for path in (png, output):
        if path is not None and not path.parent.is_dir():  # found now, not after minutes
            raise MaltriageError(f"cannot write {path}: no such folder")
    named: list[str | None] = [*models] if models else [None]
    loaded = [bundles.load(bundles.resolve(model)) for model in named]
    data = open_for(loaded, dataset, root, min_samples, goodware)
    corpus = load_corpus(data, ())
    samples = _chosen(samples_of(data), family or [], limit, seed)
    subjects = _subjects(loaded, folds or [], corpus, samples)
    options = scan_options(device, jobs, threads, timeout)
    by = method if method else DEFAULT
    with scanning(color, quiet, sum(map(len, subjects))) as show:
        found = find_patterns(subjects, dataset, options, by, changed=show)
    if png is not None:
        from maltriage.report.studies.patterns_grid import write_grid

        write_grid(found, png)
    shown = partial(render, details=bool(family))
    write_document(found, shown, format, output, color, render_page)


def _chosen(
    samples: list[tuple[str, str]], families: list[str], limit: int | None, seed: int
) -> list[tuple[str, str]]:
    from maltriage.assess.held_back import stratified

    labels = {label for _, label in samples}
    for name in families:
        if name not in labels:
            raise MaltriageError(f"no files of a family {name!r} ({', '.join(sorted(labels))})")
    if families:
        samples = [sample for sample in samples if sample[1] in families]
    return stratified(samples, limit, seed)


def _subjects(
    loaded: list[Bundle], folds: list[Path], corpus: Corpus, samples: list[tuple[str, str]]
) -> list[Held]:
    """Each bundle with its files; a cross-validation goes to the first bundle that it fits.

    Raises:
        MaltriageError: a run fits no bundle that has none yet.
    """
    from maltriage.assess.held_back import all_of, out_of_fold

    found: dict[int, Held] = {}
    for run in folds:
        problem = MaltriageError(f"{run}: more --folds than bundles")
        for i, bundle in enumerate(loaded):
            if i in found:
                continue
            try:
                found[i] = out_of_fold(run, bundle, corpus, samples)
            except MaltriageError as error:
                problem = error
                continue
            break
        else:
            raise problem
    return [
        found[i] if i in found else all_of(bundle, corpus, samples)
        for i, bundle in enumerate(loaded)
    ]
