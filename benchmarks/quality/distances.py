"""Which distance between embeddings finds the family of a file most often.

    python -m benchmarks.quality.distances MODEL --root VX-MINI --goodware GOODWARE/train --folds
        RUN

Of every malware file that a fold of the run held back: whether the nearest, and whether one of the
five nearest, of the files that its net was trained on is of its family, by each distance. An
index uses `centred cosine`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maltriage import bundle as bundles
from maltriage.assess.held_back import fold_splits
from maltriage.assess.verdicts.recall import NEAREST, outputs_of
from maltriage.bundle import BENIGN
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus

Array = npt.NDArray[np.float64]
TINY = 1e-3
"""Of the largest standard deviation, added to all: a number that never changes tells nothing."""


def cosine(queries: Array, known: Array) -> Array:
    lengths = [np.linalg.norm(part, axis=1) for part in (queries, known)]
    product = np.outer(*lengths)
    return 1 - (queries @ known.T) / np.where(product > 0, product, 1)


def euclidean(queries: Array, known: Array) -> Array:
    squares = (queries**2).sum(axis=1)[:, None] + (known**2).sum(axis=1)[None]
    return np.asarray(squares - 2 * queries @ known.T)


def plain(embeddings: Array, logits: Array, known: int) -> Array:
    return embeddings


def centred(embeddings: Array, logits: Array, known: int) -> Array:
    return np.asarray(embeddings - embeddings[:known].mean(axis=0))


def standardised(embeddings: Array, logits: Array, known: int) -> Array:
    spread = embeddings[:known].std(axis=0)
    return np.asarray(centred(embeddings, logits, known) / (spread + TINY * spread.max()))


def by_logits(embeddings: Array, logits: Array, known: int) -> Array:
    return logits


Space = Callable[[Array, Array, int], Array]
DISTANCES: dict[str, tuple[Space, Callable[[Array, Array], Array]]] = {
    "centred cosine": (centred, cosine),
    "cosine": (plain, cosine),
    "cosine, standardised": (standardised, cosine),
    "cosine of logits": (by_logits, cosine),
    "Euclidean": (plain, euclidean),
    "Euclidean, standardised": (standardised, euclidean),
    "Euclidean of logits": (by_logits, euclidean),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--dataset", default="vx-zoo")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--goodware", type=Path)
    parser.add_argument("--folds", type=Path, required=True)
    arguments = parser.parse_args()
    bundle = bundles.load(bundles.resolve(arguments.model))
    data = open_dataset(arguments.dataset, arguments.root, goodware=arguments.goodware)
    corpus = load_corpus(data, bundle.card.views)
    label = np.array(corpus.labels)[corpus.label]
    hits: dict[str, list[npt.NDArray[np.bool_]]] = {name: [] for name in DISTANCES}
    for net, split in fold_splits(arguments.folds, bundle, corpus):
        known = np.flatnonzero(split.parts == "train")
        queries = np.flatnonzero((split.parts == "test") & (label != BENIGN))
        found = outputs_of(net, corpus, np.concatenate((known, queries)), "cpu")
        embeddings, logits = (part.astype(np.float64) for part in found)
        for name, (space, distance) in DISTANCES.items():
            points = space(embeddings, logits, len(known))
            apart = distance(points[len(known) :], points[: len(known)])
            nearest = label[known][np.argsort(apart, axis=1, kind="stable")[:, :NEAREST]]
            hits[name].append(nearest == label[queries][:, None])
    print(f"{'':24}  at 1   at {NEAREST}   of {sum(map(len, hits['cosine']))} files")
    for name, rows in hits.items():
        all_hits = np.concatenate(rows)
        print(f"{name:24}  {all_hits[:, 0].mean():.3f}  {all_hits.any(axis=1).mean():.3f}")


if __name__ == "__main__":
    main()
