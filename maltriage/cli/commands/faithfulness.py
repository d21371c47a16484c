"""`maltriage faithfulness`: measures a bundle's explanations."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import check_parts, open_labelled, scan_options, scanning

MaskName = Literal["zeros", "histogram", "shuffle"]


def faithfulness(
    model: opt.Bundle = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    split_file: opt.TestPart = None,
    folds: opt.Folds = None,
    limit: opt.Limit = None,
    methods: Annotated[
        str, typer.Option(help="Methods, e.g. hirescam,gradcam,occlusion.")
    ] = "hirescam",
    mask: Annotated[MaskName, typer.Option(help="Fill of masked bytes.")] = "histogram",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 0,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    output: opt.Output = None,
    device: opt.Device = "auto",
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    timeout: opt.Timeout = 60.0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Measure explanations by masking the bytes that they point at.

    Files with the right verdict are measured: the score while bytes are masked in the order of
    their heat, against random ranges; whether masking the region with most heat costs most score;
    whether the map changes with the weights, and stays when bytes are appended. Without --folds
    and --split-file all files of the dataset are read.
    """
    from maltriage.assess.explanations.faithfulness import assess_faithfulness
    from maltriage.assess.explanations.perturbation import Terms
    from maltriage.assess.held_back import hold_back
    from maltriage.report.studies.faithfulness import render

    check_parts(folds, split_file)
    bundle, data = open_labelled(model, dataset, root, min_samples, goodware)
    held = hold_back(bundle, data, folds=folds, split_file=split_file, limit=limit, seed=seed)
    terms = Terms(tuple(name.strip() for name in methods.split(",")), mask, seed)
    options = scan_options(device, jobs, threads, timeout)
    with scanning(color, quiet, len(held)) as show:
        found = assess_faithfulness(held, options, terms, changed=show)
    write_document(found, render, format, output, color)
