"""`maltriage robustness`: verdicts on files that were changed and mean what they meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.commands.evaluate import held_part
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import open_for
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maltriage.assess.out_of_fold import Group
    from maltriage.bundle import Bundle
    from maltriage.learn.heat.attack import Gradients


def robustness(
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
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many files, drawn with each label's share.")
    ] = None,
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

    from maltriage import bundle as bundles
    from maltriage.assess.explanations.faithfulness import stratified
    from maltriage.assess.out_of_fold import Group, by_fold
    from maltriage.assess.verdicts.attack import AttackTerms, assess_attack
    from maltriage.assess.verdicts.robustness import (
        Terms,
        assess_robustness,
        at_rate,
        check_transforms,
    )
    from maltriage.cli.console import make_console
    from maltriage.corpus.load import load_corpus
    from maltriage.corpus.splits import manifest_sha256
    from maltriage.probe.transform import TRANSFORMS
    from maltriage.report.scan.progress import ScanProgress
    from maltriage.report.studies.robustness import render
    from maltriage.source.archive.limits import Archives
    from maltriage.triage.options import Progress, ScanOptions

    check_transforms(transform or ())
    if folds is not None and split_file is not None:
        raise MaltriageError("--folds or --split-file, not both")
    if attack is not None:
        from maltriage.cli.extras import need_torch

        need_torch("--attack")
    bundle = bundles.load(bundles.resolve(model))
    data = open_for(bundle, dataset, root, min_samples, goodware)
    corpus = load_corpus(data, ())
    every = [(s.path, s.label) for s in data.samples]
    samples, part, missing = every, "all", 0
    if split_file is not None:
        samples, part = held_part(bundle, data, "test", split_file).samples, "test"
    if limit is not None:
        samples = stratified(samples, limit, seed)
    groups = [Group(bundle, samples)]
    if folds is not None:
        part = "out of fold"
        groups, missing = by_fold(folds, bundle, corpus, samples)
    options = ScanOptions(
        device=device.value, jobs=jobs, threads=threads, timeout=timeout, archives=Archives()
    )
    threshold = "card" if all(group.bundle.card.threshold for group in groups) else None
    if calibration:
        clean = [str(path) for path in calibration]
        groups = at_rate(groups, clean, fpr, options, kind_files)
        threshold = f"{fpr * 100:g} % of clean files, each net its own"
    terms = Terms(tuple(transform or TRANSFORMS), tuple(_donors(donors, every, bundle)), seed)
    total = sum(len(group.samples) for group in groups)
    errors = make_console(color.value, stderr=True)
    with ScanProgress(errors, enabled=not quiet) as status:

        def show(now: Progress) -> None:
            status.update(now.files, now.flagged, now.failed, now.skipped, now.in_flight, total)

        found = assess_robustness(
            bundle,
            groups,
            part,
            options,
            terms,
            donors=donors.name if donors else "the dataset's own",
            threshold=threshold,
            seen=part == "all" and manifest_sha256(corpus) == bundle.card.training.manifest_sha256,
            missing=missing,
            changed=show,
        )
    if attack is not None:
        aims = AttackTerms(attack_share, steps=attack_steps, seed=seed)
        proposals = _gradients(attack, groups, out_of_fold=folds is not None)
        with ScanProgress(errors, enabled=not quiet) as status:
            hit = assess_attack(groups, proposals, options, aims, changed=show)
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
