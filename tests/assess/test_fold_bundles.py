"""Which bundles of a cross-validation are those of a model's folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from maltriage import bundle as bundles
from maltriage.assess.held_back import fold_bundles
from maltriage.bundle import Bundle
from maltriage.corpus.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    fold_folder,
    save_predictions,
)
from maltriage.errors import MaltriageError


def guide(weights: str, kept: list[int], **changes: Any) -> dict[str, Any]:
    teacher = {"net": "evidence", "views": ["body"], "weights_sha256": weights}
    found = {"kept": {"body": kept}, "similarity": {"a": kept[0] / 10}}
    asked = {"kind": "cumulative", "keep": 0.5, "cam": "hirescam", "teachers": [teacher]}
    return asked | found | changes


def write(path: Path, recipe: dict[str, Any]) -> Bundle:
    """The default bundle as one of a run of one fold with another recipe."""
    default = bundles.load(bundles.resolve(None))
    training = msgspec.structs.replace(default.card.training, recipe=recipe, folds=1)
    card = msgspec.structs.replace(default.card, training=training)
    path.parent.mkdir(parents=True, exist_ok=True)
    bundles.with_card(default, card, path)
    return bundles.load(path)


def fold_of(run: Path, recipe: dict[str, Any]) -> None:
    folder = fold_folder(run, 0)
    labels = write(folder / "net.onnx", recipe).card.labels
    zero, new = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool)
    logits = np.zeros((1, len(labels)))
    found = Predictions("net", 0, labels, ("0" * 64,), zero, zero, new, logits)
    save_predictions(found, folder / PREDICTIONS_FILE)


def test_a_guided_fold_has_teachers_and_tokens_of_its_own(tmp_path: Path) -> None:
    model = write(tmp_path / "model.onnx", {"net": "camvit", "guide": guide("a" * 64, [1, 2])})
    fold_of(tmp_path / "run", {"net": "camvit", "guide": guide("b" * 64, [3, 4])})
    ((part, predictions),) = fold_bundles(tmp_path / "run", model)
    assert part.card.training.recipe["guide"]["kept"] == {"body": [3, 4]}
    assert len(predictions) == 1


def test_a_card_of_before_options_could_be_chosen(tmp_path: Path) -> None:
    early = {"net": "evidence", "epochs": 30}
    model = write(tmp_path / "model.onnx", early)
    fold_of(tmp_path / "run", {**early, "optimizer": "adamw", "augment": True, "patience": 0})
    assert len(fold_bundles(tmp_path / "run", model)) == 1
    fold_of(tmp_path / "other", {**early, "optimizer": "sgd", "augment": True, "patience": 0})
    with pytest.raises(MaltriageError, match="of other data or another recipe"):
        fold_bundles(tmp_path / "other", model)


@pytest.mark.parametrize(
    "other",
    [
        guide("a" * 64, [1, 2], keep=0.25),
        guide("a" * 64, [1, 2], kind="random"),
        guide("a" * 64, [1, 2], teachers=[]),
        None,
        "nonsense",
    ],
)
def test_another_guide_is_another_recipe(tmp_path: Path, other: Any) -> None:
    model = write(tmp_path / "model.onnx", {"net": "camvit", "guide": guide("a" * 64, [1, 2])})
    fold_of(tmp_path / "run", {"net": "camvit", "guide": other})
    with pytest.raises(MaltriageError, match="of other data or another recipe"):
        fold_bundles(tmp_path / "run", model)
