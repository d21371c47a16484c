"""A request for a scan, and the interface of its engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from maltriage.bundle import Bundle
from maltriage.report.documents.record import Record
from maltriage.results.policy import Policy
from maltriage.similar.groups import grouped, ungrouped
from maltriage.triage.options import Progress, ScanOptions


@dataclass(frozen=True)
class ScanRequest:
    """The files, the model and the options of a scan.

    `policy`: recalls results of earlier scans with these options, and keeps those of this one.
    """

    paths: tuple[str, ...]
    bundle: Bundle
    options: ScanOptions
    policy: Policy = field(default_factory=Policy)


class RecordSource(Protocol):
    """Gives records: one for each file, then the summary of all."""

    def records(self, progress: Progress, stop: Callable[[], bool]) -> Iterator[Record]:
        """The records, as they come.

        Args:
            progress: updated meanwhile.
            stop: once it returns true, no more files are begun, and the summary says so.

        Raises:
            MaltriageError: the request cannot be fulfilled.
        """
        ...


@dataclass(frozen=True)
class Grouped:
    """A source whose results have groups, and whose summary lists them; `wanted` False: none have.

    A saved report has those of the scan that wrote it, which joined reports have to make anew.
    """

    source: RecordSource
    wanted: bool = True

    def records(self, progress: Progress, stop: Callable[[], bool]) -> Iterator[Record]:
        """See `RecordSource.records`."""
        records = self.source.records(progress, stop)
        return grouped(records) if self.wanted else ungrouped(records)
