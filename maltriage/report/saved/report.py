"""A saved report that was read through: its counts, summaries and flaws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from maltriage.errors import MaltriageError
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import FileRecord, ModelRef, Result, Summary
from maltriage.report.saved.reader import Cut, read
from maltriage.version import __version__


@dataclass
class SavedReport:
    """A saved report that was read through once: its counts, summaries and models."""

    path: str
    counts: Counts = field(default_factory=Counts)
    summaries: list[Summary] = field(default_factory=list)
    """Summary of each scan in it; a stream may hold several scans."""
    models: list[ModelRef] = field(default_factory=list)
    """The models of its records, each once."""
    thresholds: dict[str | None, list[float]] = field(default_factory=dict)
    """The thresholds of its verdicts, each once, by `Layout.kind`."""
    cut: int | None = None
    """The line where it is cut off."""
    unfinished: bool = False
    """Whether its last scan was killed and has no summary."""
    miscounted: bool = False
    """Whether a summary does not match the records: some were removed or added."""

    @property
    def interrupted(self) -> bool:
        return self.cut is not None or self.unfinished or any(s.interrupted for s in self.summaries)

    def records(self) -> Iterator[FileRecord]:
        """The records of its files, in order, read from the file again.

        Raises:
            MaltriageError: the file has changed and is not a report any more.
        """
        for item in read(self.path):
            if not isinstance(item, (Summary, Cut)):
                yield item

    def notices(self) -> Iterator[str]:
        """Notices for the user about flaws of the report."""
        if self.cut is not None:
            yield f"{self.path}: cut off in line {self.cut}; the records before it are shown"
        elif self.unfinished:
            yield f"{self.path}: no summary at the end; the scan did not finish"
        if self.miscounted:
            yield f"{self.path}: the summary does not match the records, which are counted anew"


def look_through(path: str) -> SavedReport:
    """Read through a saved report, holding one record at a time.

    Raises:
        MaltriageError: it cannot be read, is no report, or has an unknown schema.
    """
    report, scan, explained = SavedReport(path), Counts(), set[bool]()
    for item in read(path):
        if isinstance(item, Cut):
            report.cut = item.line
        elif isinstance(item, Summary):
            report.summaries.append(item)
            report.miscounted |= any(getattr(item, n) != getattr(scan, n) for n in _COUNTED)
            scan, explained = Counts(), set[bool]()
        else:
            report.counts.add(item)
            scan.add(item)
            if isinstance(item, Result):
                explained.add(_explained(item))
                of_kind = report.thresholds.setdefault(item.layout.kind, [])
                if item.verdict.threshold not in (None, *of_kind):
                    of_kind.append(item.verdict.threshold)  # type: ignore[arg-type]
        if isinstance(item, (Result, Summary)) and item.model not in report.models:
            report.models.append(item.model)
    left = scan.records
    if report.cut is not None and not left and not report.summaries:
        raise MaltriageError(f"{path}: cut off in its first record")
    one = left == 1 and not report.summaries
    # `explain` writes no summary. A file that could not be read has the same record from both.
    report.unfinished = left > 0 and explained != {True} and not one
    return report


def _explained(result: Result) -> bool:
    """Whether `explain` made a result: it alone draws planes and masks windows."""
    return result.evidence.plane is not None or result.evidence.occluded is not None


def combined(reports: Sequence[SavedReport]) -> Summary:
    """One summary of several reports, with the counts of their records and the sum of seconds.

    `version` is that of the reports, or this one if they differ.

    Raises:
        MaltriageError: the reports are of different models, or of two thresholds of one.
    """
    total, models = Counts(), list[tuple[ModelRef, str]]()
    for report in reports:
        total.join(report.counts)
        models += [(model, report.path) for model in report.models]
    for model, path in models[1:]:
        if model != models[0][0]:
            raise MaltriageError(
                f"{models[0][1]} is by {_called(models[0][0])}, {path} by {_called(model)}:"
                " reports of two models cannot be joined; render them one by one"
            )
    _check_thresholds(reports)
    summaries = [summary for report in reports for summary in report.summaries]
    versions = {summary.version for summary in summaries}
    return total.summary(
        models[0][0] if models else ModelRef("unknown", ""),
        sum(summary.seconds for summary in summaries),
        interrupted=any(report.interrupted for report in reports),
        version=versions.pop() if len(versions) == 1 else __version__,
    )


def _check_thresholds(reports: Sequence[SavedReport]) -> None:
    """Refuse verdicts at two thresholds, whose flags and scores do not compare."""
    known: dict[str | None, tuple[float, str]] = {}
    for report in reports:
        for kind, thresholds in report.thresholds.items():
            for threshold in thresholds:
                first, path = known.setdefault(kind, (threshold, report.path))
                if threshold != first and path == report.path:
                    raise MaltriageError(
                        f"{path} has records by two thresholds, {first:+.3f} and"
                        f" {threshold:+.3f}: they cannot be shown as one scan"
                    )
                if threshold != first:
                    raise MaltriageError(
                        f"{path} has a threshold of {first:+.3f}, {report.path} one of"
                        f" {threshold:+.3f}: reports by two thresholds cannot be joined; render"
                        " them one by one"
                    )


def _called(model: ModelRef) -> str:
    return f"{model.name} {model.weights_sha256[:12]}"


_COUNTED = ("files", "flagged", "failed", "skipped", "known", "bytes")
"""What every summary counts; older ones have no more."""
