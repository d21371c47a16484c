"""The samples that a fold's net in fewer bits takes its ranges from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from maltriage.assess.studies.quantization import _trained
from maltriage.corpus.predictions import Predictions
from maltriage.corpus.split_file import SplitFile, save_split

DIGESTS = ("a" * 64, "a" * 64, "b" * 64, "c" * 64, "d" * 64)
"""The first is there twice."""


def held_back(*digests: str) -> Predictions:
    count = len(digests)
    return Predictions(
        *("net", 0, ("benign", "zbot"), digests, np.zeros(count, dtype=np.int64)),
        *(np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_), np.zeros((count, 2))),
    )


def test_they_are_those_that_it_was_trained_on(tmp_path: Path) -> None:
    corpus: Any = SimpleNamespace(sha256=DIGESTS)
    split, held = tmp_path / "split.json", held_back("a" * 64, "a" * 64)
    assert _trained(split, corpus, held).tolist() == [2, 3, 4]  # no row of the file that is twice
    parts = ("test", "test", "val", "train", "later")
    save_split(
        SplitFile(
            kind="time",
            seed=0,
            fractions=(0.7, 0.1, 0.2),
            manifest_sha256="",
            leaks=0,
            samples=tuple(zip(DIGESTS, parts, strict=True)),
        ),
        split,
    )
    assert _trained(split, corpus, held).tolist() == [3]
