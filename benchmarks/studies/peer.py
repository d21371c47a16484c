"""What tabular features of the PE headers reach on the folds of a cross-validation.

    python -m benchmarks.studies.peer RUN/out-of-fold.csv [MORE.csv ...] --features F.npz ...
        --out FOLDER
    maltriage evaluate --predictions FOLDER/net-seed-0.csv --against FOLDER/lightgbm-seed-0.csv

F.npz holds `sha256` and `features` (EMBER2024 features, version 3, n x 2568, as the
extractor of its authors gives them). Samples and folds are taken from the predictions of a
cross-validation, one file for each seed. LightGBM and extremely randomised trees are trained in
each fold. Files without features are left out, in training and test, and what the net said of
the others is written to `net-seed-N.csv`, to compare with.

In a public source of labelled byteplots the entry point is overwritten with a constant, which
nets do not see. `--without-entry` sets the three features that tell of it to zero, so that the
peer does not see it either. Needs the extra `bench`.

This is about how often a classifier of such features is right. How long the features and other
tools take over a file is measured by peers/peers.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maltriage.corpus.predictions import Predictions, load_predictions, save_predictions

Features = npt.NDArray[np.float32]

ENTRY_FEATURES = (701, 720, 2480)
"""AddressOfEntryPoint, whether there is one, and the warning that it lies outside the file."""
FLOOR = 1e-6
"""Least probability, so that a forest's zero has a logarithm."""


def lightgbm(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(
        n_estimators=200,
        learning_rate=0.05,
        min_child_samples=5,
        colsample_bytree=0.3,
        random_state=seed,
        n_jobs=2,
        verbose=-1,
    )


def extra_trees(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(500, random_state=seed, n_jobs=2)


MODELS: dict[str, Callable[[int], Any]] = {"lightgbm": lightgbm, "extra-trees": extra_trees}


def out_of_fold(name: str, features: Features, folds: Predictions) -> Predictions:
    """Train a model in each fold, and predict what the fold holds back."""
    logits = np.full((len(folds), len(folds.labels)), np.log(FLOOR))
    for fold in range(folds.folds):
        test = folds.fold == fold
        model = MODELS[name](folds.seed)
        model.fit(features[~test], folds.truth[~test])
        shares = model.predict_proba(features[test])
        logits[np.ix_(test, model.classes_)] = np.log(np.maximum(shares, FLOOR))
    return replace(folds, recipe=name, logits=logits)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--features", type=Path, nargs="+", required=True)
    parser.add_argument("folds", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--without-entry", action="store_true")
    arguments = parser.parse_args()
    parts = [np.load(path, allow_pickle=False) for path in arguments.features]
    digests = [digest for part in parts for digest in part["sha256"].tolist()]
    row = {digest: i for i, digest in enumerate(digests)}
    features = np.concatenate([part["features"] for part in parts])
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in arguments.folds:
        folds = load_predictions(path)
        known = np.array([digest in row for digest in folds.sha256])
        if not known.all():
            print(f"{path}: {(~known).sum()} files without features left out", file=sys.stderr)
        folds = folds.take(known & ~folds.added)
        save_predictions(folds, arguments.out / f"net-seed-{folds.seed}.csv")
        own = features[[row[digest] for digest in folds.sha256]]
        if arguments.without_entry:
            own[:, ENTRY_FEATURES] = 0.0
        for name in arguments.models:
            found = out_of_fold(name, own, folds)
            if arguments.without_entry:
                name += "-without-entry"
                found = replace(found, recipe=name)
            save_predictions(found, arguments.out / f"{name}-seed-{folds.seed}.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
