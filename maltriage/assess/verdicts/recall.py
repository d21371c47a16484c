"""Recall of the similarity search: family matches and distances of the nearest files.

Held-back files are compared with training files, since training files lie closer together in
their net's embeddings than any others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from maltriage.bundle import BENIGN, Bundle
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.split_file import SplitFile
from maltriage.corpus.splits import twins_in_training
from maltriage.errors import MaltriageError
from maltriage.metrics import Floats, Interval, Ints, bootstrap
from maltriage.report.documents.index import Limit
from maltriage.report.documents.recall import Band, LabelRecall, Recall
from maltriage.report.documents.record import ModelRef, finite
from maltriage.similar import index as indexes
from maltriage.similar.search import Searcher
from maltriage.triage.session import Device, Session

SHARE = 0.99
"""Share of held-back files whose nearest file is within the limit."""
MIN_HELD = 100
"""Fewest held-back files for a limit."""
NEAREST = 5
BATCH = 64
_PERCENTS = (50, 90, 95, 99)
_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 2.0)
"""Edges of the bands of distances; 2 is the largest distance."""


Net = tuple[Bundle, SplitFile]
"""A bundle and its split of the corpus."""


@dataclass(frozen=True)
class Found:
    """The nearest files of q held-back files, by one net or several."""

    truth: Ints
    """Labels of the held-back files as indices into those of the bundle, [q]."""
    nearest: Ints
    """Labels of the nearest files, [q, NEAREST], nearest first; -1: no further file."""
    distance: Floats
    """Distance of the nearest file, [q]."""
    classified: Ints
    """The net's top label, [q]."""
    known: Ints
    """Number of training files compared with, [nets]."""
    twins: Ints
    """Number of held-back files with a near or exact duplicate among those, [nets]."""


