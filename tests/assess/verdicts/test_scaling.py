"""Temperatures: what they are fitted to, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from assess.planted import LABELS, plant, weights
from hostile.make import sample

from maltriage import bundle as bundles
from maltriage import metrics
from maltriage.assess.verdicts.scaling import Labelled, ask, fit, held_back
from maltriage.bundle import Bundle
from maltriage.corpus.predictions import Predictions, save_predictions
from maltriage.corpus.split_file import manifest_of
from maltriage.errors import MaltriageError
from maltriage.similar import index as indexes
from maltriage.similar import index_file
from maltriage.triage.options import ScanOptions

RIGHT, WRONG = 45, 15


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It calls every program icedid, and each with the same certainty."""
    folder = tmp_path_factory.mktemp("planted")
    return plant(folder / "planted.onnx", weights((0, 1, 1.0)))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Three of four are icedid."""
    folder = tmp_path_factory.mktemp("labelled")
    found = []
    for i in range(RIGHT + WRONG):
        path = folder / f"{i:02d}.exe"
        path.write_bytes(sample("console-x86.exe") + b"tail" * (i + 1))
        found.append((str(path), LABELS[i >= RIGHT]))
    return found


def drawn(count: int, scale: float, folds: int = 5) -> Predictions:
    """Samples whose labels are drawn from the probabilities of `logits / scale`."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(count, 4)) * 2
    shares = np.exp(metrics.log_softmax(logits))
    return Predictions(
        recipe="drawn",
        seed=0,
        labels=("benign", "a", "b", "c"),
        sha256=tuple(hashlib.sha256(b"%d" % i).hexdigest() for i in range(count)),
        truth=np.array([rng.choice(4, p=row) for row in shares]),
        fold=np.arange(count) % folds,
        added=np.zeros(count, dtype=bool),
        logits=logits * scale,
    )


def test_the_temperature_undoes_what_was_done_to_the_logits(bundle: Bundle) -> None:
    found, used = fit(bundle, drawn(4000, 2.5), None)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.on == "out-of-fold predictions of 4000 samples in 5 folds"
    assert found.ece.value < 0.03 < 0.1 < found.ece_before.value
    assert found.ece.low <= found.ece.value <= found.ece.high
    assert found.log_loss < found.log_loss_before
    assert (found.samples, found.folds, len(used)) == (4000, 5, 4000)


def test_samples_of_one_fold_are_dealt_anew(bundle: Bundle) -> None:
    found, _ = fit(bundle, drawn(400, 1.0, folds=1), None)
    assert found.folds == 5
    assert found.ece.value != found.ece_before.value


def test_labelled_files_give_the_odds_that_they_show(
    bundle: Bundle, samples: list[tuple[str, str]]
) -> None:
    """All have the same logits and three of four are right: the probability becomes 3/4."""
    unknown = [(samples[0][0], "not-a-family")]
    gone = [(samples[0][0] + ".gone", LABELS[0])]
    asked = ask([*samples, *unknown, *gone], bundle, ScanOptions())
    assert (len(asked.found), asked.unreadable) == (60, 1)
    assert asked.unknown_labels == {"not-a-family": 1}
    found, _ = fit(bundle, None, asked, "mine")
    assert found.on == "60 labelled files of mine"
    assert (found.samples, found.right, found.warnings) == (60, RIGHT, [])
    shares = np.exp(metrics.log_softmax(asked.found.logits / found.temperature))
    assert shares[:, 0] == pytest.approx(0.75, abs=1e-6)
    card = msgspec.structs.replace(bundle.card, temperature=found.temperature)
    again = ask(samples, msgspec.structs.replace(bundle, card=card), ScanOptions())
    gap = asked.found.logits[:, 0] - asked.found.logits[:, 1]
    assert again.found.logits[:, 0] - again.found.logits[:, 1] == pytest.approx(gap)


def test_both_sources_are_one(bundle: Bundle, samples: list[tuple[str, str]]) -> None:
    asked = ask(samples, bundle, ScanOptions())
    said = asked.found.take(np.arange(60) < 20)
    rest = ask(samples, bundle, ScanOptions(), trained_on=frozenset(said.sha256))
    assert (rest.left_out, len(rest.found)) == (20, 40)
    found, used = fit(bundle, said, rest, "mine")
    assert found.samples == len(set(used.sha256)) == 60
    assert found.left_out == 20
    assert found.on.endswith("and 40 labelled files of mine")
    with pytest.raises(MaltriageError, match="all of them are among the samples"):
        ask(samples, bundle, ScanOptions(), trained_on=frozenset(used.sha256))


def test_files_in_the_index_of_the_model_are_left_out(
    tmp_path: Path, samples: list[tuple[str, str]]
) -> None:
    """The index beside a bundle has its training files."""
    own = plant(tmp_path / "own.onnx", weights((0, 1, 1.0)))
    names = ask(samples, own, ScanOptions()).found.sha256

    def indexed(count: int) -> None:
        empty, vectors = indexes.empty(own), np.eye(count, dtype=np.float32)
        made = indexes.grown(empty, names[:count], [LABELS[0]] * count, vectors)
        index_file.write(made.index, tmp_path / "own.index.npz")

    indexed(5)
    asked = ask(samples, own, ScanOptions())
    assert (asked.in_index, len(asked.found)) == (5, 55)
    assert fit(own, None, asked)[0].in_index == 5
    indexed(20)
    few = ask(samples, own, ScanOptions())
    with pytest.raises(
        MaltriageError, match=r"^40 labelled .* \(20 more files left out: in the model's"
    ):
        fit(own, None, few)
    indexed(60)
    with pytest.raises(
        MaltriageError, match="60 files left out: in the model's index, usually of its train"
    ):
        ask(samples, own, ScanOptions())


