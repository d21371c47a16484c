"""Cross-validation: every sample is held back once, and the card says what came of it."""

from __future__ import annotations

import dataclasses
import functools
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from learn.conftest import NARROW, narrow  # noqa: E402

from maltriage import metrics  # noqa: E402
from maltriage.bundle import load  # noqa: E402
from maltriage.corpus import split_file  # noqa: E402
from maltriage.corpus.corpus import Corpus  # noqa: E402
from maltriage.corpus.predictions import (  # noqa: E402
    OUT_OF_FOLD_FILE,
    fold_folder,
    load_predictions,
)
from maltriage.corpus.split_file import load_split  # noqa: E402
from maltriage.corpus.splits import check_folds, folds, groups_of, make_fold  # noqa: E402
from maltriage.errors import MaltriageError  # noqa: E402
from maltriage.files.lock import locked  # noqa: E402
from maltriage.learn.fit.recipe import FitOptions  # noqa: E402
from maltriage.learn.runs.crossval import (  # noqa: E402
    FoldTick,
    calibration,
    cross_validate,
    train_fold,
)
from maltriage.learn.runs.options import RunOptions  # noqa: E402
from maltriage.learn.runs.run_folder import LOCK  # noqa: E402
from maltriage.learn.runs.train import Outcome, train  # noqa: E402

K = 3


@pytest.fixture(scope="module")
def corpus(corpus: Corpus) -> Corpus:
    return narrow(corpus, "body")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    folder = tmp_path_factory.mktemp("runs") / "crossed"
    return RunOptions(folder, "tiny", FitOptions(**NARROW), folds=K)


@pytest.fixture(scope="module")
def outcome(corpus: Corpus, options: RunOptions) -> Outcome:
    """A cross-validation of which another process has trained a fold before."""
    train_fold(corpus, options, 1)
    return cross_validate(corpus, options)


def test_every_sample_is_held_back_once(
    outcome: Outcome, options: RunOptions, corpus: Corpus
) -> None:
    found = load_predictions(options.folder / "out-of-fold.csv")
    assert sorted(found.sha256) == sorted(corpus.sha256)
    dealt = folds(groups_of(corpus, "grouped"), corpus.label, K)
    place = {digest: i for i, digest in enumerate(corpus.sha256)}
    for digest, fold, truth in zip(found.sha256, found.fold, found.truth, strict=True):
        assert dealt[place[digest]] == fold
        assert corpus.label[place[digest]] == truth
    for fold in range(K):
        parts = load_split(options.folder / f"fold-{fold}" / "split.json", corpus.sha256)
        np.testing.assert_array_equal(parts == "test", dealt == fold)
        assert not (parts == "val").any()
        # Nothing says which epoch was best, so none is kept as such.
        assert not (options.folder / f"fold-{fold}" / "best.safetensors").exists()


def test_the_net_that_ships_has_seen_all_and_its_figures_are_out_of_fold(
    outcome: Outcome, options: RunOptions, corpus: Corpus
) -> None:
    assert outcome.bundle == options.folder / "tiny.onnx"
    card = load(outcome.bundle).card
    parts = load_split(options.folder / "split.json", corpus.sha256)
    assert (parts == "train").all()
    found = load_predictions(options.folder / "out-of-fold.csv")
    assert card.training.folds == K
    assert card.calibrated_on == f"out-of-fold predictions of 36 samples in {K} folds"
    assert card.temperature == metrics.temperature(found.logits, found.truth)
    guess = found.logits.argmax(axis=1)
    assert card.metrics["out_of_fold_samples"] == 36
    assert card.metrics["out_of_fold_accuracy"] == metrics.accuracy(found.truth, guess)
    assert card.metrics["out_of_fold_macro_f1"] == metrics.macro_f1(found.truth, guess, 3)
    assert sum(card.training.malware_kinds.values()) <= int((corpus.label != 0).sum())


