"""`maltriage robustness`: verdicts on files after changes that keep their behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import check_parts, open_labelled, scan_options, scanning
from maltriage.cli.parser.misplaced import refuse
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maltriage.assess.held_back import Group
    from maltriage.bundle import Bundle
    from maltriage.learn.heat.attack import Gradients


def robustness(
    ctx: typer.Context,
    model: opt.Bundle = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    split_file: opt.TestPart = None,
    folds: opt.Folds = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="Clean files for the threshold of each net, as in `calibrate`."),
    ] = None,
    fpr: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="False-positive rate of these thresholds.")
    ] = 0.01,
    kind_files: opt.KindFiles = None,
    limit: opt.Limit = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(help="Only this transformation, e.g. strip-overlay; repeatable."),
    ] = None,
    donors: Annotated[
        Path | None,
        typer.Option(
            help="Folder of benign files whose ends are appended; by default those of the dataset."
        ),
    ] = None,
    attack: Annotated[
        Path | None,
        typer.Option(
            help="Run or checkpoint of the model, e.g. runs/a: also append bytes chosen by the"
            " gradient of its net; with --folds the run of the cross-validation. Needs PyTorch."
        ),
    ] = None,
    attack_share: Annotated[
        float,
        typer.Option(min=0.001, max=1.0, help="Bytes of the attack, as a share of the file."),
    ] = 0.1,
    attack_steps: Annotated[int, typer.Option(min=1, help="Most gradient steps.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 0,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the result.")
    ] = "table",
    output: opt.Output = None,
    device: opt.Device = "auto",
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for all changes to one file.")
    ] = 300.0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Measure verdicts after changes that keep a program's behaviour.

    Each labelled file is changed in memory, never on disk: bytes appended, sections moved,
    renamed and added, header fields wiped, the overlay removed. The result has for each change
    the accuracy, the verdicts that stay, the malware that is no longer flagged, and whether the
    region with most heat stays the same. docs/reference/transformations.md lists the changes.
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
    if not calibration:
        refuse(ctx, ("fpr", "kind_files"), "with --calibration")
    if attack is None:
        refuse(ctx, ("attack_share", "attack_steps"), "with --attack")
    else:
        from maltriage.cli.training.extra import need_torch

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
    """The gradients of each group's net, from the folder of its fold or from the run."""
    from maltriage.corpus.predictions import fold_folder
    from maltriage.learn.heat.attack import open_gradients

    return [
        open_gradients(fold_folder(run, fold) if out_of_fold else run, group.bundle)
        for fold, group in enumerate(groups)
    ]


def _donors(folder: Path | None, samples: list[tuple[str, str]], bundle: Bundle) -> list[str]:
    """Paths of benign files: those below a folder, or the benign ones of the dataset.

    Raises:
        MaltriageError: the folder has no files.
    """
    from maltriage.source.files import Found, WalkOptions, walk

    if folder is None:
        benign = None if bundle.card.benign is None else bundle.card.labels[bundle.card.benign]
        return [path for path, label in samples if label == benign]
    found = [f.path for f in walk([str(folder)], WalkOptions()) if isinstance(f, Found)]
    if not found:
        raise MaltriageError(f"{folder}: no files to take bytes from")
    return found
