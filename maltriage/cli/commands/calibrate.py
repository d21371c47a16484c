"""`maltriage calibrate`: sets the temperature and the threshold of a bundle on the user's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import check_clean, open_for, scan_options, scanning
from maltriage.cli.parser.misplaced import refuse
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.assess.verdicts.scaling import Labelled
    from maltriage.bundle import Bundle
    from maltriage.corpus.predictions import Predictions
    from maltriage.triage.options import Progress

FPR, MIN_FPR, MAX_FPR = 0.01, 1e-6, 0.5


def calibrate(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A bundle: a file or shipped name, e.g. maltriage-evidence.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new bundle.")],
    goodware: Annotated[
        list[Path] | None,
        typer.Option(help="Set the threshold on these clean files or folders."),
    ] = None,
    fpr: Annotated[
        float | None,
        typer.Option(
            min=MIN_FPR,
            max=MAX_FPR,
            help="False-positive rate of the threshold; by default that of the model's card, or"
            f" {FPR:g} where it has none.",
        ),
    ] = None,
    kind_files: opt.KindFiles = None,
    folds: Annotated[
        Path | None,
        typer.Option(
            help="Run of the model's cross-validation: measure the share of malware flagged, e.g."
            " runs/cv5."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the clean files in the card, e.g. debian-13; by default their folder's."
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(help="Set the temperature on these labelled files, without training files."),
    ] = None,
    dataset: opt.DatasetName = "vx-zoo",
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Set the temperature on out-of-fold predictions, e.g. runs/cv5/out-of-fold.csv."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Set the threshold on --predictions of a split by this column, e.g. source, so"
            " that each value keeps the rate; --root names their files."
        ),
    ] = None,
    root: opt.Root = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=0.999,
            help="Default coverage of prediction sets, with --labelled or --predictions, e.g."
            " 0.95; by default 0.9.",
        ),
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the figures.")
    ] = "table",
    jobs: opt.Jobs = 0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = "auto",
) -> None:
    """Set the threshold of `flagged` on clean files, and the temperature on labelled ones.

    --goodware sets the margin from which files are flagged, at a stated false-positive rate; --by
    sets it on predictions of sources that were held back. --labelled and --predictions set the
    temperature of the probabilities and the scores of the prediction sets. The rest of the card and
    the weights stay unchanged.
    """
    import msgspec

    from maltriage import bundle as bundles
    from maltriage.assess.held_back import fold_bundles
    from maltriage.assess.verdicts import calibrate as assess
    from maltriage.assess.verdicts import conformal, openset, scaling
    from maltriage.assess.verdicts.column_files import files_of
    from maltriage.assess.verdicts.column_threshold import threshold_by
    from maltriage.corpus.load import load_corpus
    from maltriage.report.documents.calibration import Calibration
    from maltriage.report.documents.record import ModelRef
    from maltriage.report.studies.calibration import render
    from maltriage.similar.index_file import files_beside
    from maltriage.triage.options import ScanOptions

    _check(output, goodware, labelled, predictions, folds, coverage)
    if by is not None and (predictions is None or goodware):
        raise MaltriageError("--by goes with --predictions, and without --goodware")
    if root and by is None:
        raise MaltriageError("--root goes with --by")
    if not goodware:
        refuse(ctx, ("kind_files", "name"), "with --goodware")
        refuse(ctx, ("fpr",) if by is None else (), "with --goodware or --by")
    if labelled is None and by is None:
        refuse(ctx, ("dataset", "min_samples"), "with --labelled or --by")
    bundle = bundles.load(bundles.resolve(model))
    if fpr is None:
        own = bundle.card.threshold
        fpr = own.fpr if own is not None and MIN_FPR <= own.fpr <= MAX_FPR else FPR
    changes: dict[str, object] = {}
    temperature = threshold = sets = novelty = known = None
    with scanning(color, quiet) as show:
        if labelled is not None or predictions is not None:
            known = None if predictions is None else scaling.held_back(predictions, bundle)
            asked = None
            if labelled is not None:
                asked = _ask(bundle, labelled, dataset, min_samples, known, jobs, show)
            called = "" if labelled is None else labelled.resolve().name
            temperature, samples = scaling.fit(bundle, known, asked, called)
            changes |= {"temperature": temperature.temperature, "calibrated_on": temperature.on}
            scores, sets = conformal.fit(samples, temperature.temperature, temperature.on, coverage)
            novel, novelty = openset.from_predictions(samples, temperature.on)
            changes |= {"conformal": scores, "open_set": novel}
        if goodware:
            options = ScanOptions(jobs=jobs)
            clean = {path.resolve(): path for path in goodware}  # each folder once
            paths = [str(path) for path in clean.values()]
            called = name or ", ".join(path.name for path in clean)
            threshold = assess.threshold_for(
                paths, bundle, fpr, called, options, kind_files=kind_files, changed=show
            )
            if folds is not None:
                nets = fold_bundles(folds, bundle)
                malware, flagged = assess.malware_rate(
                    *(nets, paths, fpr, options, kind_files),
                    trained_on=files_beside(bundle) or frozenset(),
                    changed=show,
                )
                threshold = msgspec.structs.replace(
                    threshold, malware=malware, malware_flagged=flagged
                )
        if by is not None and known is not None:
            data = open_for([bundle], dataset, root, min_samples)
            files = files_of(load_corpus(data, (), jobs=jobs or None), by)
            threshold = threshold_by(files, known, fpr)
        if threshold is not None:
            changes["threshold"] = assess.threshold_of(threshold)
    card = assess.write(bundle, output, **changes)
    if quiet:
        return
    found = Calibration(
        ModelRef(card.name, card.weights_sha256), temperature, threshold, sets, novelty
    )
    write_document(found, render, format, None, color)


def _check(
    output: Path,
    goodware: list[Path] | None,
    labelled: Path | None,
    predictions: Path | None,
    folds: Path | None,
    coverage: float | None,
) -> None:
    """Find wrong use before the work."""
    if not output.parent.is_dir():
        raise MaltriageError(f"cannot write {output}: no such folder")
    if output.exists():
        _check_bundle(output)
    if not goodware and labelled is None and predictions is None:
        raise MaltriageError(
            "nothing to calibrate on: give --goodware for the threshold, --labelled or"
            " --predictions for the temperature"
        )
    if folds is not None and not goodware:
        raise MaltriageError("--folds goes with --goodware")
    if coverage is not None and labelled is None and predictions is None:
        raise MaltriageError("--coverage goes with --labelled or --predictions")
    check_clean(goodware or [])


def _check_bundle(output: Path) -> None:
    """Raise MaltriageError if the output exists and is no bundle: it may be a sample."""
    from maltriage import bundle as bundles

    try:
        bundles.load(output)
    except MaltriageError as error:
        raise MaltriageError(f"{output}: not overwritten, since it is no bundle") from error


def _ask(
    bundle: Bundle,
    root: Path,
    dataset: str,
    min_samples: int,
    known: Predictions | None,
    jobs: int,
    changed: Callable[[Progress], None],
) -> Labelled:
    """The bundle's answers for labelled files that it was not trained on."""
    from maltriage.assess.held_back import samples_of
    from maltriage.assess.verdicts.scaling import ask

    data = open_for([bundle], dataset, root, min_samples)
    return ask(
        samples_of(data),
        bundle,
        scan_options(jobs=jobs),
        trained_on=frozenset(known.sha256 if known is not None else ()),
        changed=changed,
    )
