"""The tabular peer takes samples and folds from predictions, and writes predictions."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import peer
from maltriage.corpus.predictions import Predictions, load_predictions, save_predictions

needs_sklearn = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="needs scikit-learn"
)
COUNT = 60


def inputs(folder: Path) -> np.ndarray:
    """Predictions of 60 samples, the last six added; features of the others. Returns truth."""
    rng = np.random.default_rng(0)
    truth = np.arange(COUNT) % 3
    digests = tuple(f"{i:064x}" for i in range(COUNT))
    folds = Predictions(
        "net", 4, ("benign", "icedid", "maze"), digests, truth, np.arange(COUNT) // 3 % 5,
        np.arange(COUNT) >= COUNT - 6, np.zeros((COUNT, 3)),
    )  # fmt: skip
    save_predictions(folds, folder / "folds.csv")
    features = np.zeros((COUNT, 2568), dtype=np.float32)
    features[:, :3] = rng.normal(size=(COUNT, 3))
    features[:, 701] = truth  # the entry point gives the label away, and nothing else does
    order = rng.permutation(COUNT - 6)
    np.savez(folder / "features.npz", sha256=np.array(digests)[order], features=features[order])
    return truth


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the script in an empty folder, with a forest that is large enough for 60 samples."""
    real = peer.MODELS["extra-trees"]

    def forest(seed: int) -> object:
        return real(seed).set_params(n_estimators=100, n_jobs=1)

    def script(*arguments: str) -> int:
        command = ["peer.py", "folds.csv", "--features", "features.npz", "--models", "extra-trees"]
        command += arguments
        monkeypatch.setattr(sys, "argv", command)
        return peer.main()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(peer.MODELS, "extra-trees", forest)
    return script


@needs_sklearn
def test_it_runs_on_the_folds_it_is_given(run: Callable[..., int], tmp_path: Path) -> None:
    truth = inputs(tmp_path)
    for arguments in ((), ("--without-entry",)):
        assert run(*arguments) == 0
    found = load_predictions(tmp_path / "extra-trees-seed-4.csv")
    blind = load_predictions(tmp_path / "extra-trees-without-entry-seed-4.csv")
    assert len(found) == len(blind) == COUNT - 6
    assert (found.recipe, found.seed, found.folds) == ("extra-trees", 4, 5)
    assert blind.recipe == "extra-trees-without-entry"
    right, without = ((p.logits.argmax(axis=1) == truth[:-6]).mean() for p in (found, blind))
    assert right > without + 0.2


@needs_sklearn
def test_samples_without_features_are_named(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs(tmp_path)
    np.savez(tmp_path / "features.npz", sha256=np.array(["0" * 64]), features=np.zeros((1, 2568)))
    with pytest.raises(ValueError, match="0 sample"):  # one file is no training set
        run()
    assert "59 files without features left out" in capsys.readouterr().err
