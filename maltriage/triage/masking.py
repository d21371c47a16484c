"""Computes a bundle's logits of a sample with some of its bytes masked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from maltriage.probe.mask import MaskedViews, Variant, masked
from maltriage.probe.prepare import Prepared, PrepareOptions
from maltriage.triage.session import Session
from maltriage.work.workers import Workers, reason_of

FIRST_VARIANTS, VARIANTS_AT_ONCE = 32, 128
"""Variants made in one call of a worker, while the net runs the ones before. The net waits for the
first."""


def run_masked(
    session: Session,
    workers: Workers,
    prepared: Prepared,
    variants: Sequence[Variant],
    options: PrepareOptions,
) -> npt.NDArray[np.float64]:
    """Logits of variants of a sample, which workers read and mask.

    Args:
        prepared: the sample; it must still be the same file.
        variants: the masks.
        options: that the sample was prepared with.

    Returns:
        Shape (V, K), centred as in the graph.

    Raises:
        SampleError: the file cannot be read again, or has changed.
    """
    later = range(FIRST_VARIANTS, len(variants), VARIANTS_AT_ONCE)
    starts = [0, *later] if variants else []
    tasks = [
        workers.submit(
            masked,
            prepared.path,
            prepared.identity.sha256,
            prepared.layout.anchors,
            options,
            variants[first:end],
        )
        for first, end in pairwise([*starts, len(variants)])
    ]
    logits = np.empty((len(variants), len(session.card.labels)))
    for first, task in zip(starts, tasks, strict=True):
        try:
            views: MaskedViews = task.result()
        except Exception as error:
            for other in tasks:
                if not other.running():  # cancelling one that runs would kill the worker
                    other.cancel()
            raise reason_of(error, workers.timeout) from error
        logits[first : first + len(views)] = session.logits(views.images, views.rows)
    return logits
