"""What a cross-validation says of its net beyond its weights: prediction sets and novelty."""

from __future__ import annotations

from pathlib import Path

from maltriage import bundle as bundles
from maltriage.assess.verdicts import calibrate, conformal, openset, scaling
from maltriage.bundle import Card


def add_sets(path: Path, predictions: Path) -> Card:
    """Put into a bundle what prediction sets and novelty are made of, unless it has them.

    Args:
        path: of the bundle, which is replaced.
        predictions: out of fold, of its cross-validation; its temperature is from them too.

    Raises:
        MaltriageError: they are of another run, or too few, or all of them are right.
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
