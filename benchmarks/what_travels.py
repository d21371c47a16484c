"""Which features tell malware from clean programs where neither source was trained on.

    python benchmarks/what_travels.py VX-MINI WIDE --features FEATURES.npz [MORE.npz ...]

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


@dataclass(frozen=True)
class Table:
    """Files: features [n, 2568], whether each is malware, its source, and its page of code."""

    features: npt.NDArray[np.float32]
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


def read(folders: list[Path], features: list[Path]) -> Table:
    rows: dict[str, dict[str, str]] = {}
    for folder in folders:
        with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
            rows |= {row["sha256"]: row for row in csv.DictReader(file)}
    parts = [np.load(path, allow_pickle=False) for path in features]
    digests = np.concatenate([part["sha256"] for part in parts]).tolist()
    found = [rows[digest] for digest in digests]
    return Table(
        np.concatenate([part["features"] for part in parts]),
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


def columns(groups: tuple[str, ...]) -> npt.NDArray[np.intp]:
    ends = np.cumsum(list(SIZES.values()))
    starts = dict(zip(SIZES, ends - list(SIZES.values()), strict=True))
    return np.concatenate([np.arange(starts[g], starts[g] + SIZES[g]) for g in groups])


def _caught(scores: npt.NDArray[Any], malware: npt.NDArray[np.bool_], rate: float) -> float:
    return float((scores[malware] > np.quantile(scores[~malware], 1 - rate)).mean())


def measure(table: Table, groups: tuple[str, ...], model: str) -> str:
    from sklearn.metrics import roc_auc_score

    used = columns(groups)
    areas: list[float] = []
    caught: dict[str, list[tuple[float, float]]] = {}
    for source, test, train in table.pairs():
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
    parser.add_argument("--groups", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    table = read(options.folders, options.features)
    names, counts = np.unique(table.source, return_counts=True)
    each = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    print(f"{len(table.source)} files: {each}")
    for name in options.groups:
        for model in options.models:
            print(f"{name:22s} {model:9s} {measure(table, SETS[name], model)}", flush=True)


if __name__ == "__main__":
    main()
