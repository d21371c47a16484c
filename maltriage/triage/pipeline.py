"""Paths in, records out: the one way from files to results, for every command.

    walk -> worker processes (read, hash, layout, views) -> batches -> verdict and evidence

Results come in the order of the walk, whoever finished first, and at most `queue.MAX_IN_FLIGHT`
files are under way, so memory does not grow with the folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from maltriage import __version__
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.document import (
    Failed,
    ModelRef,
    Record,
    Result,
    Skipped,
    Summary,
)
from maltriage.sample.prepare import Prepared
from maltriage.sample.source import Found
from maltriage.sample.workers import Workers, cores
from maltriage.triage.cached import ScanCache
from maltriage.triage.finish import Finisher
from maltriage.triage.methods import Explainer, check_methods
from maltriage.triage.openset import novelty_of
from maltriage.triage.options import Progress, ScanOptions, model_threads, work_of
from maltriage.triage.queue import in_batches, prepared_items
from maltriage.triage.session import Session
from maltriage.triage.sets import set_rule
from maltriage.triage.similar import open_index
from maltriage.triage.top import Explained, MostUrgent, Recalled


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
    are the most urgent (`report.facts.urgency`) come after all others, the most urgent first. Of
    files of equal content one is checked.

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
    label, against = _label_index(bundle, options.label), _label_index(bundle, options.against)
    if label is not None and label == against:
        raise MaltriageError(f"{options.label} against itself: there is nothing to explain")
    check_methods(options.methods, options.mappers)
    searcher = open_index(bundle, options.index)
    rule, novelty = set_rule(bundle.card, options.coverage), novelty_of(bundle.card)
    began = time.monotonic()
    model = ModelRef(bundle.card.name, bundle.card.weights_sha256)
    jobs, walk = options.jobs or cores(), options.walk
    with cache, Workers(jobs, options.timeout, walk.stdin, walk.remote) as workers:

        @lru_cache(maxsize=1)
        def finisher() -> Finisher:
            """Workers and model, which a scan of files that are all known never needs."""
            workers.submit(os.getpid)  # they start up while the model loads
            session = Session(bundle, options.device, model_threads(options), options.batch_size)
            if session.note:
                progress.notes.append(session.note)
            explainer = Explainer(
                session,
                workers,
                work_of(bundle, options),
                options.methods,
                options.mappers,
                options.seed,
                options.close,
            )
            return Finisher(
                session, model, label, against, rule, novelty, options, workers, explainer, searcher
            )

        if options.device == "cuda":
            finisher()  # who asks for it by name is told at once that it is not there

        def recall(found: Found) -> Result | Skipped | Failed | None:
            return cache.recall(found, options.walk.max_size, look=options.checks != 0)

        asking = cache.asking(options.walk.max_size) if options.checks != 0 else None
        items = prepared_items(
            paths, bundle, options, workers, progress, stop, recall, finisher, asking, cache.forget
        )
        top = MostUrgent(options.checks or 0)
        for batch in in_batches(items, options.batch_size):
            known = [item for item in batch if not isinstance(item, Prepared)]
            new = len(known) < len(batch)
            for item in finisher().records(batch) if new else known:
                cache.keep(item)
                if isinstance(item, Explained | Result) and options.checks:
                    held = item if isinstance(item, Explained) else Recalled(item)
                    progress.add(held.result)
                    let_go = top.add(held)
                    if let_go is not None:
                        yield let_go.result
                    continue
                if not isinstance(item, Explained):
                    record: Record = item
                else:
                    record = item.result if options.checks is None else finisher().checked(item)
                progress.add(record)
                yield record
            cache.commit()
            changed(progress)
        for held in top.taken():
            if stop():
                yield held.result
            elif isinstance(held, Explained):
                yield finisher().checked(held)
            else:
                yield finisher().checked_again(held)
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
        known=progress.known,
    )
    if not interrupted:
        cache.end()  # not before the summary is written


def _label_index(bundle: Bundle, label: str | None) -> int | None:
    labels = bundle.card.labels
    if label is None:
        return None
    if label not in labels:
        raise MaltriageError(f"the model knows no label {label!r}: {', '.join(labels)}")
    return labels.index(label)
