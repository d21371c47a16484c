"""The benchmark of temperature against vector scaling."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from maltriage import metrics
from maltriage.corpus.predictions import Predictions, save_predictions

pytest.importorskip("scipy", reason="the extra `train` is not installed")
from benchmarks.quality import scaling


def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their probabilities."""
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(count, 3)) * 2
    return logits, np.array([rng.choice(3, p=row) for row in np.exp(metrics.log_softmax(logits))])


def test_vector_scaling_undoes_what_no_temperature_can() -> None:
    logits, truth = drawn(3000)
    bent = logits * [0.5, 1.0, 2.0] + [0.0, 1.0, -1.0]
    fold = np.arange(3000) % 3
    best = metrics.log_loss(logits, truth)
    one = scaling.crossed(bent, truth, fold, scaling.temperature)
    each = scaling.crossed(bent, truth, fold, lambda x, y: scaling.vector(x, y, 0.0))
    assert metrics.log_loss(each, truth) == pytest.approx(best, abs=0.01)
    assert metrics.log_loss(one, truth) > best + 0.05
    held = scaling.crossed(bent, truth, fold, lambda x, y: scaling.vector(x, y, 1e6))
    assert held == pytest.approx(one, abs=1e-3)


def test_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, truth = drawn(120)
    save_predictions(
        Predictions(
            recipe="net",
            seed=0,
            labels=("benign", "icedid", "maze"),
            sha256=tuple(f"{i:064x}" for i in range(120)),
            truth=truth,
            fold=np.arange(120) % 3,
            added=np.zeros(120, dtype=bool),
            logits=logits,
        ),
        tmp_path / "a.csv",
    )
    monkeypatch.setattr(sys, "argv", ["scaling.py", str(tmp_path / "a.csv")])
    scaling.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| net, seed 0, 120 samples |")
    assert [line.split(" | ")[0] for line in lines[2:7]] == [
        *(
            "| none",
            "| temperature",
            "| vector, pull 0",
            "| vector, pull 0.01",
            "| vector, pull 0.1",
        )
    ]
    assert "+0.0000 (+0.0000 to +0.0000)" in lines[3]
