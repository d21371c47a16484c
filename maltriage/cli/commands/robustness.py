"""`maltriage robustness`: verdicts on files that were changed and mean what they meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import check_parts, open_labelled, scan_options, scanning
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maltriage.assess.held_back import Group
    from maltriage.bundle import Bundle
    from maltriage.learn.heat.attack import Gradients


def robustness(
    model: opt.Bundle = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    split_file: opt.TestPart = None,
    folds: opt.Folds = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="Clean files that each net gets its threshold from, as by `calibrate`."),
    ] = None,
    fpr: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of them that may be flagged.")
    ] = 0.01,
    kind_files: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many clean files of a kind give it its own threshold; 3 / fpr."
        ),
    ] = None,
    limit: opt.Limit = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(help="This transformation alone; may be given again for others."),
    ] = None,
    donors: Annotated[
        Path | None,
        typer.Option(help="Benign files whose ends are appended, instead of the dataset's."),
    ] = None,
    attack: Annotated[
        Path | None,
        typer.Option(
            help="The model's run or checkpoint: also append bytes that its net's gradient chooses;"
            " with --folds the run of the cross-validation. Needs PyTorch."
        ),
    ] = None,
    attack_share: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Share of the file that these bytes are.")
    ] = 0.1,
    attack_steps: Annotated[
        int, typer.Option(min=1, help="Times that the gradient is asked, at most.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn at random.")] = 0,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="How to write it.")
    ] = Format.table,
    output: opt.Output = None,
    device: opt.Device = opt.DeviceName.auto,
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds allowed for all changes to one file.")
    ] = 300.0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = opt.Color.auto,
) -> None:
    """Measure how verdicts stand up to changes that leave a program what it is.

    Each labelled file is changed in memory, never on disk: bytes appended, sections moved,
    renamed and added, header fields wiped, what lies behind the sections taken away. For each
    change: accuracy, verdicts that stay, flagged malware that is flagged no more, and whether
    the region with most heat is still the same. docs/robustness.md tells the changes.
    """
    import msgspec

    from maltriage.assess.held_back import hold_back, samples_of
    from maltriage.assess.verdicts.attack import AttackTerms, assess_attack
    from maltriage.assess.verdicts.robustness import (
        Terms,
        assess_robustness,
        at_rate,
        check_transforms,
    )
    from maltriage.probe.transform import TRANSFORMS
    from maltriage.report.studies.robustness import render

    check_transforms(transform or ())
    check_parts(folds, split_file)
    if attack is not None:
        from maltriage.cli.extras import need_torch

        need_torch("--attack")
    bundle, data = open_labelled(model, dataset, root, min_samples, goodware)
    held = hold_back(bundle, data, folds=folds, split_file=split_file, limit=limit, seed=seed)
    options = scan_options(device, jobs, threads, timeout)
    threshold = "card" if all(group.bundle.card.threshold for group in held.groups) else None
    if calibration:
        clean = [str(path) for path in calibration]
        held = at_rate(held, clean, fpr, options, kind_files)
        threshold = f"{fpr * 100:g} % of clean files, each net its own"
    donated = _donors(donors, samples_of(data), bundle)
    terms = Terms(tuple(transform or TRANSFORMS), tuple(donated), seed)
    with scanning(color, quiet, len(held)) as show:
        found = assess_robustness(
            held,
            options,
            terms,
            donors=donors.name if donors else "the dataset's own",
            threshold=threshold,
            changed=show,
        )
    if attack is not None:
        aims = AttackTerms(attack_share, steps=attack_steps, seed=seed)
        proposals = _gradients(attack, held.groups, out_of_fold=folds is not None)
        with scanning(color, quiet, len(held)) as show:
            hit = assess_attack(held.groups, proposals, options, aims, changed=show)
        found = msgspec.structs.replace(found, attack=hit)
    write_document(found, render, format, output, color)


def _gradients(run: Path, groups: Sequence[Group], *, out_of_fold: bool) -> list[Gradients]:
    """The gradients of each group's net, from the folder of its fold or from the run itself."""
    from maltriage.corpus.predictions import fold_folder
    from maltriage.learn.heat.attack import open_gradients

    return [
        open_gradients(fold_folder(run, fold) if out_of_fold else run, group.bundle)
        for fold, group in enumerate(groups)
    ]


def _donors(folder: Path | None, samples: list[tuple[str, str]], bundle: Bundle) -> list[str]:
    """Paths of benign files: those below a folder, or of the dataset those labelled benign.

    Raises:
        MaltriageError: there is nothing below the folder.
    """
    from maltriage.source.files import Found, WalkOptions, walk

    if folder is None:
        benign = None if bundle.card.benign is None else bundle.card.labels[bundle.card.benign]
        return [path for path, label in samples if label == benign]
    found = [f.path for f in walk([str(folder)], WalkOptions()) if isinstance(f, Found)]
    if not found:
        raise MaltriageError(f"{folder}: no files to take bytes from")
    return found
