"""`maltriage faithfulness`: how good a bundle's explanations are, in numbers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.commands.evaluate import held_part
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import open_for


class MaskName(StrEnum):
    zeros = "zeros"
    histogram = "histogram"
    shuffle = "shuffle"


def faithfulness(
    model: Annotated[
        str | None, typer.Argument(help="A bundle: a file, or the name of one that ships.")
    ] = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    split_file: Annotated[
        Path | None, typer.Option(help="The split.json of a run: measure on its test part.")
    ] = None,
    folds: Annotated[
        Path | None,
        typer.Option(help="Run of a cross-validation: each file by the net that held it back."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many files, drawn with each label's share.")
    ] = None,
    methods: Annotated[
        str, typer.Option(help="By name, with commas: hirescam, gradcam, occlusion.")
    ] = "hirescam",
    mask: Annotated[
        MaskName, typer.Option(help="What stands in the place of masked bytes.")
    ] = MaskName.histogram,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn at random.")] = 0,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="How to write it.")
    ] = Format.table,
    output: opt.Output = None,
    device: opt.Device = opt.DeviceName.auto,
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    timeout: opt.Timeout = 60.0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = opt.Color.auto,
) -> None:
    """Measure how far explanations stand up to masking what they point at.

    Of each labelled file with the right verdict: the score while bytes are masked in the order
    of their heat, against random ranges; whether the region with most heat is the one whose
    masking takes most; and whether the map changes with the weights, and stays when bytes are
    appended. Without --folds and --split-file all files of the dataset are measured.
    """
    from maltriage import bundle as bundles
    from maltriage.assess.explanations.faithfulness import assess_faithfulness, stratified
    from maltriage.assess.explanations.perturbation import Terms
    from maltriage.assess.out_of_fold import Group, by_fold
    from maltriage.cli.console import make_console
    from maltriage.corpus.load import load_corpus
    from maltriage.corpus.splits import manifest_sha256
    from maltriage.errors import MaltriageError
    from maltriage.report.scan.progress import ScanProgress
    from maltriage.report.studies.faithfulness import render
    from maltriage.source.archive.limits import Archives
    from maltriage.triage.options import Progress, ScanOptions

    if folds is not None and split_file is not None:
        raise MaltriageError("--folds or --split-file, not both")
    bundle = bundles.load(bundles.resolve(model))
    data = open_for(bundle, dataset, root, min_samples, goodware)
    corpus = load_corpus(data, ())
    samples, part, missing = [(s.path, s.label) for s in data.samples], "all", 0
    if split_file is not None:
        samples, part = held_part(bundle, data, "test", split_file).samples, "test"
    if limit is not None:
        samples = stratified(samples, limit, seed)
    groups = [Group(bundle, samples)]
    if folds is not None:
        part = "out of fold"
        groups, missing = by_fold(folds, bundle, corpus, samples)
    seen = part == "all" and manifest_sha256(corpus) == bundle.card.training.manifest_sha256
    terms = Terms(
        tuple(name.strip() for name in methods.split(",")),
        mask.value,
        seed,
    )
    options = ScanOptions(
        device=device.value, jobs=jobs, threads=threads, timeout=timeout, archives=Archives()
    )
    total = sum(len(group.samples) for group in groups)
    errors = make_console(color.value, stderr=True)
    with ScanProgress(errors, enabled=not quiet) as status:

        def show(now: Progress) -> None:
            status.update(now.files, now.flagged, now.failed, now.skipped, now.in_flight, total)

        found = assess_faithfulness(
            bundle, groups, part, options, terms, seen=seen, missing=missing, changed=show
        )
    write_document(found, render, format, output, color)
