"""`maltriage calibrate`: set what counts as flagged on your own clean files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maltriage.cli import options as opt


def calibrate(
    model: Annotated[str, typer.Argument(help="A bundle: a file, or the name of one that ships.")],
    goodware: Annotated[list[Path], typer.Option(help="Clean files or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new bundle.")],
    fpr: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of clean files that may be flagged.")
    ] = 0.01,
    folds: Annotated[
        Path | None,
        typer.Option(help="Run of the model's cross-validation: how much malware is flagged."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the card calls the clean files; their folder's name.")
    ] = None,
    jobs: opt.Jobs = 0,
    quiet: opt.Quiet = False,
) -> None:
    """Set the threshold of `flagged` on clean files, at a stated false-positive rate."""
    import msgspec

    from maltriage import bundle as bundles
    from maltriage.assess import calibrate as assess
    from maltriage.report.sanitize import clean
    from maltriage.triage.pipeline import ScanOptions

    bundle = bundles.load(bundles.resolve(model))
    called = name or ", ".join(path.name for path in goodware)
    paths = [str(path) for path in goodware]
    found = assess.threshold_for(paths, bundle, fpr, called, ScanOptions(jobs=jobs))
    threshold = found.threshold
    if folds is not None:
        malware, flagged = assess.malware_rate(
            assess.fold_bundles(folds, bundle), paths, fpr, ScanOptions(jobs=jobs)
        )
        threshold = msgspec.structs.replace(threshold, malware=malware, malware_flagged=flagged)
    assess.write(bundle, threshold, output)
    if quiet:
        return
    limits = f"{found.rate.low:.2%} to {found.rate.high:.2%}"
    typer.echo(
        f"{output}: flagged from margin {found.threshold.margin:+.3f} (by kind below), which"
        f" {found.threshold.flagged} of {found.threshold.files} clean files reach"
        f" ({found.rate.value:.2%}, 95 % interval {limits})"
    )
    if threshold.malware:
        typer.echo(
            f"  malware out of fold: {threshold.malware_flagged} of {threshold.malware} flagged"
            f" ({threshold.malware_flagged / threshold.malware:.1%}), each fold's net at its own"
            " threshold for the same rate"
        )
    for kind, margin in threshold.kinds.items():
        typer.echo(f"  {kind} files from margin {margin:+.3f}")
    for path in found.malware_like[:20]:
        typer.echo(f"  reached by {clean(path)}")
