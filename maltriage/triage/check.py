"""The stage that checks evidence, of the results that are selected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from maltriage.errors import MaltriageError
from maltriage.probe.common import Runs
from maltriage.probe.prepare import prepare
from maltriage.report.documents.record import FileRecord, Result, path_of
from maltriage.report.numbers import count
from maltriage.sample.errors import SampleError
from maltriage.sample.types import Notice
from maltriage.triage.hot_ranges import looked_up
from maltriage.triage.judge import Judge
from maltriage.triage.most_urgent import Explained, MostUrgent, Recalled
from maltriage.triage.options import Progress, ScanOptions, work_of
from maltriage.triage.records import failed
from maltriage.triage.verify import verify
from maltriage.work.job import Job
from maltriage.work.workers import LOST, reason_of


def check(
    items: Iterable[Explained | FileRecord],
    judge: Callable[[], Judge],
    options: ScanOptions,
    progress: Progress,
    stop: Callable[[], bool],
) -> Iterator[FileRecord]:
    """All records; the evidence of those that `options.checks` selects is checked.

    The most urgent results are held back until the end, and come last.

    Args:
        judge: opens the model, called only when needed.
    """
    top = MostUrgent(options.checks or 0)
    for item in items:
        if options.checks and isinstance(item, Explained | Result):
            held = item if isinstance(item, Explained) else Recalled(item)
            progress.add(held.result)
            let_go = top.add(held)
            if let_go is not None:
                yield let_go.result
            continue
        if not isinstance(item, Explained):
            record = item
        else:
            record = item.result if options.checks is None else _checked(item, judge(), options)
            if item.looking_up is not None and isinstance(record, Result):
                record = _looked_up(record, item, item.looking_up, judge())
        progress.add(record)
        yield record
    taken, left = top.taken(), 0
    for held in taken:
        if stop():
            left += 1
            yield held.result
        elif isinstance(held, Explained):
            yield _checked(held, judge(), options)
        else:
            yield _checked_again(held, judge(), options)
    if left:
        files = count(len(taken), "file")
        progress.notes.append(f"the evidence of {left:,} of {files} was not checked any more")


def _checked_again(item: Recalled, judge: Judge, options: ScanOptions) -> FileRecord:
    """A result of an earlier scan with its evidence checked: its file is read again.

    If that fails, or the file has changed, it has a notice instead.
    """
    path, work = path_of(item.result), work_of(judge.session.bundle, options)
    try:
        prepared = judge.workers.submit(prepare, path, work).result()
    except Exception as error:  # any error or loss of a worker
        return _unchecked(item.result, reason_of(error, judge.workers.timeout).reason)
    if prepared.identity.sha256 != item.result.sha256:
        return _unchecked(item.result, "it changed while it was scanned")
    (made,) = judge.records([prepared])
    return _checked(made, judge, options) if isinstance(made, Explained) else made


def _checked(item: Explained, judge: Judge, options: ScanOptions) -> FileRecord:
    """A result with its evidence checked.

    If that fails it has a notice instead; but a file named by itself that has changed fails.
    """
    result, prepared = item.result, item.prepared
    try:
        checks = verify(
            judge.session,
            judge.workers,
            prepared,
            result.evidence,
            item.parts,
            item.question,
            work_of(judge.session.bundle, options),
            options.seed,
        )
    except (SampleError, MaltriageError) as error:
        if isinstance(error, SampleError) and options.close and error.code not in LOST:
            return failed(prepared.path, error)
        return _unchecked(result, error.reason if isinstance(error, SampleError) else str(error))
    evidence = msgspec.structs.replace(result.evidence, checks=checks)
    return msgspec.structs.replace(result, evidence=evidence)


def _looked_up(result: Result, item: Explained, job: Job[Runs], judge: Judge) -> FileRecord:
    """A result with what of its file clean programs have, which was looked up meanwhile."""
    prepared = item.prepared
    try:
        evidence, notices = looked_up(judge.workers, prepared, item.parts, result.evidence, job)
    except SampleError as error:
        return failed(prepared.path, error)
    return msgspec.structs.replace(result, evidence=evidence, notices=[*result.notices, *notices])


def _unchecked(result: Result, reason: str) -> Result:
    notice = Notice("unchecked", f"The evidence was not put to the test: {reason}.")
    return msgspec.structs.replace(result, notices=[*result.notices, notice])
