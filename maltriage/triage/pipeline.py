"""Paths in, records out: the one way from files to results, for every command.

    walk -> worker processes (read, hash, layout, views) -> batches -> verdict and evidence

Results come in the order of the walk, whoever finished first, and at most `MAX_IN_FLIGHT`
files are under way, so memory does not grow with the folder.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field

import msgspec

from maltriage import __version__
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.counts import Counts
from maltriage.report.document import (
    Failed,
    ModelRef,
    Record,
    Result,
    Similar,
    Skipped,
    Summary,
    Timing,
    path_fields,
)
from maltriage.sample.prepare import Prepared, PrepareOptions, prepare
from maltriage.sample.source import Found, Rejected, SampleError, WalkOptions, walk
from maltriage.sample.types import Notice
from maltriage.sample.workers import LOST, Workers, cores, reason_of
from maltriage.triage.inspect import look_into
from maltriage.triage.methods import HIRESCAM, Explainer, Mapper, check_methods
from maltriage.triage.occlusion import OCCLUSION
from maltriage.triage.openset import Novelty, novelty_of
from maltriage.triage.session import CHOOSE, Device, Outputs, Session
from maltriage.triage.sets import SetRule, set_rule
from maltriage.triage.similar import NO_INDEX, Searcher, notices_on, open_index
from maltriage.triage.top import Explained, MostUrgent
from maltriage.triage.verdict import asked, decide, outside_training
from maltriage.triage.verify import verify

MAX_IN_FLIGHT = 64
_POLL = 0.1


@dataclass(frozen=True)
class ScanOptions:
    """How to scan. `jobs` 0: one worker a core. `label`: explain this label in every file.

    `against`: explain the score of the label less this label's, of each file the verdict's or
    `label`. `coverage`: of the prediction sets, where it is not to be the card's. `methods`,
    `mappers`, `seed`: of the evidence, see `Explainer`. `checks`: of how many files the evidence is
    put to the test, the most urgent ones; 0: of all, None: of none. `close`: what only an analyst
    with one file before them wants, md5, sha1, TLSH and the plane; `inspect`: then also what is in
    the hot ranges, for which the file is read once more. `archives`: whether the one file in a
    password archive is a sample too, as in a dataset. `index`: what samples are compared with, see
    `open_index`.
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
    coverage: float | None = None
    methods: tuple[str, ...] = (HIRESCAM,)
    mappers: Mapping[str, Mapper] = field(default_factory=dict)
    seed: int = 0
    checks: int | None = None
    close: bool = False
    inspect: bool = True
    archives: bool = False
    index: str | None = NO_INDEX


