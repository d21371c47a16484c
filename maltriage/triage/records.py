"""Records of paths that gave no sample."""

from __future__ import annotations

from maltriage.probe.prepare import Again, Prepared
from maltriage.report.documents.record import Failed, Result, Skipped, path_fields
from maltriage.sample.errors import SampleError
from maltriage.source.files import Rejected

FileRecord = Result | Skipped | Failed
Item = Prepared | Again | FileRecord
"""An item between stages: a sample, one of equal content, or the record of a file that has one
already."""


def rejected(item: Rejected) -> Skipped | Failed:
    """The record of a path that gave no sample."""
    shown, raw = path_fields(item.path)
    kind = Failed if item.failed else Skipped
    return kind(shown, item.code, item.reason, raw)


def failed(path: str, error: SampleError) -> Skipped | Failed:
    return rejected(Rejected.of(path, error))
