"""Paths in, records out: the one way from files to results, for every command.

    walk -> worker processes (read, hash, layout, views) -> batches -> verdict and evidence

Results come in the order of the walk, whoever finished first, and at most `MAX_IN_FLIGHT`
files are under way, so memory does not grow with the folder.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field

from maltriage import __version__
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.document import (
    Evidence,
    Failed,
    ModelRef,
    Record,
    Result,
    Skipped,
    Summary,
    Timing,
    path_fields,
)
from maltriage.sample.inspect.snap import Range
from maltriage.sample.inspect.worker import Inspected, InspectOptions, inspect
from maltriage.sample.prepare import Prepared, PrepareOptions, prepare
from maltriage.sample.source import Found, Rejected, SampleError, WalkOptions, walk
from maltriage.sample.types import Notice
from maltriage.sample.workers import Workers, cores, reason_of
from maltriage.triage.evidence import Heat, account, parts_of
from maltriage.triage.inspect import inspected
from maltriage.triage.methods import GRAPH_METHODS, HIRESCAM, maps_of, same_maps
from maltriage.triage.occlusion import OCCLUSION, occlude
from maltriage.triage.session import CHOOSE, Device, Outputs, Session
from maltriage.triage.verdict import asked, decide, outside_training

MAX_IN_FLIGHT = 64
METHODS = (*GRAPH_METHODS, OCCLUSION)
"""How evidence can be made."""
_POLL = 0.1


@dataclass(frozen=True)
class ScanOptions:
    """How to scan. `jobs` 0: one worker a core. `label`: explain this label in every file.

    `against`: explain the score of the label less this label's, of each file the verdict's or
    `label`. `method`: one of `METHODS`. `seed`: of what is drawn at random to mask bytes with.
    `close`: what only an analyst with one file before them wants, md5, sha1, TLSH and the plane;
    `inspect`: then also what is in the hot ranges, for which the file is read once more.
    `archives`: whether the one file in a password archive is a sample too, as in a dataset.
    """

    walk: WalkOptions = field(default_factory=WalkOptions)
    device: Device = "auto"
    jobs: int = 0
    threads: int = 0
    batch_size: int = 16
    timeout: float = 60.0
    hashes: bool = False
    label: str | None = None
    against: str | None = None
    method: str = HIRESCAM
    seed: int = 0
    close: bool = False
    inspect: bool = True
    archives: bool = False


@dataclass
class Progress:
    """Where a scan stands, for whoever wants to show it. Written by the scan alone."""

    files: int = 0
    flagged: int = 0
    failed: int = 0
    skipped: int = 0
    bytes: int = 0
    in_flight: list[tuple[str, float]] = field(default_factory=list)
    """Paths of the files under way, and for how many seconds each."""


def scan(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    *,
    progress: Progress | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Scan files and folders: one record per file, then one `Summary`.

    Args:
        progress: kept up to date while the scan runs.
        changed: called with it, several times a second.
        stop: asked between files; once true, no file is begun, and what is done is reported.

    Raises:
        MaltriageError: the bundle does not run, or does not know `options.label` or
            `options.against`, or they are the same, or there is no such method.
    """
    progress = progress or Progress()
    label, against = _label_index(bundle, options.label), _label_index(bundle, options.against)
    if label is not None and label == against:
        raise MaltriageError(f"{options.label} against itself: there is nothing to explain")
    if options.method not in METHODS:
        raise MaltriageError(f"no such method: {options.method}")
    began = time.monotonic()
    model = ModelRef(bundle.card.name, bundle.card.weights_sha256)
    with Workers(options.jobs or cores(), options.timeout) as workers:
        workers.submit(os.getpid)  # they start up while the model loads
        session = Session(bundle, options.device, options.threads)
        finish = _Finisher(session, model, label, against, options, workers)
        prepared = _prepared(paths, bundle, options, workers, progress, stop)
        for batch in _in_batches(prepared, options.batch_size):
            for record in finish.records(batch):
                _count(progress, record)
                yield record
            changed(progress)
        interrupted = stop()
    yield Summary(
        files=progress.files,
        flagged=progress.flagged,
        failed=progress.failed,
        skipped=progress.skipped,
        bytes=progress.bytes,
        seconds=time.monotonic() - began,
        interrupted=interrupted,
        model=model,
        version=__version__,
    )


