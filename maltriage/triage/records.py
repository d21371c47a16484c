"""Records without the model: of paths that gave no sample, and of content seen before."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from maltriage.probe.prepare import Again, Prepared
from maltriage.report.documents.record import (
    Failed,
    FileRecord,
    Result,
    Skipped,
    Timing,
    path_fields,
)
from maltriage.sample.errors import SampleError
from maltriage.source.archive.names import SEPARATOR
from maltriage.source.archive.walk import MAX_SEEN
from maltriage.source.files import Rejected

Item = Prepared | Again | FileRecord
"""An item between stages: a sample, one of equal content, or the record of a file that has one
already."""

LATEST = 2 * MAX_SEEN
"""Records kept: of the programs that a cursor remembers, and of a chunk."""


def rejected(item: Rejected) -> Skipped | Failed:
    """The record of a path that gave no sample."""
    shown, raw = path_fields(item.path)
    kind = Failed if item.failed else Skipped
    return kind(shown, item.code, item.reason, raw)


def failed(path: str, error: SampleError) -> Skipped | Failed:
    return rejected(Rejected.of(path, error))


class Repeats:
    """The latest records of files in archives, by path; one object for each run of a scan."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, FileRecord] = OrderedDict()

    def keep(self, path: str, record: FileRecord) -> None:
        """Keep a record, if it is of a file in an archive."""
        if SEPARATOR in path:
            self._latest[path] = record
            if len(self._latest) > LATEST:
                self._latest.popitem(last=False)

    def record(self, item: Again) -> FileRecord:
        """The record of a file, from that of one of equal content."""
        found = self._latest.get(item.of)
        if found is None:  # a worker made it up
            reason = "a file of equal content has no record"
            return failed(item.path, SampleError("internal", reason, failed=True))
        shown, raw = path_fields(item.path)
        timing = Timing(prepare_ms=item.milliseconds, model_ms=0.0)
        match found:
            case Result():
                return msgspec.structs.replace(found, path=shown, path_b64=raw, timing=timing)
            case Skipped() | Failed():
                return msgspec.structs.replace(found, path=shown, path_b64=raw)
