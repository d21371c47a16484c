"""`maltriage.assess.verdicts.crossval`: what goes into the card of a cross-validated net."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from assess.planted import LABELS, plant, weights

from maltriage import bundle as bundles
from maltriage import metrics
from maltriage.assess.verdicts.calibrate import write
from maltriage.assess.verdicts.crossval import add_sets
from maltriage.corpus.predictions import Predictions, save_predictions
from maltriage.corpus.split_file import manifest_of
from maltriage.errors import MaltriageError


def drawn(count: int) -> Predictions:
    """Samples that are right as often as their logits say, halved."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(count, 2)) * 2
    shares = np.exp(metrics.log_softmax(logits))
    return Predictions(
        recipe="planted",
        seed=0,
        labels=LABELS,
        sha256=tuple(hashlib.sha256(b"%d" % i).hexdigest() for i in range(count)),
        truth=np.array([rng.choice(2, p=row) for row in shares]),
        fold=np.arange(count) % 5,
        added=np.zeros(count, dtype=bool),
        logits=logits * 2,
    )


def trained_on(path: Path, found: Predictions) -> bundles.Bundle:
    """A bundle whose card names these samples."""
    bundle = plant(path, weights((0, 1, 1.0)))
    names = (LABELS[label] for label in found.truth)
    manifest = manifest_of(zip(found.sha256, names, strict=True))
    training = msgspec.structs.replace(bundle.card.training, folds=5, manifest_sha256=manifest)
    write(bundle, path, training=training)
    return bundles.load(path)


def test_sets_and_novelty_of_a_cross_validation(tmp_path: Path) -> None:
    path, predictions, found = tmp_path / "a.onnx", tmp_path / "out-of-fold.csv", drawn(400)
    plain = trained_on(path, found)
    save_predictions(found, predictions)
    card = add_sets(path, predictions)
    assert card == bundles.load(path).card
    assert card.weights_sha256 == plain.card.weights_sha256
    assert card.temperature == pytest.approx(2.0, rel=0.3)
    assert card.conformal is not None
    assert card.conformal.temperature == card.temperature
    assert sum(card.conformal.counts.values()) == 400
    assert card.open_set is not None
    assert card.open_set.files == 400
    before = path.read_bytes()
    predictions.unlink()
    assert add_sets(path, predictions) == card  # it has them
    assert path.read_bytes() == before


def test_too_few_leave_the_bundle_as_it_is(tmp_path: Path) -> None:
    path, predictions, found = tmp_path / "a.onnx", tmp_path / "out-of-fold.csv", drawn(49)
    trained_on(path, found)
    save_predictions(found, predictions)
    before = path.read_bytes()
    with pytest.raises(MaltriageError, match="49 labelled samples"):
        add_sets(path, predictions)
    assert path.read_bytes() == before
