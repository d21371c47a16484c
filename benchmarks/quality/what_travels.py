"""Which features tell malware from clean programs where neither source was trained on.

    python -m benchmarks.quality.what_travels VX-MINI WIDE --features FEATURES.npz [MORE.npz ...]

VX-MINI and WIDE are folders with a `manifest.csv` that names the `source` of each file; a feature
file holds `sha256`, `family` and `features` (EMBER2024 features, version 3, n x 2568). For each
pair of a malware source and a clean source, a model is trained on all other files, without those
that share a page of code with them, and tested on the pair. Printed for each group of features and
each model: AUROC (mean and worst of the pairs), and the share of malware above the score that 1.5
or 5 % of the pair's clean files reach. That score is taken from the test files: it says how well
they are ordered, not what a threshold keeps. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SIZES = {
    "general": 7, "histogram": 256, "entropy": 256, "strings": 177, "header": 74, "sections": 224,
    "imports": 1282, "exports": 129, "directories": 34, "rich": 33, "signature": 8, "warnings": 88,
}  # fmt: skip
"""Groups of EMBER2024 features, version 3, in their order."""
CONTENT = ("histogram", "entropy", "strings", "imports", "rich")
SETS = {
    "all": tuple(SIZES),
    "header fields": ("header",),
    "bytes": ("histogram", "entropy"),
    "bytes, strings": ("histogram", "entropy", "strings"),
    "content": CONTENT,
    "content, directories": (*CONTENT, "directories"),
    "content, sections": (*CONTENT, "sections"),
}
PACKED = "clean-packed"
"""A clean source that is always trained on: packers are not what is asked about."""
QUANTILES, KNOTS = 64, 4


OWN = ("words", "bytes by entropy", "words, bytes by entropy")
"""What the net's own counted views show, told apart by logistic regression."""


