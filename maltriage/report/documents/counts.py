"""What a scan has come to so far, counted record by record."""

from __future__ import annotations

from dataclasses import dataclass

from maltriage.report.documents.record import Failed, Record, Result, Skipped
from maltriage.sample.types import KNOWN_GOOD


@dataclass
class Counts:
    """Numbers of records of each kind. `files` counts results, `bytes` is the sum of their sizes,
    `known` counts files that were not looked at because they are known to be good, which are not
    in `skipped`; the names are those of `Summary`."""

    files: int = 0
    flagged: int = 0
    failed: int = 0
    skipped: int = 0
    known: int = 0
    bytes: int = 0

    def add(self, record: Record) -> None:
        """Count a file's record; a summary is none."""
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
        """Count what was counted elsewhere."""
        self.files += other.files
        self.flagged += other.flagged
        self.failed += other.failed
        self.skipped += other.skipped
        self.known += other.known
        self.bytes += other.bytes

    @property
    def records(self) -> int:
        """Records that were counted."""
        return self.files + self.failed + self.skipped + self.known
