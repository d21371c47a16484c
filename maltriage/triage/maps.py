"""Computes the maps of labelled files as a scan does, but for their known label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maltriage.probe.prepare import Prepared
from maltriage.triage.methods import HIRESCAM, Maps, maps_of
from maltriage.triage.options import Progress, ScanOptions
from maltriage.triage.prepare import in_batches, prepare_paths
from maltriage.triage.session import Session
from maltriage.work.workers import Workers


@dataclass(frozen=True)
class Mapped:
    """A sample, the maps of its own label against the mean of all, and its logits, [K]."""

    prepared: Prepared
    label: int
    maps: Maps
    logits: npt.NDArray[np.float32]


def mapped(
    labels: Mapping[str, int],
    session: Session,
    workers: Workers,
    options: ScanOptions,
    method: str = HIRESCAM,
    *,
    progress: Progress,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[Mapped]:
    """The maps of files, in the order of the walk, and at most one batch of them at a time.

    Args:
        labels: of each path, as an index into the labels of the bundle.
        method: one of `maltriage.report.documents.methods.ADDITIVE`.
        progress: its counts are updated; files without a sample, or with values that are not
            numbers, count as failed.
        changed: called with it after each batch.
    """
    items = prepare_paths(labels, workers, session.bundle, options, progress)
    for batch in in_batches(items, options.batch_size):
        samples = [item for item in batch if isinstance(item, Prepared)]
        progress.failed += len(batch) - len(samples)
        if samples:
            target = [labels[item.path] for item in samples]
            images = {
                view.name: np.stack([item.views[view.name].pixels for item in samples])
                for view in session.card.views
            }
            outputs = session.answer(images, [np.inf] * len(samples), target)
            for row, item in enumerate(samples):
                maps = maps_of(outputs, row, method)
                if not all(np.isfinite(grid).all() for grid in maps.values()):
                    progress.failed += 1
                    continue
                progress.files += 1
                yield Mapped(item, target[row], maps, outputs.logits[row])
        changed(progress)
