"""The open-set protocol: detection of files of unknown families (strangers).

Each net is trained without one family. Its limit of novelty accepts a stated share of held-back
files of known labels. Reported are the share of strangers accepted, and how often a stranger
scores higher than a known file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np

from maltriage import metrics
from maltriage.assess.verdicts import quality
from maltriage.bundle import BENIGN, Bundle, OpenSet
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.report.documents.evaluation import NoveltyFigures
from maltriage.report.documents.openset import OpenSetReport, StrangerFigures
from maltriage.report.studies.openset import SCORES
from maltriage.similar.index import directions
from maltriage.triage.novelty import Novelty, centred, distances, energies, of_stats
from maltriage.triage.session import Device, Session

ACCEPTANCE = 0.95
"""Share of the files of known labels to accept."""
MIN_KNOWN = 20
"""Fewest files of known labels for a spread and a limit."""
MIN_RIGHT = 2
"""Fewest correctly classified files of a label for a mean."""
_BATCH = 64
_DIGITS = 4
"""Decimals of the means in a card: logits are some units."""


@dataclass(frozen=True)
class Asked:
    """Logits of each sample, [n, K], and its embedding, [n, D]."""

    logits: metrics.Floats
    embedding: metrics.Floats

    def nearest(self, reference: Asked) -> metrics.Floats:
        """Distance to the nearest reference sample in the embedding, as in an index."""
        centre = reference.embedding.mean(axis=0).astype(np.float32)
        cosines = directions(self.embedding, centre) @ directions(reference.embedding, centre).T
        return np.asarray(1.0 - cosines.max(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class LeftOut:
    """A net trained without the samples of one label.

    `reference` are its training samples and `known` the held-back samples of its labels, as rows
    of the corpus.
    """

    label: str
    bundle: Bundle
    reference: metrics.Ints
    known: metrics.Ints


def fit(
    logits: metrics.Floats,
    truth: metrics.Ints,
    labels: tuple[str, ...],
    source: str,
    acceptance: float = ACCEPTANCE,
) -> tuple[OpenSet, metrics.Floats]:
    """The statistics of novelty for a card, and the novelty of the given files, [n].

    No file is compared with itself: the mean of its own label is taken without it.

    Args:
        logits: out-of-fold logits of files of known labels, [n, K].
        truth: label of each, [n].
        source: the files, in words.
        acceptance: share of them up to the limit.

    Raises:
        MaltriageError: fewer than `MIN_KNOWN` files, or no label has `MIN_RIGHT` right ones.
    """
    if len(truth) < MIN_KNOWN:
        raise MaltriageError(
            f"{len(truth)} files of known labels, but a limit of novelty needs {MIN_KNOWN}"
        )
    wide = centred(logits)
    right = wide.argmax(axis=1) == truth
    counts = np.bincount(truth[right], minlength=len(labels))
    kept = np.flatnonzero(counts >= MIN_RIGHT)
    if not len(kept):
        raise MaltriageError("the model is right on no label, so novelty means nothing")
    means = np.array([wide[right & (truth == i)].mean(axis=0).round(_DIGITS) for i in kept])
    away = distances(wide, means)
    # The distance to a mean of n without the file itself is n / (n - 1) as large.
    place = np.full(len(labels), -1)
    place[kept] = np.arange(len(kept))
    own = np.flatnonzero(right & (place[truth] >= 0))
    n = counts[truth[own]]
    away[own, place[truth[own]]] *= n / (n - 1)
    energy, distance = energies(wide), away.min(axis=1)
    stats = OpenSet(
        means={labels[i]: tuple(mean.tolist()) for i, mean in zip(kept, means, strict=True)},
        energy_mean=float(energy.mean()),
        energy_sd=max(float(energy.std()), 1e-9),
        distance_mean=float(distance.mean()),
        distance_sd=max(float(distance.std()), 1e-9),
        limit=0.0,
        acceptance=acceptance,
        files=len(truth),
        source=source,
    )
    scores = of_stats(stats).combined(energy, distance)
    limit = np.sort(scores)[math.ceil(acceptance * len(scores) - 1e-9) - 1]
    return msgspec.structs.replace(stats, limit=float(limit)), scores


def from_predictions(found: Predictions, source: str) -> tuple[OpenSet, NoveltyFigures]:
    """The statistics of novelty from predictions, and figures of its limit; see `fit`."""
    stats, scores = fit(found.logits, found.truth, found.labels, source)
    guess, above = found.logits.argmax(axis=1), scores > stats.limit
    benign = found.labels.index(BENIGN) if BENIGN in found.labels else -1
    family, right = guess != benign, guess == found.truth
    return stats, NoveltyFigures(
        limit=stats.limit,
        acceptance=stats.acceptance,
        files=stats.files,
        above=int(above.sum()),
        families_above=int((above & family).sum()),
        families_above_right=int((above & family & right).sum()),
    )


def ask(session: Session, corpus: Corpus, rows: metrics.Ints) -> Asked:
    """A net's outputs on samples of a corpus with its views."""
    logits, embeddings = [], []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        images = {view.name: corpus.pixels(view.name, part) for view in session.card.views}
        found = session.answer(images, [np.inf] * len(part))
        logits.append(found.logits)
        embeddings.append(found.embedding)
    if not logits:
        raise MaltriageError("no samples for the net")
    return Asked(centred(np.concatenate(logits)), np.concatenate(embeddings).astype(np.float64))


