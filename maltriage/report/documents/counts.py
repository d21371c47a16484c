"""The running counts of a scan's records."""

from __future__ import annotations

from dataclasses import dataclass

from maltriage.report.documents.record import Failed, Record, Result, Skipped
from maltriage.sample.types import KNOWN_GOOD


@dataclass
class Counts:
    """Counts by kind of record, named as in `Summary`. `files` counts results, `bytes` is the sum
    of their sizes, `known` counts files skipped as known to be good, which are not in `skipped`."""

    files: int = 0
    flagged: int = 0
    failed: int = 0
    skipped: int = 0
    known: int = 0
    bytes: int = 0

    def add(self, record: Record) -> None:
        """Count the record of a file; a summary is ignored."""
        if isinstance(record, Result):
            self.files += 1
            self.bytes += record.size
            self.flagged += bool(record.verdict.flagged)
        elif isinstance(record, Failed):
            self.failed += 1
        elif isinstance(record, Skipped) and record.code == KNOWN_GOOD:
            self.known += 1
        elif isinstance(record, Skipped):
            self.skipped += 1

    def join(self, other: Counts) -> None:
        """Add the counts of `other`."""
        self.files += other.files
        self.flagged += other.flagged
        self.failed += other.failed
        self.skipped += other.skipped
        self.known += other.known
        self.bytes += other.bytes

    @property
    def records(self) -> int:
        """Number of counted records."""
        return self.files + self.failed + self.skipped + self.known
