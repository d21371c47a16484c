"""Computes the embeddings of labelled files, read as a scan reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.probe.prepare import Prepared
from maltriage.report.documents.record import Failed, Skipped
from maltriage.triage.options import Progress, ScanOptions, model_threads
from maltriage.triage.prepare import in_batches, prepare_paths
from maltriage.triage.session import Session
from maltriage.work.cores import cores
from maltriage.work.workers import Workers


@dataclass
class Embedded:
    """Files with their embeddings, in the order of the walk."""

    sha256: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    embeddings: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 0), np.float32)
    )
    """Embeddings from the bundle, [n, D]."""
    unread: list[Failed | Skipped] = field(default_factory=list)
    """Files that gave no sample, or values that are not numbers."""


def embed(
    labels: Mapping[str, str],
    bundle: Bundle,
    options: ScanOptions,
    *,
    changed: Callable[[Progress], None] = lambda progress: None,
) -> Embedded:
    """The embeddings of files.

    Args:
        labels: of each path.
        changed: called after each batch.

    Raises:
        MaltriageError: none of the files could be read, or the bundle does not run.
    """
    progress = Progress()
    found, rows = Embedded(), list[npt.NDArray[np.float32]]()
    with Workers(options.jobs or cores(), options.timeout) as workers:
        session = Session(bundle, options.device, model_threads(options))
        items = prepare_paths(labels, workers, bundle, options, progress)
        for batch in in_batches(items, options.batch_size):
            samples = [item for item in batch if isinstance(item, Prepared)]
            for item in batch:
                if isinstance(item, Skipped | Failed):
                    found.unread.append(item)
                    progress.add(item)
            outputs = session.run([item.views for item in samples]) if samples else None
            for row, item in enumerate(samples):
                assert outputs is not None
                embedding = outputs.embedding[row]
                if not np.isfinite(embedding).all():
                    reason = "the model returned a value that is not a number"
                    found.unread.append(Failed(item.path, "model", reason))
                    progress.failed += 1
                    continue
                progress.files += 1
                found.sha256.append(item.identity.sha256)
                found.labels.append(labels[item.path])
                rows.append(embedding)
            changed(progress)
    if not rows:
        first = "".join(f", the first: {each.path}: {each.reason}" for each in found.unread[:1])
        raise MaltriageError(f"none of the files could be read{first}")
    found.embeddings = np.stack(rows)
    return found
