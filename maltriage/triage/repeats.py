"""Records of files in archives whose content occurred before in the same archive."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from maltriage.probe.prepare import Again
from maltriage.report.documents.record import Failed, Result, Skipped, Timing, path_fields
from maltriage.sample.errors import SampleError
from maltriage.source.archive.walk import MAX_SEEN, SEPARATOR
from maltriage.triage.records import FileRecord, failed

LATEST = 2 * MAX_SEEN
"""Records kept: of the programs that a cursor remembers, and of a chunk."""


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