def find(
    nets: Sequence[Net],
    corpus: Corpus,
    device: Device = "auto",
    threads: int = 0,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Found:
    """Compare the held-back files of each net with its training files.

    Args:
        nets: with the same labels.
        corpus: with the views of the bundles.
        progress: called with the number of files done and the total.

    Raises:
        MaltriageError: no file was held back, or none has a label that the bundles know.
    """
    total = sum(int(np.isin(split.parts, ("train", "test")).sum()) for _, split in nets)
    done, found = 0, list[Found]()
    for net in nets:

        def tell(count: int, before: int = done) -> None:
            progress(before + count, total)

        one, count = _of_net(net, corpus, device, threads, tell)
        found.append(one)
        done += count
    together = Found(
        *(
            np.concatenate([getattr(one, name) for one in found])
            for name in ("truth", "nearest", "distance", "classified", "known", "twins")
        )
    )
    if not len(together.truth):
        raise MaltriageError("no file was held back, or none has a label that the model knows")
    return together


def _of_net(
    net: Net, corpus: Corpus, device: Device, threads: int, tell: Callable[[int], None]
) -> tuple[Found, int]:
    """The results of one net, and the number of files that it embedded."""
    bundle, parts = net[0], net[1].parts
    card = bundle.card
    number = {label: i for i, label in enumerate(card.labels)}
    truth = np.array([number.get(label, -1) for label in corpus.labels])[corpus.label]
    known = np.flatnonzero((parts == "train") & (truth >= 0))
    queries = np.flatnonzero((parts == "test") & (truth >= 0))
    rows = np.concatenate((known, queries))
    twins = np.array([twins_in_training(corpus, parts)[1]])
    if not len(known) or not len(queries):
        nothing = np.zeros(0, np.int64)
        none = np.zeros((0, NEAREST), np.int64)
        return Found(nothing, none, np.zeros(0), nothing, np.array([len(known)]), twins), len(rows)
    wide, logits = outputs_of(bundle, corpus, rows, device, threads, tell)
    names = [corpus.sha256[i] for i in known]
    labels = [card.labels[truth[i]] for i in known]
    index = indexes.grown(indexes.empty(bundle), names, labels, wide[: len(known)]).index
    searcher = Searcher(index)
    nearest = np.full((len(queries), NEAREST), -1)
    distance = np.full(len(queries), math.inf)
    for q, row in enumerate(searcher.distances(wide[len(known) :])):
        ranked = searcher.nearest(row, NEAREST)
        nearest[q, : len(ranked)] = [index.labels[i] for i, _ in ranked]
        distance[q] = ranked[0][1]
    classified = logits[len(known) :].argmax(axis=1)
    compared = np.array([len(index)])
    return Found(truth[queries], nearest, distance, classified, compared, twins), len(rows)


def outputs_of(
    bundle: Bundle,
    corpus: Corpus,
    rows: Ints,
    device: Device = "auto",
    threads: int = 0,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[indexes.Float32, indexes.Float32]:
    """Embeddings [n, D] and logits [n, K] of some samples of a corpus, by their numbers [n].

    Args:
        tell: called with the number of samples done.

    Raises:
        MaltriageError: an embedding is not a number.
    """
    session = Session(bundle, device, threads)
    embeddings, logits = list[indexes.Float32](), list[indexes.Float32]()
    for start in range(0, len(rows), BATCH):
        at = rows[start : start + BATCH]
        images = {view.name: corpus.pixels(view.name, at) for view in bundle.card.views}
        outputs = session.answer(images, [np.inf] * len(at))
        finite(float(outputs.embedding.sum()))
        embeddings.append(outputs.embedding)
        logits.append(outputs.logits)
        tell(start + len(at))
    return np.concatenate(embeddings), np.concatenate(logits)


def limit_of(found: Found, held: str) -> Limit | None:
    """The `SHARE` quantile of held-back files' distances to their nearest file.

    Args:
        held: the held-back files, in words.
    """
    if len(found.distance) < MIN_HELD:
        return None
    distance = float(np.quantile(found.distance, SHARE, method="higher"))
    share = float((found.distance <= distance).mean())
    return Limit(distance=distance, share=share, files=len(found.distance), measured_on=held)


def recall(found: Found, bundle: Bundle, held: str) -> Recall:
    """The figures of the similarity search.

    Args:
        bundle: the bundle of the labels.
        held: the held-back files, in words.

    Raises:
        MaltriageError: none of the held-back files is malware.
    """
    labels = bundle.card.labels
    at_1 = found.nearest[:, 0] == found.truth
    at_5 = (found.nearest == found.truth[:, None]).any(axis=1)
    classified = found.classified == found.truth
    benign = -1 if bundle.card.benign is None else bundle.card.benign
    bad = np.flatnonzero(found.truth != benign)
    if not len(bad):
        raise MaltriageError(f"no malware was held back, only {BENIGN} files")

    def over_malware(hits: npt.NDArray[np.bool_]) -> Interval:
        return bootstrap(lambda at: float(hits[bad][at].mean()), len(bad))

    rows = []
    for number in np.unique(found.truth):
        at = found.truth == number
        rows.append(
            LabelRecall(
                label=labels[number],
                files=int(at.sum()),
                at_1=float(at_1[at].mean()),
                at_5=float(at_5[at].mean()),
                classified=float(classified[at].mean()),
                median=float(np.median(found.distance[at])),
            )
        )
    return Recall(
        model=ModelRef(bundle.card.name, bundle.card.weights_sha256),
        distance=indexes.COSINE,
        held=held,
        nets=len(found.known),
        files=len(bad),
        indexed=round(float(found.known.mean())),
        near_twins=int(found.twins.sum()),
        at_1=over_malware(at_1),
        at_5=over_malware(at_5),
        classified=over_malware(classified),
        labels=rows,
        bands=_bands(found.distance[bad], at_1[bad]),
        distances={str(p): float(np.percentile(found.distance, p)) for p in _PERCENTS},
        limit=limit_of(found, held),
    )


def _bands(distance: Floats, hits: npt.NDArray[np.bool_]) -> list[Band]:
    bands = []
    for low, high in pairwise(_EDGES):
        at = (distance >= low) & ((distance < high) | (high == _EDGES[-1]))
        share = float(hits[at].mean()) if at.any() else None
        bands.append(Band(low=low, high=high, files=int(at.sum()), at_1=share))
    return bands
