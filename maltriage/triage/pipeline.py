"""Paths in, records out: the one way from files to results, for every command.

    walk -> worker processes (read, hash, layout, views) -> batches -> verdict and evidence

Results come in the order of the walk, whoever finished first, and at most `queue.MAX_IN_FLIGHT`
files are under way, so memory does not grow with the folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Self

from maltriage import __version__
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.probe.prepare import Prepared
from maltriage.report.documents.counts import Counts
from maltriage.report.documents.record import Failed, ModelRef, Record, Result, Skipped, Summary
from maltriage.similar.search import Searcher, open_index
from maltriage.source.files import Found, Rejected, walk
from maltriage.triage.finish import Finisher
from maltriage.triage.methods import Explainer, check_methods
from maltriage.triage.most_urgent import Explained, MostUrgent, Recalled
from maltriage.triage.novelty import novelty_of
from maltriage.triage.options import Progress, ScanOptions, model_threads, work_of
from maltriage.triage.prediction_sets import set_rule
from maltriage.triage.queue import in_batches, prepare_found
from maltriage.triage.scan_cache import ScanCache
from maltriage.triage.session import Session
from maltriage.work.isolation import Isolation, memory_for
from maltriage.work.workers import Workers, cores


def scan(
    paths: Iterable[str],
    bundle: Bundle,
    options: ScanOptions,
    *,
    cache: ScanCache | None = None,
    progress: Progress | None = None,
    changed: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Scan files and folders: one record per file, then one `Summary`.

    Records come in the order of the walk. Where `options.checks` is a number, those many that
    are the most urgent (`report.documents.facts.urgency`) come after all others, the most urgent
    first. Of files of equal content one is checked.

    Args:
        cache: results of earlier scans with these options, and where those of this one go. Where
            `options.checks` is a number, results are kept without the checks; where it is 0,
            none are taken, since all files must be read.
        progress: kept up to date while the scan runs.
        changed: called with it, several times a second.
        stop: asked between files; once true, no file is begun, and what is done is reported.

    Raises:
        MaltriageError: the bundle does not run, or does not know `options.label` or
            `options.against`, or they are the same, or there is no such method, or no such index
            of this bundle, or it has no prediction sets and `options.coverage` asks for them.
    """
    progress, cache = progress or Progress(), cache or ScanCache()
    began = time.monotonic()
    with cache, Engine(bundle, options) as engine:
        found = walk(paths, options.walk, members=options.archives is not None, stop=stop)
        yield from engine.records(found, cache=cache, progress=progress, changed=changed, stop=stop)
        interrupted = stop()
    yield summary(progress, bundle, time.monotonic() - began, interrupted=interrupted)
    if not interrupted:
        cache.end()  # not before the summary is written


def summary(counts: Counts, bundle: Bundle, seconds: float, *, interrupted: bool) -> Summary:
    """The last record of a scan that took so many seconds."""
    return Summary(
        files=counts.files,
        flagged=counts.flagged,
        failed=counts.failed,
        skipped=counts.skipped,
        bytes=counts.bytes,
        seconds=seconds,
        interrupted=interrupted,
        model=model_ref(bundle),
        version=__version__,
        known=counts.known,
    )


def model_ref(bundle: Bundle) -> ModelRef:
    return ModelRef(bundle.card.name, bundle.card.weights_sha256)


class Engine:
    """Workers and a model that turn files into records, opened once for any number of times.

    Use it as a context manager. Several threads may ask for records at once after `begin`.

    Args:
        searcher: what finds similar files; None: what `options.index` says.

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

    def begin(self) -> Finisher:
        """Start workers and load the model, which a scan of files that are all known never needs.

        Raises:
            MaltriageError: the bundle does not run, or not on the device that was asked for.
        """
        return self._finisher

    @cached_property
    def _finisher(self) -> Finisher:
        bundle, options = self.bundle, self._options
        if options.device != "cuda":  # which may not be there: then nothing is to be started
            self._workers.submit(os.getpid)  # they start up while the model loads
        session = Session(bundle, options.device, model_threads(options), options.batch_size)
        explainer = Explainer(
            session,
            self._workers,
            work_of(bundle, options),
            options.methods,
            options.mappers,
            options.seed,
            options.close,
        )
        return Finisher(
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
        cache: ScanCache,
        progress: Progress,
        changed: Callable[[Progress], None] = lambda progress: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Result | Skipped | Failed]:
        """The records of files, in the order that they are found in; see `scan`.

        Args:
            found: as `walk` gives them; taken one by one, as there is room for them.
            cache: whether it is entered and ended is for the caller to see to.
        """
        options = self._options

        def begin() -> Finisher:
            finisher = self.begin()
            note = finisher.session.note
            if note and note not in progress.notes:
                progress.notes.append(note)
            return finisher

        if options.device == "cuda":
            begin()  # who asks for it by name is told at once that it is not there

        def recall(file: Found) -> Result | Skipped | Failed | None:
            return cache.recall(file, options.walk.max_size, look=options.checks != 0)

        items = prepare_found(
            found,
            self.bundle,
            options,
            self._workers,
            progress,
            stop,
            recall,
            begin,
            cache.asking(options.walk.max_size) if options.checks != 0 else None,
            cache.forget,
        )
        top = MostUrgent(options.checks or 0)
        for batch in in_batches(items, options.batch_size):
            known = [item for item in batch if not isinstance(item, Prepared)]
            new = len(known) < len(batch)
            for item in begin().records(batch) if new else known:
                cache.keep(item)
                if isinstance(item, Explained | Result) and options.checks:
                    held = item if isinstance(item, Explained) else Recalled(item)
                    progress.add(held.result)
                    let_go = top.add(held)
                    if let_go is not None:
                        yield let_go.result
                    continue
                if not isinstance(item, Explained):
                    record = item
                else:
                    record = item.result if options.checks is None else begin().checked(item)
                progress.add(record)
                yield record
            cache.commit()
            changed(progress)
        for held in top.taken():
            if stop():
                yield held.result
            elif isinstance(held, Explained):
                yield begin().checked(held)
            else:
                yield begin().checked_again(held)
            changed(progress)


def _label_index(bundle: Bundle, label: str | None) -> int | None:
    labels = bundle.card.labels
    if label is None:
        return None
    if label not in labels:
        raise MaltriageError(f"the model knows no label {label!r}: {', '.join(labels)}")
    return labels.index(label)