def test_added_clean_files_are_in_no_figure(outcome: Outcome, options: RunOptions) -> None:
    found = load_predictions(options.folder / "out-of-fold.csv")
    divided = [split_file.load(options.folder / f"fold-{fold}" / "split.json") for fold in range(K)]
    marked = dataclasses.replace(found, added=np.arange(len(found)) % 4 == 0)
    own = marked.take(~marked.added)
    figures = calibration(marked, divided).metrics
    assert figures["out_of_fold_samples"] == len(own)
    error = metrics.fold_calibration_error(own.logits, own.truth, own.fold)
    assert figures["out_of_fold_ece"] == error
    assert error != metrics.fold_calibration_error(found.logits, found.truth, found.fold)


def test_what_is_whole_is_not_trained_again(
    outcome: Outcome, options: RunOptions, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in options.folder.rglob("*.onnx")}
    assert len(stamps) == K + 1
    ticks = list[FoldTick]()
    again = cross_validate(corpus, options, progress=ticks.append)
    assert ticks == []
    assert again.card == outcome.card
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_an_interruption_goes_on(
    outcome: Outcome, options: RunOptions, corpus: Corpus, tmp_path: Path
) -> None:
    stopped = dataclasses.replace(options, folder=tmp_path / "run")
    ticks = list[FoldTick]()
    first = cross_validate(corpus, stopped, progress=ticks.append, stop=lambda: ticks[-1].run == 1)
    assert first.bundle is None
    assert {tick.run for tick in ticks} == {0, 1}
    ticks.clear()
    second = cross_validate(corpus, stopped, progress=ticks.append)
    assert second.bundle is not None
    assert {tick.run for tick in ticks} == {1, 2, K}
    assert outcome.card is not None
    assert second.card is not None
    assert second.card.weights_sha256 == outcome.card.weights_sha256
    text = (stopped.folder / OUT_OF_FOLD_FILE).read_bytes()
    assert text == (options.folder / OUT_OF_FOLD_FILE).read_bytes()


@pytest.mark.parametrize("busy", [0, 2])
def test_a_run_that_another_process_trains_is_waited_for(
    corpus: Corpus, tmp_path: Path, busy: int
) -> None:
    """The first of two folds, or the net on every sample; the other process then dies."""
    options = RunOptions(tmp_path / "run", "tiny", FitOptions(**NARROW), folds=2)
    folder = options.folder if busy == 2 else fold_folder(options.folder, busy)
    ticks, told = list[int](), list[int]()
    with ExitStack() as other:
        assert other.enter_context(locked(folder / LOCK))

        def waiting(fold: int) -> None:
            assert set(ticks) == {1}
            told.append(fold)
            other.close()

        if busy == 2:
            train_fold(corpus, options, 0)  # only what is after it counts
        found = cross_validate(
            corpus,
            options,
            progress=lambda tick: ticks.append(tick.run),
            waiting=waiting,
        )
    assert found is not None
    assert found.bundle is not None
    assert told == [busy]
    assert list(dict.fromkeys(ticks)) == ([1, 2] if busy == 2 else [1, 0, 2])


@pytest.mark.parametrize("busy", [0, 2])
def test_a_wait_is_interrupted(corpus: Corpus, tmp_path: Path, busy: int) -> None:
    run = RunOptions(tmp_path / "run", "tiny", FitOptions(**NARROW), folds=2)
    told = list[int]()
    folders = [run.folder] if busy == 2 else [fold_folder(run.folder, i) for i in range(2)]
    with ExitStack() as other:
        for folder in folders:
            assert other.enter_context(locked(folder / LOCK))
        assert cross_validate(corpus, run, waiting=told.append, stop=lambda: bool(told)) is None
    assert told == [busy]


def test_a_fold_of_another_recipe_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    options = RunOptions(tmp_path, "tiny", FitOptions(**NARROW), folds=2)
    train_fold(corpus, options, 0)
    other = dataclasses.replace(options, fit=FitOptions(**{**NARROW, "epochs": 3}))
    with pytest.raises(MaltriageError, match="epochs 2 instead of 3"):
        cross_validate(corpus, other)