def _label_index(bundle: Bundle, label: str | None) -> int | None:
    labels = bundle.card.labels
    if label is None:
        return None
    if label not in labels:
        raise MaltriageError(f"the model knows no label {label!r}: {', '.join(labels)}")
    return labels.index(label)


def _count(progress: Progress, record: Record) -> None:
    match record:
        case Result():
            progress.files += 1
            progress.bytes += record.size
            progress.flagged += bool(record.verdict.flagged)
        case Failed():
            progress.failed += 1
        case Skipped():
            progress.skipped += 1


_Item = Prepared | Skipped | Failed


def _prepared(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    workers: Workers,
    progress: Progress,
    stop: Callable[[], bool],
) -> Iterator[_Item | None]:
    """Prepared samples in the order of the walk; None while the next one takes its time."""
    work = _work(bundle, options)
    queue: deque[_Task | Skipped | Failed] = deque()
    walker = walk(paths, options.walk)
    more = True
    while more or queue:
        while more and len(queue) < MAX_IN_FLIGHT and not stop():
            found = next(walker, None)
            if found is None:
                more = False
            elif isinstance(found, Found):
                queue.append(_Task(found.path, workers.submit(prepare, found.path, work)))
            else:
                queue.append(_rejected(found))
        if stop():
            more = False
            for task in queue:
                # What a worker has in hand is finished: cancelling it would kill the worker.
                if isinstance(task, _Task) and not task.future.running():
                    task.future.cancel()
        if not queue:
            break
        progress.in_flight = _in_flight(queue)
        head = queue[0]
        item = head.result(options.timeout) if isinstance(head, _Task) else head
        if item is not None or (isinstance(head, _Task) and head.future.cancelled()):
            queue.popleft()
        yield item


def _work(bundle: Bundle, options: ScanOptions) -> PrepareOptions:
    """What workers are to make of each file."""
    card = bundle.card
    hashes, limit = options.hashes or options.close, options.walk.max_size
    return PrepareOptions(card.views, hashes, limit, card.input, options.archives)


@dataclass
class _Task:
    """A file that a worker has, or will have."""

    path: str
    future: Future[Prepared]
    began: float | None = None
    """When it was first seen in a worker's hands."""

    def result(self, timeout: float) -> _Item | None:
        """What came of it; None if nothing has yet, or nothing will (cancelled)."""
        try:
            # Not `result`: the TimeoutError of a worker could not be told from that of waiting.
            error = self.future.exception(timeout=_POLL)
        except (CancelledError, FutureTimeout):
            return None
        if error is None:
            return self.future.result()
        return _failed(self.path, reason_of(error, timeout))


def _in_flight(queue: Iterable[_Task | Skipped | Failed]) -> list[tuple[str, float]]:
    now = time.monotonic()
    running = []
    for task in queue:
        if isinstance(task, _Task) and task.future.running():
            task.began = task.began or now
            running.append((task.path, now - task.began))
    return running


def _failed(path: str, error: SampleError) -> Skipped | Failed:
    return _rejected(Rejected(path, error.code, error.reason, error.failed))


def _rejected(rejected: Rejected) -> Skipped | Failed:
    """The record of a path that gave no sample."""
    shown, raw = path_fields(rejected.path)
    kind = Failed if rejected.failed else Skipped
    return kind(shown, rejected.code, rejected.reason, raw)


def _in_batches(items: Iterator[_Item | None], size: int) -> Iterator[list[_Item]]:
    """Group what comes so that the model gets `size` samples at once.

    Skips and failures wait with the samples before them, which keeps the order. Whatever
    is there goes when nothing more is ready, so an empty group says only that.
    """
    batch: list[_Item] = []
    samples = 0
    for item in items:
        if item is not None:
            batch.append(item)
            samples += isinstance(item, Prepared)
        if item is None or samples == size or len(batch) == MAX_IN_FLIGHT:
            yield batch
            batch, samples = [], 0
    yield batch