@dataclass
class Progress(Counts):
    """Where a scan stands, for whoever wants to show it. Written by the scan alone."""

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

    Records come in the order of the walk. Where `options.checks` is a number, those many that
    are the most urgent (`report.facts.urgency`) come after all others, the most urgent first. Of
    files of equal content one is checked.

    Args:
        progress: kept up to date while the scan runs.
        changed: called with it, several times a second.
        stop: asked between files; once true, no file is begun, and what is done is reported.

    Raises:
        MaltriageError: the bundle does not run, or does not know `options.label` or
            `options.against`, or they are the same, or there is no such method, or no such index
            of this bundle, or it has no prediction sets and `options.coverage` asks for them.
    """
    progress = progress or Progress()
    label, against = _label_index(bundle, options.label), _label_index(bundle, options.against)
    if label is not None and label == against:
        raise MaltriageError(f"{options.label} against itself: there is nothing to explain")
    check_methods(options.methods, options.mappers)
    searcher = open_index(bundle, options.index)
    rule, novelty = set_rule(bundle.card, options.coverage), novelty_of(bundle.card)
    began = time.monotonic()
    model = ModelRef(bundle.card.name, bundle.card.weights_sha256)
    with Workers(options.jobs or cores(), options.timeout) as workers:
        workers.submit(os.getpid)  # they start up while the model loads
        session = Session(bundle, options.device, options.threads)
        explainer = Explainer(
            session,
            workers,
            work_of(bundle, options),
            options.methods,
            options.mappers,
            options.seed,
            options.close,
        )
        finish = _Finisher(
            session, model, label, against, rule, novelty, options, workers, explainer, searcher
        )
        items = prepared_items(paths, bundle, options, workers, progress, stop)
        top = MostUrgent(options.checks or 0)
        for batch in in_batches(items, options.batch_size):
            for item in finish.records(batch):
                if isinstance(item, Explained) and options.checks:
                    progress.add(item.result)
                    let_go = top.add(item)
                    if let_go is not None:
                        yield let_go.result
                    continue
                if not isinstance(item, Explained):
                    record: Record = item
                else:
                    record = item.result if options.checks is None else finish.checked(item)
                progress.add(record)
                yield record
            changed(progress)
        for held in top.taken():
            yield held.result if stop() else finish.checked(held)
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


Item = Prepared | Skipped | Failed


def prepared_items(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    workers: Workers,
    progress: Progress,
    stop: Callable[[], bool],
) -> Iterator[Item | None]:
    """Prepared samples in the order of the walk; None while the next one takes its time."""
    work = work_of(bundle, options)
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


def work_of(bundle: Bundle, options: ScanOptions) -> PrepareOptions:
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

    def result(self, timeout: float) -> Item | None:
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


def in_batches(items: Iterator[Item | None], size: int) -> Iterator[list[Item]]:
    """Group what comes so that the model gets `size` samples at once.

    Skips and failures wait with the samples before them, which keeps the order. Whatever
    is there goes when nothing more is ready, so an empty group says only that.
    """
    batch: list[Item] = []
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
    rule: SetRule | None
    novelty: Novelty | None
    options: ScanOptions
    workers: Workers
    explainer: Explainer
    searcher: Searcher | None

    def records(self, batch: list[Item]) -> Iterator[Explained | Skipped | Failed]:
        """What comes of each item, in their order; the samples go through the model together."""
        samples = [item for item in batch if isinstance(item, Prepared)]
        views, kinds = [item.views for item in samples], [item.layout.kind for item in samples]
        start = time.perf_counter()
        target = CHOOSE if self.label is None else self.label
        against = CHOOSE if self.against is None else self.against
        outputs = self.session.run(views, target, against, kinds) if views else None
        similar: Sequence[Similar | None] = [None] * len(samples)
        if self.searcher is not None and outputs is not None:
            names = [item.identity.sha256 for item in samples]
            similar = self.searcher.search(outputs.embedding, names)
        each = (time.perf_counter() - start) * 1e3 / max(1, len(views))
        row = 0
        for item in batch:
            if isinstance(item, Prepared):
                assert outputs is not None
                try:
                    yield self._result(item, outputs, row, each, similar[row])
                except SampleError as error:
                    yield _failed(item.path, error)
                except MaltriageError as error:
                    yield _failed(item.path, SampleError("model", str(error), failed=True))
                row += 1
            else:
                yield item

    def _result(
        self,
        prepared: Prepared,
        outputs: Outputs,
        row: int,
        each: float,
        similar: Similar | None,
    ) -> Explained:
        card = self.session.card
        verdict, question = decide(
            outputs.logits[row], card, prepared.layout.kind, self.rule, self.novelty
        )
        question = asked(question, outputs.logits[row], self.label, self.against)
        against = CHOOSE if question.against is None else question.against
        if tuple(outputs.explained[row]) != (question.label, against):
            # It cannot know whom `against` is held against. And it compares in float32: on
            # the edge it may explain the other question.
            outputs, row = self.session.run([prepared.views], question.label, against), 0
        evidence, parts = self.explainer.evidence(prepared, outputs, row, question)
        notices = [*prepared.notices, *outside_training(prepared.layout, card)]
        if self.searcher is not None and similar is not None:
            notices += notices_on(similar, self.searcher.index)
        if self.options.close and self.options.inspect:
            work = work_of(self.session.bundle, self.options)
            # Occlusion is coarser than any edge, so edges stay where its heat has them.
            fine = None if evidence.method == OCCLUSION else parts
            evidence, more = look_into(self.workers, prepared, fine, evidence, work)
            notices += more
        shown, raw = path_fields(prepared.path)
        result = Result(
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
            similar=similar,
        )
        return Explained(result, prepared, parts, question)

    def checked(self, item: Explained) -> Result | Failed | Skipped:
        """A result whose evidence was put to the test.

        Where that fails it has a notice instead; but a file that was asked for by itself, and is
        another one by now, fails.
        """
        result, prepared = item.result, item.prepared
        try:
            checks = verify(
                self.session,
                self.workers,
                prepared,
                result.evidence,
                item.parts,
                item.question,
                work_of(self.session.bundle, self.options),
                self.options.seed,
            )
        except (SampleError, MaltriageError) as error:
            if isinstance(error, SampleError) and self.options.close and error.code not in LOST:
                return _failed(prepared.path, error)
            reason = error.reason if isinstance(error, SampleError) else str(error)
            notice = Notice("unchecked", f"The evidence was not put to the test: {reason}.")
            return msgspec.structs.replace(result, notices=[*result.notices, notice])
        evidence = msgspec.structs.replace(result.evidence, checks=checks)
        return msgspec.structs.replace(result, evidence=evidence)
