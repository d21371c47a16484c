"""`maltriage calibrate`: what a probability means and what counts as flagged, on your own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.cli.documents import Format, write_document
from maltriage.cli.labelled import open_for, scan_options, scanning
from maltriage.errors import MaltriageError

if TYPE_CHECKING:
    from maltriage.assess.verdicts.scaling import Labelled
    from maltriage.bundle import Bundle
    from maltriage.corpus.predictions import Predictions
    from maltriage.triage.options import Progress


def calibrate(
    model: Annotated[str, typer.Argument(help="A bundle: a file, or the name of one that ships.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new bundle.")],
    goodware: Annotated[
        list[Path] | None,
        typer.Option(help="Clean files or folders of them: sets the threshold."),
    ] = None,
    fpr: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of clean files that may be flagged.")
    ] = 0.01,
    kind_files: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many clean files of a kind give it its own threshold; 3 / fpr."
        ),
    ] = None,
    folds: Annotated[
        Path | None,
        typer.Option(help="Run of the model's cross-validation: how much malware is flagged."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the card calls the clean files; their folder's name.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(help="Labelled files, not those of training: set the temperature."),
    ] = None,
    dataset: opt.DatasetName = "vx-zoo",
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Out-of-fold predictions of the model's run: set the temperature."),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=0.999,
            help="Of prediction sets, with --labelled or --predictions, where a scan asks no other;"
            " 0.9.",
        ),
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="How to say what was measured.")
    ] = Format.table,
    jobs: opt.Jobs = 0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = opt.Color.auto,
) -> None:
    """Set the threshold of `flagged` on clean files, and the temperature on labelled ones.

    --goodware sets the margin from which files are flagged, at a stated false-positive rate;
    --labelled and --predictions set the temperature of the probabilities and the scores that
    prediction sets are made of. What is not asked for stays as it is in the card. The weights
    stay in any case.
    """
    import msgspec

    from maltriage import bundle as bundles
    from maltriage.assess.held_back import fold_bundles
    from maltriage.assess.verdicts import calibrate as assess
    from maltriage.assess.verdicts import conformal, openset, scaling
    from maltriage.report.documents.calibration import Calibration
    from maltriage.report.documents.record import ModelRef
    from maltriage.report.studies.calibration import render
    from maltriage.triage.options import ScanOptions

    _check(output, goodware, labelled, predictions, folds, coverage)
    bundle = bundles.load(bundles.resolve(model))
    changes: dict[str, object] = {}
    temperature = threshold = sets = novelty = None
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
            paths = [str(path) for path in goodware]
            called = name or ", ".join(path.resolve().name for path in goodware)
            threshold = assess.threshold_for(
                paths, bundle, fpr, called, options, kind_files=kind_files, changed=show
            )
            if folds is not None:
                nets = fold_bundles(folds, bundle)
                malware, flagged = assess.malware_rate(
                    nets, paths, fpr, options, kind_files, changed=show
                )
                threshold = msgspec.structs.replace(
                    threshold, malware=malware, malware_flagged=flagged
                )
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
    """Say before the work what would fail after it."""
    if not output.parent.is_dir():
        raise MaltriageError(f"cannot write {output}: no such folder")
    if output.exists():
        _check_bundle(output)
    if not goodware and labelled is None and predictions is None:
        raise MaltriageError(
            "nothing to calibrate on: --goodware sets the threshold, --labelled or --predictions"
            " the temperature"
        )
    if folds is not None and not goodware:
        raise MaltriageError("--folds goes with --goodware")
    if coverage is not None and labelled is None and predictions is None:
        raise MaltriageError("--coverage goes with --labelled or --predictions")


def _check_bundle(output: Path) -> None:
    """Raise MaltriageError where something is there that is no bundle: it may be a sample."""
    from maltriage import bundle as bundles

    try:
        bundles.load(output)
    except MaltriageError as error:
        raise MaltriageError(f"{output}: not written over, since it is no bundle") from error


def _ask(
    bundle: Bundle,
    root: Path,
    dataset: str,
    min_samples: int,
    known: Predictions | None,
    jobs: int,
    changed: Callable[[Progress], None],
) -> Labelled:
    """What the bundle says of labelled files that are not among those it was trained on."""
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
