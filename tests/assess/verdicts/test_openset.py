"""How well strangers are told, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from maltriage import metrics
from maltriage.assess.verdicts.openset import Asked, _figures, fit, from_predictions
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError
from maltriage.triage.novelty import centred, energies, of_stats

LABELS = ("benign", "icedid", "maze")


def asked(truth: metrics.Ints, height: float, seed: int) -> Asked:
    """Samples whose logits rise to a height at their label, and embeddings that say nothing."""
    rng = np.random.default_rng(seed)
    logits = height * np.eye(3)[truth] + rng.normal(0, 0.4, (len(truth), 3))
    return Asked(centred(logits), rng.normal(0, 1, (len(truth), 4)))


TRUTH = np.arange(400) % 3
KNOWN, REFERENCE = asked(TRUTH, 6.0, 1), asked(TRUTH, 8.0, 0)


def figures(stranger: Asked) -> tuple[dict[str, float], metrics.Interval]:
    found = _figures("x", KNOWN, TRUTH, LABELS, stranger, REFERENCE)
    assert (found.files, found.known) == (len(stranger.logits), 400)
    return found.auroc, found.called_known


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 1.0])
def test_a_limit_accepts_the_share_that_was_asked_for(share: float) -> None:
    stats, scores = fit(KNOWN.logits, TRUTH, LABELS, "a test", share)
    assert share <= (scores <= stats.limit).mean() <= share + 0.01
    assert (stats.files, stats.source, stats.acceptance) == (400, "a test", share)
    assert stats.means["maze"] == pytest.approx((-2.0, -2.0, 4.0), abs=0.2)


def test_no_file_is_held_against_itself() -> None:
    """Two files of a label: each has the other one for its mean."""
    truth = np.repeat([0, 1, 2], [40, 2, 40])
    logits = asked(truth, 6.0, 3).logits.copy()
    logits[40], logits[41] = (-2.0, 4.0, -2.0), (-2.0, 5.0, -3.0)
    stats, scores = fit(logits, truth, LABELS, "")
    away = np.linalg.norm(centred(logits[40]) - centred(logits[41]))
    energy = (energies(logits[40]) - stats.energy_mean) / stats.energy_sd
    expected = energy + (away - stats.distance_mean) / stats.distance_sd
    assert scores[40] == pytest.approx(expected, abs=1e-3)
    assert of_stats(stats).score(logits[40]) < scores[40]


def test_a_label_that_the_net_is_never_right_on_has_no_mean() -> None:
    logits = KNOWN.logits.copy()
    logits[TRUTH == 1] = logits[TRUTH == 1][:, [1, 0, 2]]
    assert set(fit(logits, TRUTH, LABELS, "")[0].means) == {"benign", "maze"}
    with pytest.raises(MaltriageError, match="right on"):
        fit(np.roll(KNOWN.logits, 1, axis=1), TRUTH, LABELS, "")
    with pytest.raises(MaltriageError, match="needs 20"):
        fit(KNOWN.logits[:19], TRUTH[:19], LABELS, "")


def test_more_of_the_same_are_no_strangers() -> None:
    areas, called = figures(asked(TRUTH, 6.0, 2))
    for area in areas.values():
        assert 0.42 < area < 0.58
    assert called.low - 0.02 < 0.95 < called.high + 0.02


def test_what_novelty_tells() -> None:
    areas, called = figures(asked(TRUTH, 1.0, 4))  # no label gets much
    assert min(areas["energy"], areas["novelty"]) > 0.99
    assert called.value < 0.05
    two = asked(TRUTH, 0.0, 5).logits + np.array([5.0, 5.0, -10.0])  # as high, but two at once
    areas, called = figures(Asked(centred(two), KNOWN.embedding))
    assert areas["energy"] < 0.2
    assert areas["distance"] > 0.99
    assert 0.4 < areas["nearest"] < 0.6


def test_what_a_limit_does_to_its_own_files() -> None:
    zeros = np.zeros(len(TRUTH), dtype=np.int64)
    sha256 = tuple(f"{i:064x}" for i in TRUTH)
    added = zeros.astype(np.bool_)
    found = Predictions("net", 0, LABELS, sha256, TRUTH, zeros, added, KNOWN.logits)
    stats, said = from_predictions(found, "a test")
    assert (said.files, said.limit, said.acceptance) == (400, stats.limit, 0.95)
    assert said.above == 20
    assert said.families_above_right == said.families_above <= 20