def test_the_run_of_another_net_is_refused_before_any_fold(corpus: Corpus, tmp_path: Path) -> None:
    plain = RunOptions(tmp_path, "tiny", FitOptions(**NARROW))
    train(corpus, plain, stop=lambda: True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    folds = dataclasses.replace(plain, folds=2)
    words = r"last\.safetensors: a checkpoint of another run: folds 0 instead of 2$"
    for of_all in (cross_validate, functools.partial(train_fold, fold=1)):
        with pytest.raises(MaltriageError, match=words):
            of_all(corpus, folds)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_later_fold_of_another_recipe_is_refused_before_the_first(
    corpus: Corpus, tmp_path: Path
) -> None:
    options = RunOptions(tmp_path, "tiny", FitOptions(**NARROW), folds=2)
    train_fold(corpus, options, 1, stop=lambda: True)
    other = dataclasses.replace(options, fit=FitOptions(**{**NARROW, "epochs": 3}))
    with pytest.raises(MaltriageError, match=r"fold-1.*: epochs 2 instead of 3"):
        cross_validate(corpus, other)
    assert not (tmp_path / "fold-0").exists()


def test_a_fold_that_takes_a_whole_family_is_refused(corpus: Corpus) -> None:
    twins = dataclasses.replace(corpus.signs, entry=tuple("z" * int(y == 2) for y in corpus.label))
    alike = dataclasses.replace(corpus, signs=twins)
    taken = [
        fold
        for fold in range(K)
        if (folds(groups_of(alike, "grouped"), alike.label, K)[alike.label == 2] == fold).all()
    ]
    assert len(taken) == 1
    with pytest.raises(MaltriageError, match=r"would take every sample of zeus: near duplicates"):
        make_fold(alike, "grouped", 0, K, taken[0])
    with pytest.raises(
        MaltriageError, match=rf"fold {taken[0]} of 3 would take every sample of zeus"
    ):
        check_folds(alike, "grouped", 0, K)
    check_folds(corpus, "grouped", 0, K)
    many = len(corpus) + 1
    with pytest.raises(MaltriageError, match=rf"fold \d+ of {many} would be empty"):
        check_folds(corpus, "random", 0, many)
    for fold in (-1, K):
        with pytest.raises(MaltriageError, match="no fold"):
            make_fold(corpus, "grouped", 0, K, fold)
    with pytest.raises(MaltriageError, match="at least two folds, not 1"):
        make_fold(corpus, "grouped", 0, 1, None)


def test_folds_of_time(corpus: Corpus, tmp_path: Path) -> None:
    """The oldest span is never tested; a family that comes late is a label of every net."""
    days = np.arange(len(corpus))
    days[corpus.label == 0] = np.arange(14)
    days[corpus.label == 1] = np.arange(12)
    days[corpus.label == 2] = np.arange(10) + 20
    first_seen = np.array(days, dtype="datetime64[D]").astype("datetime64[s]")
    first_seen[0] = np.datetime64("NaT")
    dated = dataclasses.replace(corpus, first_seen=first_seen)
    options = RunOptions(
        tmp_path / "run",
        "tiny",
        FitOptions(**{**NARROW, "epochs": 1}),
        split="time",
        folds=3,
    )
    outcome = cross_validate(dated, options)
    assert outcome.card is not None
    assert outcome.card.labels == ("benign", "icarus", "zeus")
    assert outcome.card.training.samples == 36
    found = load_predictions(tmp_path / "run" / OUT_OF_FOLD_FILE)
    assert 0 < len(found) < 35
    place = {digest: i for i, digest in enumerate(corpus.sha256)}
    tested = [first_seen[place[digest]] for digest in found.sha256]
    assert min(tested) > np.nanmin(first_seen)
    assert outcome.card.metrics["out_of_fold_near_twins"] == 0.0
    for fold in range(3):
        divided = make_fold(dated, "time", 0, 3, fold)
        assert (found.fold == fold).sum() == (divided.parts == "test").sum()
