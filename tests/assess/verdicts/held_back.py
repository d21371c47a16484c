"""Files of three sources, and what nets say of them that held one back."""

from __future__ import annotations

import numpy as np

from maltriage.assess.verdicts.column_files import Files
from maltriage.corpus.predictions import Predictions

LABELS = ("benign", "_other", "zbot", "zeus")
SOURCES = ("clean-a", "clean-b", "reports")
EACH = 40


def made(files: Files, at: list[int], fold: list[int], offset: float = 0.0) -> Predictions:
    generator = np.random.default_rng(len(at))
    place = {label: i for i, label in enumerate(LABELS)}
    truth = np.array([place[files.label[i]] for i in at])
    logits = generator.normal(size=(len(at), 4))
    logits[np.arange(len(at)), truth] += 2.5
    logits[:, 1:] += offset
    return Predictions(
        "net",
        0,
        LABELS,
        tuple(files.sha256[i] for i in at),
        truth,
        np.array(fold),
        np.zeros(len(at), dtype=bool),
        logits,
    )
