"""Adds prediction sets and novelty to a bundle, from its cross-validation."""

from __future__ import annotations

from pathlib import Path

from maltriage import bundle as bundles
from maltriage.assess.verdicts import calibrate, conformal, openset, scaling
from maltriage.bundle import Card


def add_sets(path: Path, predictions: Path) -> Card:
    """Add the fields for prediction sets and novelty to a bundle's card, unless it has them.

    Args:
        path: of the bundle, which is replaced.
        predictions: of its cross-validation, out of fold; they give its temperature too.

    Raises:
        MaltriageError: the predictions are of another run, too few, or all right.
    """
    bundle = bundles.load(path)
    card = bundle.card
    if card.conformal is not None and card.open_set is not None:
        return card
    found, samples = scaling.fit(bundle, scaling.held_back(predictions, bundle), None)
    scores, _ = conformal.fit(samples, found.temperature, found.on)
    novel, _ = openset.from_predictions(samples, found.on)
    changes = {"temperature": found.temperature, "calibrated_on": found.on}
    return calibrate.write(bundle, path, **changes, conformal=scores, open_set=novel)