def test_samples_that_say_nothing_of_a_temperature(
    bundle: Bundle, samples: list[tuple[str, str]]
) -> None:
    asked = ask(samples[:30], bundle, ScanOptions())
    with pytest.raises(MaltriageError, match="30 labelled samples: a temperature needs 50"):
        fit(bundle, None, asked)
    certain = [(path, LABELS[0]) for path, _ in samples]
    card = msgspec.structs.replace(bundle.card, metrics={})
    with pytest.raises(MaltriageError, match="right on 60 of 60 labelled samples and no"):
        fit(msgspec.structs.replace(bundle, card=card), None, ask(certain, bundle, ScanOptions()))
    found = drawn(400, 1.0)
    worse = dataclasses.replace(found, logits=-found.logits)
    with pytest.raises(MaltriageError, match="its probabilities are worse than equal ones"):
        fit(bundle, worse, None)
    with pytest.raises(MaltriageError, match="none has a label that the model knows"):
        ask([(samples[0][0], "other")], bundle, ScanOptions())
    with pytest.raises(MaltriageError, match="none could be read, the first"):
        ask([(samples[0][0] + ".gone", LABELS[0])], bundle, ScanOptions())


def test_logits_that_are_no_numbers_calibrate_nothing(
    tmp_path: Path, samples: list[tuple[str, str]]
) -> None:
    broken = plant(tmp_path / "nan.onnx", weights((0, 1, math.nan)), weights((0, 1, 1.0)))
    with pytest.raises(MaltriageError, match="value that is not a number"):
        ask(samples[:2], broken, ScanOptions())


def test_files_of_training_are_refused(bundle: Bundle, samples: list[tuple[str, str]]) -> None:
    asked = ask(samples, bundle, ScanOptions())
    pairs = zip(asked.found.sha256, (label for _, label in samples), strict=True)
    training = msgspec.structs.replace(
        bundle.card.training, manifest_sha256=manifest_of(pairs), samples=60, goodware_samples=0
    )
    card = msgspec.structs.replace(bundle.card, training=training)
    seen = ask(samples, msgspec.structs.replace(bundle, card=card), ScanOptions())
    assert (seen.trained, seen.as_many) == (True, True)
    with pytest.raises(MaltriageError, match="was trained on these labelled files"):
        fit(bundle, None, seen)


def test_files_that_the_model_knows_too_well(bundle: Bundle) -> None:
    """Right far more often than on what was held back: a warning, and where they are as many
    as the samples of training an error."""
    found = drawn(400, 1.0)
    guess = found.logits.argmax(axis=1)
    truth = np.where(np.arange(400) < 396, guess, found.truth)
    sure = msgspec.structs.replace(bundle.card, metrics={"test_accuracy": 0.8})
    knows = msgspec.structs.replace(bundle, card=sure)
    said = replace(found, truth=truth)
    warned, _ = fit(knows, None, Labelled(said), "mine")
    assert len(warned.warnings) == 1
    assert "but on only 80.0% of held-back files" in warned.warnings[0]
    assert warned.on == "400 labelled files of mine that may have been in training"
    with pytest.raises(MaltriageError, match="they are as many as it was trained on"):
        fit(knows, None, Labelled(said, as_many=True), "mine")


def test_predictions_must_be_those_of_the_model(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "out-of-fold.csv"
    save_predictions(replace(drawn(60, 1.0), recipe=bundle.card.name), path)
    with pytest.raises(MaltriageError, match="over other labels"):
        held_back(path, bundle)
    shipped = bundles.load(bundles.resolve(None))
    own = Predictions(
        shipped.card.name,
        0,
        shipped.card.labels,
        ("a" * 64,),
        np.array([0]),
        np.array([0]),
        np.array([False]),
        np.zeros((1, len(shipped.card.labels))),
    )
    save_predictions(own, path)
    with pytest.raises(MaltriageError, match="the samples are not those it was trained on"):
        held_back(path, shipped)
    training = msgspec.structs.replace(shipped.card.training, split="time")
    card = msgspec.structs.replace(shipped.card, training=training)
    with pytest.raises(MaltriageError, match="folds by time leave samples out"):
        held_back(path, msgspec.structs.replace(shipped, card=card))
    for other in (replace(own, recipe="densenet"), replace(own, seed=1)):
        save_predictions(other, path)
        with pytest.raises(MaltriageError, match=r"predictions of .*, seed ., not of maltriage-"):
            held_back(path, shipped)
    training = msgspec.structs.replace(
        shipped.card.training, manifest_sha256=manifest_of([("a" * 64, shipped.card.labels[0])])
    )
    card = msgspec.structs.replace(shipped.card, training=training)
    for name in ("", " float32", " int8", "-int8"):
        save_predictions(replace(own, recipe=f"maltriage-evidence{name}"), path)
        assert len(held_back(path, msgspec.structs.replace(shipped, card=card))) == 1
