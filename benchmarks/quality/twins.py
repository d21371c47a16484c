"""What near duplicates are at other distances, and what they would be by other windows.

    python -m benchmarks.quality.twins ROOT [--dataset NAME]

Prints two tables for a dataset: groups of near duplicates (see `corpus.twins`) by each rule
alone and at other distances, with the test samples of random splits that have one in training; and
for each window, the test samples of grouped splits that have the same window in training. Means of
20 seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maltriage.corpus import splits
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.twins import MIN_ENTRY_BYTES, MIN_ENTRY_VALUES, near_twins
from maltriage.sample.views import WINDOWS

Integers = npt.NDArray[np.int64]

SEEDS = range(20)
DISTANCES = (1, 2, 4, 6, 8, 10, 16)
EQUAL = 1e-4


def figures(corpus: Corpus, groups: Integers) -> str:
    """Groups, samples in those of two or more, the largest, those of several labels, and the
    test samples of random splits that have a twin in training."""
    sizes = np.bincount(groups)
    many = np.flatnonzero(sizes > 1)
    mixed = sum(len(np.unique(corpus.label[groups == group])) > 1 for group in many)
    alone = np.arange(len(corpus))
    found = [splits.leaks(groups, splits.split(alone, corpus.label, seed=seed)) for seed in SEEDS]
    return (
        f"{len(sizes):6d} {sizes[many].sum():8d} {sizes.max():8d} {mixed:6d}"
        f" {np.mean(found):8.1f} ({min(found)} to {max(found)})"
    )


def same_window(corpus: Corpus, window: str) -> Integers:
    """Groups of samples with the same bytes in a window, those that say nothing left alone."""
    keys = list[str]()
    for i in range(len(corpus)):
        data = corpus.arrays[window][i][: corpus.present[window][i]]
        trivial = len(data) < MIN_ENTRY_BYTES or len(np.unique(data)) < MIN_ENTRY_VALUES
        keys.append(str(i) if trivial else hashlib.sha256(data.tobytes()).hexdigest())
    return np.unique(keys, return_inverse=True)[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--dataset", default="folder")
    arguments = parser.parse_args()
    windows = tuple(spec for spec in WINDOWS if not spec.fixed)
    corpus = load_corpus(open_dataset(arguments.dataset, arguments.root), windows)
    signs = corpus.signs
    without = replace(signs, entry=("",) * len(corpus))
    rules = {
        "bytes, equal planes": near_twins(without, EQUAL),
        "planes below 4, no entry": near_twins(without, 4),
        "entry, equal planes": near_twins(signs, EQUAL),
        **{f"entry, planes below {d}": near_twins(signs, d) for d in DISTANCES},
    }
    lost = sum(not entry for entry in signs.entry)
    print(f"{len(corpus)} samples, {lost} without an entry point that says something\n")
    print(f"{'rule':26s} groups in twins  largest  mixed  random test twins")
    for name, groups in rules.items():
        print(f"{name:26s} {figures(corpus, groups)}")
    print(f"\n{'the same window':26s} samples  grouped test samples with it in training")
    groups = near_twins(signs)
    parts = [splits.split(groups, corpus.label, seed=seed) for seed in SEEDS]
    for spec in windows:
        same = same_window(corpus, spec.name)
        sizes = np.bincount(same)
        left = np.mean([splits.leaks(same, part) for part in parts])
        print(f"{spec.name:26s} {sizes[sizes > 1].sum():7d} {left:8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
