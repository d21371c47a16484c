"""Paths in, records out: the one way from files to results, for every command.

    walk -> worker processes (read, hash, layout, views) -> batches -> verdict and evidence

Results come in the order of the walk, whoever finished first, and at most `queue.MAX_IN_FLIGHT`
files are under way, so memory does not grow with the folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator

from maltriage import __version__
from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.report.document import (
    ModelRef,
    Record,
    Summary,
)
from maltriage.sample.workers import Workers, cores
from maltriage.triage.finish import Finisher
from maltriage.triage.methods import Explainer, check_methods
from maltriage.triage.openset import novelty_of
from maltriage.triage.options import Progress, ScanOptions, work_of
from maltriage.triage.queue import in_batches, prepared_items
from maltriage.triage.session import Session
from maltriage.triage.sets import set_rule
from maltriage.triage.similar import open_index
from maltriage.triage.top import Explained, MostUrgent


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
        finish = Finisher(
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
