"""Labels that are probably wrong, where which are is known."""

from __future__ import annotations

import numpy as np
import pytest

from maltriage.corpus.doubtful import doubtful
from maltriage.corpus.predictions import Predictions
from maltriage.errors import MaltriageError

LABELS = ("benign", "icarus", "zeus")


def predictions(
    truth: list[int], said: list[int], *, seed: int = 0, sure: float = 4.0, noise: float = 0.3
) -> Predictions:
    """Of a net that says `said` of files labelled `truth`."""
    count = len(truth)
    logits = np.random.default_rng(seed).normal(0.0, noise, (count, len(LABELS)))
    logits += sure * np.eye(len(LABELS))[said]
    return Predictions(
        "net",
        seed,
        LABELS,
        tuple(f"{i:064x}" for i in range(count)),
        np.array(truth),
        np.arange(count) % 5,
        np.zeros(count, dtype=np.bool_),
        logits,
    )


def test_swapped_labels_are_found_and_no_others() -> None:
    real = [i % 3 for i in range(300)]
    wrong = set(np.random.default_rng(1).choice(300, 15, replace=False).tolist())
    truth = [(label + 1) % 3 if i in wrong else label for i, label in enumerate(real)]
    found = doubtful([predictions(truth, real)])
    assert {int(doubt.sha256, 16) for doubt in found} == wrong
    for doubt in found:
        i = int(doubt.sha256, 16)
        assert (doubt.label, doubt.likelier) == (LABELS[truth[i]], LABELS[real[i]])
        assert doubt.likelier_probability > doubt.probability
    leads = [doubt.likelier_probability - doubt.probability for doubt in found]
    assert leads == sorted(leads, reverse=True)


def test_the_label_that_a_file_has_now_counts() -> None:
    """Files 0 to 3 are benign; when the nets were trained, 0 to 2 were labelled icarus."""
    real = [0, 0, 0, *(i % 3 for i in range(87))]
    run = predictions([1, 1, 1, *real[3:]], real)
    files = [f"{i:064x}" for i in range(4)]
    own = dict(zip(files, (["benign"], ["new"], ["icarus", "zeus"], ["zeus"]), strict=True))
    found = {doubt.sha256: doubt for doubt in doubtful([run], own)}
    told = {name: (doubt.label, doubt.likelier) for name, doubt in found.items()}
    assert told == {
        files[1]: ("new", "benign"),
        files[2]: ("icarus", "benign"),
        files[3]: ("zeus", "benign"),
    }
    assert found[files[1]].probability == 0
    assert 0 < found[files[3]].probability < 0.5


def test_an_unsure_net_doubts_nothing() -> None:
    unsure = predictions([0, 1, 2] * 40, [0] * 120, sure=0.2, noise=0.05)
    assert (unsure.logits.argmax(axis=1) == 0).sum() > 110
    assert doubtful([unsure]) == []


def test_seeds_are_averaged_in_any_order() -> None:
    real = [i % 3 for i in range(90)]
    truth = [1, *real[1:]]  # the first file is benign, and labelled icarus
    one, other = predictions(truth, real), predictions(truth, real, seed=1)
    back = np.arange(90)[::-1]
    turned = Predictions(
        "net",
        1,
        LABELS,
        tuple(other.sha256[i] for i in back),
        *(values[back] for values in (other.truth, other.fold, other.added, other.logits)),
    )
    assert doubtful([one, other]) == doubtful([one, turned])
    assert [doubt.sha256 for doubt in doubtful([one, turned])] == [f"{0:064x}"]


def test_seeds_of_other_files_are_refused() -> None:
    one = predictions([0, 1, 2] * 10, [0, 1, 2] * 10)
    with pytest.raises(MaltriageError, match="net, seed 1: predictions of other files"):
        doubtful([one, predictions([0, 1, 2] * 9, [0, 1, 2] * 9, seed=1)])