def open_set(
    corpus: Corpus,
    nets: Iterable[LeftOut],
    strangers: dict[str, metrics.Ints],
    *,
    device: Device = "auto",
    threads: int = 0,
) -> OpenSetReport:
    """Figures of each net trained without one label.

    Args:
        corpus: all samples, with the views of the nets.
        nets: consumed one by one, so they may be trained meanwhile.
        strangers: rows of further samples that no net knows, by name; every net runs on them.

    Raises:
        MaltriageError: there are no nets, or one has too few known files.
    """
    families, others = list[StrangerFigures](), dict[str, list[StrangerFigures]]()
    first: LeftOut | None = None
    for net in nets:
        first = first or net
        session = Session(net.bundle, device, threads)
        reference = ask(session, corpus, net.reference)
        known = ask(session, corpus, net.known)
        labels = net.bundle.card.labels
        truth = np.array([labels.index(corpus.labels[i]) for i in corpus.label[net.known]])
        own = np.flatnonzero(corpus.label == corpus.labels.index(net.label))
        for name, rows in (*strangers.items(), (net.label, own)):
            said = ask(session, corpus, rows)
            found = _figures(name, known, truth, labels, said, reference)
            (families if rows is own else others.setdefault(name, [])).append(found)
    if first is None:
        raise MaltriageError("no nets: nothing was trained")
    training = first.bundle.card.training
    return OpenSetReport(
        net=first.bundle.card.net,
        dataset=training.dataset,
        epochs=training.epochs,
        views=[view.name for view in first.bundle.card.views],
        acceptance=ACCEPTANCE,
        auroc={name: quality.spread([row.auroc[name] for row in families]) for name in SCORES},
        called_known=quality.spread([row.called_known.value for row in families]),
        families=families,
        others=[_mean(name, rows) for name, rows in others.items()],
    )


def _figures(
    name: str,
    known: Asked,
    truth: metrics.Ints,
    labels: tuple[str, ...],
    stranger: Asked,
    reference: Asked,
) -> StrangerFigures:
    """Figures of strangers against known files with labels `truth`, [n]."""
    stats, scores = fit(known.logits, truth, labels, "", ACCEPTANCE)
    novelty = of_stats(stats)
    pairs = {
        "energy": (energies(known.logits), energies(stranger.logits)),
        "distance": _distances(novelty, known, scores, stranger),
        "novelty": (scores, novelty.score(stranger.logits)),
        "nearest": (known.nearest(reference), stranger.nearest(reference)),
    }
    positive = np.repeat([False, True], [len(scores), len(stranger.logits)])
    accepted = int((pairs["novelty"][1] <= stats.limit).sum())
    return StrangerFigures(
        name=name,
        files=len(stranger.logits),
        known=len(scores),
        auroc={key: metrics.auc(np.concatenate(pair), positive) for key, pair in pairs.items()},
        called_known=metrics.clopper_pearson(accepted, len(stranger.logits)),
    )


def _distances(
    novelty: Novelty, known: Asked, scores: metrics.Floats, stranger: Asked
) -> tuple[metrics.Floats, metrics.Floats]:
    """Distances to the nearest mean; known files without themselves, as in their score."""
    stats = novelty.stats
    left = scores - (energies(known.logits) - stats.energy_mean) / stats.energy_sd
    own = left * stats.distance_sd + stats.distance_mean
    return own, distances(stranger.logits, novelty.means).min(axis=1)


def _mean(name: str, rows: list[StrangerFigures]) -> StrangerFigures:
    """Mean figures of one set of strangers over all nets, with the interval of the mean share."""
    share = float(np.mean([row.called_known.value for row in rows]))
    return StrangerFigures(
        name=name,
        files=rows[0].files,
        known=round(float(np.mean([row.known for row in rows]))),
        auroc={key: float(np.mean([row.auroc[key] for row in rows])) for key in SCORES},
        called_known=metrics.clopper_pearson(round(share * rows[0].files), rows[0].files),
    )
