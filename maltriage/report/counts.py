"""What a scan has come to so far, counted record by record."""

from __future__ import annotations

from dataclasses import dataclass

from maltriage.report.document import Failed, Record, Result, Skipped


@dataclass
class Counts:
    """Numbers of records of each kind. `files` counts results, `bytes` is the sum of their sizes;
    the names are those of `Summary`."""

    files: int = 0
    flagged: int = 0
    failed: int = 0
    skipped: int = 0
    bytes: int = 0

    def add(self, record: Record) -> None:
        """Count a file's record; a summary is none."""
        if isinstance(record, Result):
            self.files += 1
            self.bytes += record.size
            self.flagged += bool(record.verdict.flagged)
        elif isinstance(record, Failed):
            self.failed += 1
        elif isinstance(record, Skipped):
            self.skipped += 1