@dataclass(frozen=True)
class _Finisher:
    """Turns a batch of prepared samples into results."""

    session: Session
    model: ModelRef
    label: int | None
    against: int | None
    options: ScanOptions
    workers: Workers

    def records(self, batch: list[_Item]) -> Iterator[Result | Skipped | Failed]:
        """One record an item, in their order; the samples go through the model together."""
        samples = [item for item in batch if isinstance(item, Prepared)]
        views, kinds = [item.views for item in samples], [item.layout.kind for item in samples]
        start = time.perf_counter()
        target = CHOOSE if self.label is None else self.label
        against = CHOOSE if self.against is None else self.against
        outputs = self.session.run(views, target, against, kinds) if views else None
        each = (time.perf_counter() - start) * 1e3 / max(1, len(views))
        row = 0
        for item in batch:
            if isinstance(item, Prepared):
                assert outputs is not None
                try:
                    yield self._result(item, outputs, row, each)
                except SampleError as error:
                    yield _failed(item.path, error)
                except MaltriageError as error:
                    yield _failed(item.path, SampleError("model", str(error), failed=True))
                row += 1
            else:
                yield item

    def _result(self, prepared: Prepared, outputs: Outputs, row: int, each: float) -> Result:
        card = self.session.card
        verdict, question = decide(outputs.logits[row], card, prepared.layout.kind)
        question = asked(question, outputs.logits[row], self.label, self.against)
        against = CHOOSE if question.against is None else question.against
        if tuple(outputs.explained[row]) != (question.label, against):
            # It cannot know whom `against` is held against. And it compares in float32: on
            # the edge it may explain the other question.
            outputs, row = self.session.run([prepared.views], question.label, against), 0
        method = self.options.method
        drawn = method if method in GRAPH_METHODS else HIRESCAM
        heat = Heat(
            maps=maps_of(outputs, row, drawn),
            baseline=float(outputs.baseline[row]),
            score=float(question.score(outputs.logits[row])),
            method=drawn,
            same_as=same_maps(outputs, drawn),
        )
        evidence = account(prepared, heat, question, card, plane=self.options.close)
        if method == OCCLUSION:
            work = _work(self.session.bundle, self.options)
            evidence = occlude(
                self.session,
                self.workers,
                prepared,
                question,
                evidence,
                work,
                seed=self.options.seed,
            )
        notices = [*prepared.notices, *outside_training(prepared.layout, card)]
        if self.options.close and self.options.inspect:
            evidence, more = self._inspected(prepared, outputs, row, evidence)
            notices += more
        shown, raw = path_fields(prepared.path)
        return Result(
            path=shown,
            sha256=prepared.identity.sha256,
            size=prepared.identity.size,
            format=prepared.format,
            identity=prepared.identity,
            verdict=verdict,
            evidence=evidence,
            layout=prepared.layout,
            notices=notices,
            model=self.model,
            timing=Timing(prepare_ms=prepared.milliseconds, model_ms=each),
            path_b64=raw,
        )

    def _inspected(
        self, prepared: Prepared, outputs: Outputs, row: int, evidence: Evidence
    ) -> tuple[Evidence, list[Notice]]:
        """The evidence with what is in its hot ranges, read by a worker like everything of a
        sample; a notice instead where the worker does not come back.

        Raises:
            SampleError: the file is gone, or another than before.
        """
        options, formats, method = self.options, self.session.card.input, evidence.method
        # Occlusion is coarser than any edge, so edges stay where its heat has them.
        drawn = maps_of(outputs, row, method) if method in GRAPH_METHODS else None

        def look(ranges: list[Range], snap: bool) -> list[Inspected]:
            how = InspectOptions(
                prepared.identity.sha256, snap, options.walk.max_size, formats, options.archives
            )
            task = self.workers.submit(inspect, prepared.path, ranges, how)
            found: list[Inspected] = task.result()
            return found

        try:
            parts = None if drawn is None else parts_of(prepared, drawn)
            return inspected(prepared.layout, parts, evidence, look), []
        except SampleError:
            raise
        except Exception as error:
            reason = reason_of(error, options.timeout).reason
            text = f"What is in the hot bytes could not be looked into: {reason}."
            return evidence, [Notice("not-inspected", text)]
