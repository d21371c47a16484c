"""Saved reports in place of samples: `scan` and `explain` render their records again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import msgspec
import typer

from maltriage.cli.parser.misplaced import given
from maltriage.cli.urls import on_disk
from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import FileRecord, ModelRef, Record, Result, Summary
from maltriage.report.sanitize import clean
from maltriage.report.saved.narrow import Narrow
from maltriage.report.saved.pick import pick
from maltriage.report.saved.recognise import is_report, refuse_other
from maltriage.report.saved.report import SavedReport, combined, look_through
from maltriage.triage.options import Progress
from maltriage.triage.request import RecordSource

if TYPE_CHECKING:
    from maltriage.bundle import Bundle

EVERYTHING = Narrow()
SHOWN_ANEW = frozenset(
    "paths files record format output fields ecs ecs_host top only include exclude groups"
    " exit_zero quiet verbose color offsets png svg".split()
)
"""Parameters that say how records are shown. All others say how they are made."""


def reports_among(context: typer.Context, paths: Sequence[str]) -> bool:
    """Whether the paths are saved reports: all of them, or none.

    Raises:
        MaltriageError: some are, or an option was given that is only for samples.
    """
    saved = [path for path in on_disk(paths) if is_report(path)]
    for path in on_disk(paths):
        refuse_other(path)
    if not saved:
        return False
    others = [path for path in paths if path not in set(saved)]
    if others:
        raise MaltriageError(
            f"{saved[0]} is a saved report and {others[0]} is not: name saved reports or samples,"
            " not both"
        )
    _refuse_options(context, saved[0])
    return True


def picked(
    context: typer.Context,
    path: str,
    wanted: str | None,
    sample: str | None,
    *,
    quiet: bool,
) -> Picked | None:
    """The record that `explain` is to show; None if `path` is a sample.

    Args:
        wanted: see `pick`.
        sample: file to explain anew; options for samples are then allowed.

    Raises:
        MaltriageError: as for `reports_among`; there is no such record; or it has no sha256 to
            compare `sample` with.
    """
    local = bool(on_disk([path]))
    if local:
        refuse_other(path)
    if not (local and is_report(path)):
        for name, value in (("--record", wanted), ("--with", sample)):
            if value is not None:
                raise MaltriageError(f"{name} needs a saved report, which {path} is not")
        return None
    if sample is None:
        _refuse_options(context, path)
    report = look_through(path)
    record = pick(report, wanted)
    if sample is not None and not isinstance(record, Result):
        raise MaltriageError(f"{path}: no result for {record.path}: {record.reason}")
    _tell([report], quiet)
    return Picked(path, record, report.models)


def picked_each(
    context: typer.Context,
    paths: Sequence[str],
    wanted: str | None,
    sample: str | None,
    *,
    quiet: bool,
) -> RecordSource | None:
    """The records of several reports that `explain` is to show; None if the paths are samples.

    Raises:
        MaltriageError: as for `picked`; or `wanted` or `sample` is given, which mean one record.
    """
    for name, value in (("--record", wanted), ("--with", sample)):
        if value is not None:
            raise MaltriageError(f"{name} goes with one saved report")
    if not reports_among(context, paths):
        return None
    found = [picked(context, path, None, None, quiet=quiet) for path in paths]
    return InTurn([each.shown() for each in found if each is not None])


def _refuse_options(context: typer.Context, path: str) -> None:
    wrong = [
        max(parameter.opts, key=len)
        for parameter in context.command.params
        if parameter.name not in SHOWN_ANEW and given(context, parameter.name or "")
    ]
    if wrong:
        what = "is an option for samples" if len(wrong) == 1 else "are options for samples"
        raise MaltriageError(
            f"{', '.join(wrong)} {what}, and {path} is a saved report: its records are shown as"
            " they were made"
        )


def _tell(reports: Sequence[SavedReport], quiet: bool) -> None:
    """Print the notices of reports on stderr."""
    for report in reports if not quiet else ():
        for notice in report.notices():
            typer.echo(f"maltriage: {clean(notice)}", err=True)


@dataclass(frozen=True)
class Replay:
    """Saved records as a source: unchanged, in order, with one summary."""

    saved: Callable[[], Iterator[FileRecord]]
    summary: Summary
    narrow: Narrow = EVERYTHING

    @classmethod
    def of_reports(
        cls, paths: Sequence[str], narrow: Narrow = EVERYTHING, *, quiet: bool
    ) -> Replay:
        """Join reports; their notices go to stderr.

        Raises:
            MaltriageError: one cannot be read, or they do not go together.
        """
        reports = [look_through(path) for path in paths]
        summary = combined(reports)
        _tell(reports, quiet)
        return cls(lambda: chain.from_iterable(r.records() for r in reports), summary, narrow)

    def records(
        self, progress: Progress, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """See `RecordSource.records`."""
        of, left = self.summary, 0
        for record in self.saved():
            if stop():
                yield msgspec.structs.replace(of, **progress.values(), interrupted=True)
                return
            if not self.narrow.takes(record):
                left += 1
                continue
            progress.add(record)
            progress.done += 1
            yield record
        if self.narrow:
            progress.notes.append(f"{progress.done:,} of {progress.done + left:,} records shown")
            # The time was that of all records.
            of = progress.summary(of.model, 0.0, interrupted=of.interrupted, version=of.version)
        yield of


@dataclass(frozen=True)
class Picked:
    """One record of a saved report."""

    path: str
    record: FileRecord
    models: list[ModelRef]

    def shown(self) -> RecordSource:
        """The record as it is."""
        counts = Counts()
        counts.add(self.record)
        models = [self.record.model] if isinstance(self.record, Result) else self.models[:1]
        summary = combined([SavedReport(self.path, counts, models=models)])
        return Replay(lambda: iter([self.record]), summary)

    def bundle(self, model: str | None) -> Bundle:
        """The model that made the record.

        Args:
            model: name or file from the user; None: the installed one of the record's name.

        Raises:
            MaltriageError: there is none, or its weights differ.
        """
        from maltriage import bundle as bundles

        made_by = self.result.model
        if model is None and made_by.name not in bundles.installed():
            raise MaltriageError(
                f"{self.path}: made with the model {made_by.name}, which is not installed: name its"
                " file with --model"
            )
        bundle = bundles.load(bundles.resolve(model or made_by.name))
        if bundle.card.weights_sha256 != made_by.weights_sha256:
            raise MaltriageError(
                f"{self.path}: made with {made_by.name} {made_by.weights_sha256[:12]}, which is"
                f" not {bundle.card.name} {bundle.card.weights_sha256[:12]}: name it with --model"
            )
        return bundle

    def rate_in(self, bundle: Bundle, *, quiet: bool) -> float | None:
        """The rate at which the bundle flags from the record's threshold.

        Args:
            quiet: whether nothing is said where it does so at no rate that its card has; then it
                flags at its own, None.
        """
        limit, verdict, kind = bundle.card.threshold, self.result.verdict, self.result.layout.kind
        if limit is None or verdict.threshold is None:
            return None
        for fpr in (limit.fpr, *(point.fpr for point in limit.points)):
            found = limit.for_rate(fpr)
            if found is not None and math.isclose(found.at(kind), verdict.threshold, abs_tol=1e-6):
                return fpr
        if not quiet:
            typer.echo(
                f"maltriage: {clean(self.path)}: flagged from margin {verdict.threshold:+.3f}, and"
                f" {bundle.card.name} flags from {limit.at(kind):+.3f}: name the file of the model"
                " that made it with --model",
                err=True,
            )
        return None

    @property
    def result(self) -> Result:
        assert isinstance(self.record, Result)  # `picked` refuses others where it matters
        return self.record


@dataclass(frozen=True)
class InTurn:
    """Sources one after the other, each with its summary."""

    sources: Sequence[RecordSource]

    def records(self, progress: Progress, stop: Callable[[], bool]) -> Iterator[Record]:
        """See `RecordSource.records`."""
        for source in self.sources:
            yield from source.records(progress, stop)


@dataclass(frozen=True)
class HeldAgainst:
    """A source whose result must be of the same sample as a saved record.

    Raises:
        MaltriageError: the sample is another file.
    """

    saved: Picked
    source: RecordSource

    def records(self, progress: Progress, stop: Callable[[], bool]) -> Iterator[Record]:
        """See `RecordSource.records`."""
        of = self.saved.result.sha256
        for record in self.source.records(progress, stop):
            if isinstance(record, Result) and record.sha256 != of:
                raise MaltriageError(
                    f"{record.path}: not the file of {self.saved.path}, or changed since: its"
                    f" sha256 is {record.sha256[:12]}…, that of the record {of[:12]}…"
                )
            yield record
