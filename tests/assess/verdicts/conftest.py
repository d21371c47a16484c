"""Files of three sources, and a run that held each back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from assess.verdicts.held_back import EACH, SOURCES, made

from maltriage.assess.verdicts.column_files import Files
from maltriage.corpus.predictions import VALIDATION_FILE, fold_folder, save_predictions


@pytest.fixture
def files() -> Files:
    """Clean files of two sources, and of a third malware; the last ten files have no source."""
    count = 3 * EACH + 10
    generator = np.random.default_rng(1)
    value = np.array([*np.repeat(SOURCES, EACH), *[""] * 10])
    malware = np.array(["_other"] * 5 + ["zbot"] * 15 + ["zeus"] * 20)
    label = np.array([*["benign"] * (2 * EACH), *malware, *["zeus"] * 10])
    even = np.arange(count) % 2 == 0
    return Files(
        "source",
        SOURCES,
        value,
        label,
        np.arange(count) // 2,
        {"all": np.ones(count, dtype=bool), "32-bit": even, "packed": np.zeros(count, dtype=bool)},
        tuple(bytes(generator.integers(0, 256, 32, dtype=np.uint8)).hex() for _ in range(count)),
        tuple(f"{i}.exe" for i in range(count)),
    )


@pytest.fixture
def run(files: Files, tmp_path: Path) -> Path:
    """A run by source: predictions of all, and the validation part of each fold."""
    whole = made(files, list(range(3 * EACH)), np.repeat(np.arange(3), EACH).tolist())
    save_predictions(whole, tmp_path / "out-of-fold.csv")
    for fold in range(3):
        elsewhere = [i for i in range(3 * EACH) if i // EACH != fold and i % 4 == 0]
        part = made(files, elsewhere, [fold] * len(elsewhere), offset=-1.0)
        fold_folder(tmp_path, fold).mkdir()
        save_predictions(part, fold_folder(tmp_path, fold) / VALIDATION_FILE)
    return tmp_path