@dataclass(frozen=True)
class Table:
    """Files: features [n, 2568], whether each is malware, its source, and its page of code.

    `words` are the buckets of each file's words, `shares` [n, 256] its bytes by entropy.
    """

    features: npt.NDArray[np.float32]
    words: list[npt.NDArray[np.int64]]
    shares: npt.NDArray[np.float64]
    malware: npt.NDArray[np.bool_]
    source: npt.NDArray[np.str_]
    code: npt.NDArray[np.str_]

    def pairs(self) -> Iterator[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
        """The malware source of each pair, its test files and its training files."""
        names = sorted({*self.source.tolist()})
        bad = [name for name in names if self.malware[self.source == name].all()]
        clean = [n for n in names if n != PACKED and not self.malware[self.source == n].any()]
        for one, other in product(bad, clean):
            test = np.isin(self.source, (one, other))
            yield one, test, ~test & ~np.isin(self.code, self.code[test])


def counted(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Buckets of the words of a byteplot, and its bytes by entropy."""
    from PIL import Image

    from maltriage.sample.byteplot import plotted
    from maltriage.sample.views.counted import plot_entropy, plot_words

    with Image.open(path) as picture:
        raw = plotted(np.asarray(picture).tobytes())
    low, middle, high = plot_words(raw, 2048).pixels.astype(np.int64)
    level, *nibbles = plot_entropy(raw, 256).pixels.astype(np.float64)
    shares = np.zeros((17, 16))
    np.add.at(shares, level.astype(np.int64), np.stack(nibbles, axis=1))
    flat = shares[1:].ravel()
    return (low | middle << 8)[high > 0], flat / max(1.0, flat.sum())


def read(folders: list[Path], features: list[Path]) -> Table:
    rows: dict[str, dict[str, str]] = {}
    places: dict[str, Path] = {}
    for folder in folders:
        with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
            listed = {row["sha256"]: row for row in csv.DictReader(file)}
        rows |= listed
        places |= {digest: folder / row["path"] for digest, row in listed.items()}
    parts = [np.load(path, allow_pickle=False) for path in features]
    digests = np.concatenate([part["sha256"] for part in parts]).tolist()
    found = [rows[digest] for digest in digests]
    own = [counted(places[digest]) for digest in digests]
    return Table(
        np.concatenate([part["features"] for part in parts]),
        [words for words, _ in own],
        np.stack([shares for _, shares in own]),
        np.concatenate([part["family"] for part in parts]) != "benign",
        np.array([row["source"] for row in found]),
        np.array([row.get("code_group") or row["sha256"] for row in found]),
    )


def _linear() -> Any:
    """Additive, and linear in the rank of each feature."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    ranks = QuantileTransformer(n_quantiles=QUANTILES)
    return make_pipeline(ranks, LogisticRegression(C=0.05, max_iter=300))


def _additive() -> Any:
    """Additive, and linear in pieces of the rank of each feature."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, SplineTransformer

    ranks = QuantileTransformer(n_quantiles=QUANTILES)
    pieces = SplineTransformer(n_knots=KNOTS, degree=1, include_bias=False)
    return make_pipeline(ranks, pieces, LogisticRegression(C=0.01, max_iter=200))


def _trees() -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(300, min_samples_leaf=2, random_state=0, n_jobs=2)


MODELS: dict[str, Callable[[], Any]] = {"linear": _linear, "additive": _additive, "trees": _trees}


def own_scores(
    table: Table, name: str, train: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Scores by what the net's own views show: each word, and pieces of the rank of each share."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, SplineTransformer

    blocks = []
    if "words" in name:
        count = np.array([len(words) for words in table.words])
        each = np.repeat(np.maximum(count, 4.0) ** -0.5, count)
        ends = np.concatenate(([0], count.cumsum()))
        blocks.append(csr_matrix((each, np.concatenate(table.words), ends), (len(count), 1 << 16)))
    if "entropy" in name:
        ranks = QuantileTransformer(n_quantiles=QUANTILES)
        pieces = SplineTransformer(n_knots=KNOTS, degree=1, include_bias=False)
        made = make_pipeline(ranks, pieces).fit(table.shares[train]).transform(table.shares)
        blocks.append(csr_matrix(made / 10.0))  # a hundredth of the words' variance
    seen = hstack(blocks).tocsr()
    fitted = LogisticRegression(C=1.0, max_iter=300).fit(seen[train], table.malware[train])
    return np.asarray(fitted.decision_function(seen[test]))


def columns(groups: tuple[str, ...]) -> npt.NDArray[np.intp]:
    ends = np.cumsum(list(SIZES.values()))
    starts = dict(zip(SIZES, ends - list(SIZES.values()), strict=True))
    return np.concatenate([np.arange(starts[g], starts[g] + SIZES[g]) for g in groups])


def _caught(scores: npt.NDArray[Any], malware: npt.NDArray[np.bool_], rate: float) -> float:
    return float((scores[malware] > np.quantile(scores[~malware], 1 - rate)).mean())


def measure(table: Table, name: str, model: str) -> str:
    from sklearn.metrics import roc_auc_score

    used = columns(SETS.get(name, ()) or ("histogram",))
    areas: list[float] = []
    caught: dict[str, list[tuple[float, float]]] = {}
    for source, test, train in table.pairs():
        if name in OWN:
            scores = own_scores(table, name, train, test)
        else:
            fitted = MODELS[model]().fit(table.features[train][:, used], table.malware[train])
            scores = fitted.predict_proba(table.features[test][:, used])[:, 1]
        malware = table.malware[test]
        areas.append(roc_auc_score(malware, scores))
        shares = _caught(scores, malware, 0.015), _caught(scores, malware, 0.05)
        caught.setdefault(source, []).append(shares)
    means = {source: np.mean(shares, axis=0) for source, shares in caught.items()}
    each = ", ".join(f"{source} {a:.2f} {b:.2f}" for source, (a, b) in means.items())
    return f"AUROC {np.mean(areas):.3f}, worst {min(areas):.3f}; caught at 1.5 and 5 %: {each}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--features", type=Path, nargs="+", required=True)
    parser.add_argument("--groups", nargs="+", choices=(*SETS, *OWN), default=[*SETS, *OWN])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    table = read(options.folders, options.features)
    names, counts = np.unique(table.source, return_counts=True)
    each = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    print(f"{len(table.source)} files: {each}")
    for name in options.groups:
        for model in ("additive",) if name in OWN else options.models:
            print(f"{name:23s} {model:9s} {measure(table, name, model)}", flush=True)


if __name__ == "__main__":
    main()
