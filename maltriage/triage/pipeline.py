"""The pipeline from paths to records, for every command.

    find -> recall -> prepare (in workers) -> judge -> keep -> check

Each stage iterates over the one before it and calls none of them back. Results come in the order of
the walk, and at most `prepare.MAX_IN_FLIGHT` files are under way, so memory does not grow with the
folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from maltriage.bundle import Bundle, at_rate
from maltriage.errors import MaltriageError, OverdueError
from maltriage.logs import logger
from maltriage.probe.prepare import Again, Prepared
from maltriage.report import numbers
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import FileRecord, ModelRef, Record, Result, Summary
from maltriage.results.policy import Policy
from maltriage.similar.search import Searcher, open_index
from maltriage.source.files import Found, Rejected
from maltriage.source.walked import Walked
from maltriage.triage.check import check
from maltriage.triage.judge import Judge
from maltriage.triage.methods import Explainer, check_methods
from maltriage.triage.most_urgent import Explained
from maltriage.triage.novelty import novelty_of
from maltriage.triage.options import Progress, ScanOptions, model_threads, work_of
from maltriage.triage.prediction_sets import set_rule
from maltriage.triage.prepare import in_batches, prepare_files
from maltriage.triage.records import Item, Repeats, rejected
from maltriage.triage.request import ScanRequest
from maltriage.triage.session import Session
from maltriage.work.cores import cores
from maltriage.work.isolation import Isolation, memory_for
from maltriage.work.workers import Workers

_log = logger(__name__)


def scan(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    *,
    policy: Policy | None = None,
    progress: Progress | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    found: Walked | None = None,
) -> Iterator[Record]:
    """Scan files and folders: one record per file, then one `Summary`.

    Records come in the order of the walk. If `options.checks` is a number, so many of the most
    urgent results (`report.documents.facts.urgency`) come after all others, the most urgent
    first. Of files of equal content one is checked.

    Args:
        policy: recalls results of earlier scans with these options, and keeps those of this one.
            If `options.checks` is a number, results are kept without the checks; if it is 0, none
            are recalled, since all files must be read.
        progress: updated while the scan runs.
        changed: called with it after each record.
        found: the walk of the paths, where it has begun already.
        stop: called between files; once it returns true, no file is begun, and the finished ones
            are reported.

    Raises:
        MaltriageError: the bundle does not run, lacks the label `options.label` or
            `options.against`, or they are equal; a method or the index does not exist, or the
            index is another bundle's; or `options.coverage` is set for a bundle without
            prediction sets.
    """
    progress, policy = progress or Progress(), policy or Policy()
    began = time.monotonic()
    with policy, Engine(bundle, options) as engine:
        if found is None:
            members = options.archives is not None
            found = Walked(paths, options.walk, members=members, stop=stop)
        records = engine.records(found, policy=policy, progress=progress, stop=stop)
        with suppress(OverdueError):  # `stop` is true: the files under way have no records
            for record in records:
                yield record
                changed(progress)
            if stop():
                progress.found = found.total()
        interrupted = stop()
    seconds = time.monotonic() - began
    _log.info("%s in %.2f s", numbers.count(progress.records, "record"), seconds)
    yield summary(progress, bundle, seconds, interrupted=interrupted)
    if not interrupted:
        policy.end()  # not before the summary is written


@dataclass(frozen=True)
class LocalScan:
    """A scan on this machine, see `scan`."""

    request: ScanRequest

    def records(
        self, progress: Progress, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """See `RecordSource.records`."""
        asked = self.request
        return scan(
            asked.paths,
            asked.bundle,
            asked.options,
            policy=asked.policy,
            progress=progress,
            stop=stop,
        )


def summary(counts: Counts, bundle: Bundle, seconds: float, *, interrupted: bool) -> Summary:
    """The last record of a scan of `seconds`."""
    return counts.summary(model_ref(bundle), seconds, interrupted=interrupted)


def model_ref(bundle: Bundle) -> ModelRef:
    return ModelRef(bundle.card.name, bundle.card.weights_sha256)


class Engine:
    """Workers and a model that turn files into records, opened once for many calls.

    Use it as a context manager. Several threads may request records at once after `begin`.

    Args:
        searcher: of similar files; None: the one of `options.index`.

    Raises:
        MaltriageError: see `scan`.
    """

    def __init__(
        self, bundle: Bundle, options: ScanOptions, searcher: Searcher | None = None
    ) -> None:
        label, against = _label_index(bundle, options.label), _label_index(bundle, options.against)
        if label is not None and label == against:
            raise MaltriageError(f"{options.label} against itself: there is nothing to explain")
        check_methods(options.methods, options.mappers)
        bundle = at_rate(bundle, options.fpr)
        self.bundle, self._options = bundle, options
        self._label, self._against = label, against
        self._searcher = searcher or open_index(bundle, options.index)
        self._rule = set_rule(bundle.card, options.coverage)
        source = options.walk
        jobs = options.jobs or cores()
        isolation = Isolation(memory_for(source.max_size))
        self._workers = Workers(jobs, options.timeout, source.stdin, source.remote, isolation)

    def __enter__(self) -> Self:
        self._workers.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._workers.__exit__(*error)

    def begin(self) -> Judge:
        """Start workers and load the model; a scan of known files alone never needs them.

        Raises:
            MaltriageError: the bundle does not run, or not on the requested device.
        """
        return self._judge

    @cached_property
    def _judge(self) -> Judge:
        bundle, options = self.bundle, self._options
        if options.device != "cuda":  # which may be missing: then nothing is started
            self._workers.submit(os.getpid)  # they start up while the model loads
        session = Session(bundle, options.device, model_threads(options), options.batch_size)
        if options.checks == 0:  # of all results: loaded while the first file is prepared
            with suppress(MaltriageError):  # which the first check says
                session.load_lean()
        explainer = Explainer(
            session,
            self._workers,
            work_of(bundle, options),
            options.methods,
            options.mappers,
            options.seed,
            options.close,
        )
        return Judge(
            session,
            model_ref(bundle),
            self._label,
            self._against,
            self._rule,
            novelty_of(bundle.card),
            options,
            self._workers,
            explainer,
            self._searcher,
        )

    def records(
        self,
        found: Iterable[Found | Rejected],
        *,
        policy: Policy,
        progress: Progress,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[FileRecord]:
        """The records of files, in the order of `found`; see `scan`.

        Args:
            found: from `walk`; taken one by one, as there is room for them.
            policy: entered and ended by the caller.
        """
        options, workers = self._options, self._workers
        if options.device == "cuda":
            self.begin()  # report at once that a requested GPU is missing
        files = recalled(found, policy, options)
        items = prepare_files(files, workers, self.bundle, options, policy, progress, stop)
        judged = self._judged(in_batches(items, options.batch_size), progress)
        return check(_kept(judged, policy), self.begin, options, progress, stop)

    def _judged(
        self, batches: Iterable[list[Item]], progress: Progress
    ) -> Iterator[list[Explained | FileRecord]]:
        """The stage that judges. It loads the model before the first sample, which an empty batch
        announces, too."""
        repeats = Repeats()
        for batch in batches:
            if batch and not any(isinstance(item, Prepared | Again) for item in batch):
                yield [item for item in batch if not isinstance(item, Prepared | Again)]
                continue
            judge = self.begin()
            note = judge.session.note
            if note and note not in progress.notes:
                progress.notes.append(note)
            began = time.perf_counter()
            judged = list(judge.records(batch, repeats))
            if batch:
                taken = (time.perf_counter() - began) * 1e3
                _log.debug("batch of %d in %.1f ms", len(batch), taken)
            yield judged


def recalled(
    found: Iterable[Found | Rejected], policy: Policy, options: ScanOptions
) -> Iterator[Found | FileRecord]:
    """The stage that recalls: files, or their records where known."""
    look = options.checks != 0
    carved = options.archives is not None and options.archives.carve > 0
    for file in found:
        if isinstance(file, Rejected):
            yield rejected(file)
        else:
            yield policy.recall(file, options.walk.max_size, look=look, carved=carved) or file


def _kept(
    batches: Iterable[list[Explained | FileRecord]], policy: Policy
) -> Iterator[Explained | FileRecord]:
    """The stage that keeps. It precedes the checks, so that results held back for them survive if
    the scan is killed, and results are kept without checks."""
    for batch in batches:
        for item in batch:
            if isinstance(item, Explained):
                policy.keep(item.result, item.prepared.file)
            elif not isinstance(item, Result):
                policy.keep(item, None)
            yield item
        policy.commit()


def _label_index(bundle: Bundle, label: str | None) -> int | None:
    labels = bundle.card.labels
    if label is None:
        return None
    if label not in labels:
        raise MaltriageError(f"the model knows no label {label!r}: {', '.join(labels)}")
    return labels.index(label)
