"""What a scan is asked for, and what gives records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from maltriage.bundle import Bundle
from maltriage.report.documents.record import Record
from maltriage.results.policy import Policy
from maltriage.triage.options import Progress, ScanOptions


@dataclass(frozen=True)
class ScanRequest:
    """Which files are scanned, by which model and how.

    `policy`: results of earlier scans with these options, and where those of this one go.
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
            progress: kept up to date.
            stop: once true, no file is begun any more, and the summary says so.

        Raises:
            MaltriageError: what is asked for cannot be done.
        """
        ...
