"""`maltriage evaluate`: how often a bundle is right on labelled files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt

if TYPE_CHECKING:
    from maltriage.bundle import Bundle
    from maltriage.corpus.datasets import Dataset


class Format(StrEnum):
    table = "table"
    json = "json"


class Part(StrEnum):
    all = "all"
    train = "train"
    val = "val"
    test = "test"


def evaluate(
    model: Annotated[str, typer.Argument(help="A bundle: a file, or the name of one that ships.")],
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    split: Annotated[
        Part, typer.Option(help="Part to measure on, of the split that the model was trained with.")
    ] = Part.test,
    split_file: Annotated[
        Path | None, typer.Option(help="The split.json of a run, instead of making it again.")
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="How to write it.")
    ] = Format.table,
    output: opt.Output = None,
    device: opt.Device = opt.DeviceName.auto,
    jobs: opt.Jobs = 0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = opt.Color.auto,
) -> None:
    """Measure a model on labelled files, scanned the way that users scan.

    The default part is the one that training held back: the split is made again from the
    card, and a card of other data is refused.
    """
    import msgspec

    from maltriage import bundle as bundles
    from maltriage.assess import evaluate as assess
    from maltriage.cli.console import make_console
    from maltriage.cli.run import opened
    from maltriage.corpus.datasets import open_dataset
    from maltriage.report.evaluation import render
    from maltriage.report.progress import ScanProgress
    from maltriage.triage.pipeline import Progress, ScanOptions

    bundle = bundles.load(bundles.resolve(model))
    data = open_dataset(dataset, root, goodware=goodware)
    samples = [(sample.path, sample.label) for sample in data.samples]
    if split is not Part.all:
        samples = _part(bundle, data, split.value, split_file)
    errors = make_console(color.value, stderr=True)
    with ScanProgress(errors, enabled=not quiet) as status:

        def show(now: Progress) -> None:
            status.update(
                now.files, now.flagged, now.failed, now.skipped, now.in_flight, len(samples)
            )

        options = ScanOptions(device=device.value, jobs=jobs)
        found = assess.evaluate(samples, bundle, split.value, options, changed=show)
    with opened(output) as out:
        if format is Format.json:
            out.binary.write(msgspec.json.encode(found) + b"\n")
        else:
            render(found, make_console(color.value, file=out.text))


def _part(
    bundle: Bundle, data: Dataset, part: str, split_file: Path | None
) -> list[tuple[str, str]]:
    """Path and label of the samples of one part of the split that the card describes."""
    from maltriage.corpus.cache import load_corpus
    from maltriage.corpus.splits import load_split, make_split, manifest_sha256
    from maltriage.errors import MaltriageError

    training = bundle.card.training
    corpus = load_corpus(data, ())
    if manifest_sha256(corpus) != training.manifest_sha256:
        raise MaltriageError(
            f"{data.root} is not the data that this model was trained on (clean files of"
            f" --goodware included), so its {part} part is unknown; --split all takes every file"
        )
    if split_file is None:
        parts = make_split(corpus, training.split, training.split_seed).parts  # type: ignore[arg-type]
    else:
        parts = load_split(split_file, corpus.sha256)
    return [
        (corpus.paths[i], corpus.labels[corpus.label[i]])
        for i in range(len(corpus))
        if parts[i] == part
    ]
