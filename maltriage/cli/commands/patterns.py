"""`maltriage patterns`: what families look like to one bundle, or to several."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maltriage.cli import options as opt
from maltriage.report.documents.methods import ADDITIVE, DEFAULT

if TYPE_CHECKING:
    from maltriage.assess.explanations.patterns import Subject
    from maltriage.bundle import Bundle
    from maltriage.corpus.load import Corpus
    from maltriage.report.documents.patterns import Patterns


class Format(StrEnum):
    table = "table"
    json = "json"
    html = "html"


if TYPE_CHECKING:
    from enum import StrEnum as Method
else:
    Method = opt.choice("Method", ADDITIVE)


def patterns(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Bundles: files, or names of those that ship.", metavar="BUNDLE"),
    ] = None,
    dataset: opt.DatasetName = "vx-zoo",
    root: opt.Root = None,
    goodware: opt.Goodware = None,
    min_samples: opt.MinSamples = opt.MIN_SAMPLES,
    family: Annotated[
        list[str] | None,
        typer.Option(help="This family alone, with details; may be given again for others."),
    ] = None,
    folds: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run of a bundle's cross-validation: each file by the net that held it back."
            " May be given for each bundle."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many files, drawn with each label's share.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the files that --limit draws.")] = 0,
    method: Annotated[
        Method | None, typer.Option(help="Whose maps are added up.", show_default=DEFAULT)
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="How to write it.")
    ] = Format.table,
    output: opt.Output = None,
    png: Annotated[
        Path | None, typer.Option(help="Also a picture: a row a family, a column a bundle.")
    ] = None,
    device: opt.Device = opt.DeviceName.auto,
    jobs: opt.Jobs = 0,
    threads: opt.Threads = 0,
    timeout: opt.Timeout = 60.0,
    quiet: opt.Quiet = False,
    color: opt.ColorOption = opt.Color.auto,
) -> None:
    """Show what speaks for each family over many labelled files, and where bundles differ.

    Every file is asked what speaks for its own label against the mean of all: mean maps with
    their spread, the kinds of bytes that carry them, bytes that recur, and the most typical
    files. With several bundles also how alike a family looks to each two of them. A bundle
    explains files that it was trained on differently: --folds takes the nets that had not
    seen them.
    """
    from maltriage import bundle as bundles
    from maltriage.assess.explanations.patterns import find_patterns
    from maltriage.cli.console import make_console
    from maltriage.corpus.datasets import open_dataset
    from maltriage.corpus.load import load_corpus
    from maltriage.errors import MaltriageError
    from maltriage.report.scan.progress import ScanProgress
    from maltriage.source.archive.limits import Archives
    from maltriage.triage.options import Progress, ScanOptions

    for path in (png, output):
        if path is not None and not path.parent.is_dir():  # said now, and not after minutes
            raise MaltriageError(f"cannot write {path}: no such folder")
    named: list[str | None] = [*models] if models else [None]
    loaded = [bundles.load(bundles.resolve(model)) for model in named]
    resized = dataset == "malimg" and all("picture" in b.card.input for b in loaded)
    if len(fillers := {bundle.card.unmapped for bundle in loaded}) > 1:
        raise MaltriageError("these models read ?? of hex dumps as different bytes")
    data = open_dataset(
        dataset, root, min_samples, goodware, allow_resized=resized, unmapped=fillers.pop()
    )
    corpus = load_corpus(data, ())
    samples = _chosen([(s.path, s.label) for s in data.samples], family or [], limit, seed)
    subjects = _subjects(loaded, folds or [], corpus, samples)
    options = ScanOptions(
        device=device.value, jobs=jobs, threads=threads, timeout=timeout, archives=Archives()
    )
    total = sum(len(group.samples) for subject in subjects for group in subject.groups)
    errors = make_console(color.value, stderr=True)
    with ScanProgress(errors, enabled=not quiet) as status:

        def show(now: Progress) -> None:
            status.update(now.files, now.flagged, now.failed, now.skipped, now.in_flight, total)

        by = method.value if method else DEFAULT
        found = find_patterns(subjects, dataset, options, by, changed=show)
    if png is not None:
        from maltriage.report.studies.patterns_grid import write_grid

        write_grid(found, png)
    _write(found, format, output, color, details=bool(family))


def _chosen(
    samples: list[tuple[str, str]], families: list[str], limit: int | None, seed: int
) -> list[tuple[str, str]]:
    from maltriage.assess.explanations.faithfulness import stratified
    from maltriage.errors import MaltriageError

    labels = {label for _, label in samples}
    for name in families:
        if name not in labels:
            raise MaltriageError(f"no files of a family {name!r}: {', '.join(sorted(labels))}")
    if families:
        samples = [sample for sample in samples if sample[1] in families]
    return samples if limit is None else stratified(samples, limit, seed)


def _subjects(
    loaded: list[Bundle], folds: list[Path], corpus: Corpus, samples: list[tuple[str, str]]
) -> list[Subject]:
    """Each bundle with its files; a cross-validation goes to the first bundle that it fits.

    Raises:
        MaltriageError: a run fits no bundle that has none yet.
    """
    from maltriage.assess.explanations.patterns import Subject
    from maltriage.assess.out_of_fold import Group, by_fold
    from maltriage.corpus.splits import manifest_sha256
    from maltriage.errors import MaltriageError

    found: dict[int, Subject] = {}
    for run in folds:
        problem = MaltriageError(f"{run}: there are more --folds than bundles")
        for i, bundle in enumerate(loaded):
            if i in found:
                continue
            try:
                groups, missing = by_fold(run, bundle, corpus, samples)
            except MaltriageError as error:
                problem = error
                continue
            found[i] = Subject(bundle, groups, "out of fold", missing=missing)
            break
        else:
            raise problem
    known = manifest_sha256(corpus)
    for i, bundle in enumerate(loaded):
        if i not in found:
            seen = known == bundle.card.training.manifest_sha256
            found[i] = Subject(bundle, [Group(bundle, samples)], "all", seen)
    return [found[i] for i in range(len(loaded))]


def _write(
    found: Patterns, format: Format, output: Path | None, color: opt.Color, *, details: bool
) -> None:
    from maltriage.cli.console import make_console
    from maltriage.cli.files import opened
    from maltriage.report.documents.record import encode
    from maltriage.report.sanitize import json_safe
    from maltriage.report.studies.patterns import render

    with opened(output) as out:
        if format is Format.json:
            out.binary.write(json_safe(encode(found)) + b"\n")
        elif format is Format.html:
            from maltriage.report.studies.patterns_page import render_page

            out.binary.write(render_page(found).encode())
        else:
            render(found, make_console(color.value, file=out.text), details=details)
