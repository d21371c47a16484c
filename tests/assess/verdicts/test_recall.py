"""Recall of similar files: the figures by hand, and the same nearest files as one by one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from corpus.synthetic import write_tree

from maltriage import bundle as bundles
from maltriage.assess.held_back import fold_splits, split_of
from maltriage.assess.verdicts.recall import (
    NEAREST,
    Found,
    find,
    limit_of,
    recall,
)
from maltriage.bundle import Bundle
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.predictions import (
    PREDICTIONS_FILE,
    Predictions,
    fold_folder,
    save_predictions,
)
from maltriage.corpus.split_file import SPLIT_FILE, SplitFile, manifest_sha256, save_split
from maltriage.corpus.splits import make_fold, make_split
from maltriage.errors import MaltriageError
from maltriage.triage.session import Session


@pytest.fixture(scope="module")
def default() -> Bundle:
    return bundles.load(bundles.resolve(None))


@pytest.fixture(scope="module")
def corpus(default: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = write_tree(tmp_path_factory.mktemp("zoo"), {"gbot": 8, "maze": 8, "benign": 8, "new": 3})
    cache = tmp_path_factory.mktemp("cache")
    return load_corpus(open_dataset("folder", root), default.card.views, jobs=1, folder=cache)


def trained_on(default: Bundle, corpus: Corpus, split: SplitFile, folds: int, path: Path) -> Bundle:
    """The default bundle, which says that it was trained on the corpus with this split."""
    training = msgspec.structs.replace(
        default.card.training,
        manifest_sha256=manifest_sha256(corpus),
        split=split.kind,
        split_seed=split.seed,
        split_sha256=split.sha256,
        folds=folds,
    )
    bundles.with_card(default, msgspec.structs.replace(default.card, training=training), path)
    return bundles.load(path)


def made_up(default: Bundle, **changes: object) -> Found:
    """Four files: the nearest of one is of its family, of another one of five; two are benign."""
    _, gbot, maze = 0, default.card.labels.index("gbot"), default.card.labels.index("maze")
    nearest = np.array(
        [
            [gbot, maze, maze, maze, maze],
            [gbot, gbot, gbot, gbot, maze],
            [0, 0, 0, 0, gbot],
            [gbot, maze, -1, -1, -1],
        ]
    )
    found = Found(
        truth=np.array([gbot, maze, 0, 0]),
        nearest=nearest,
        distance=np.array([0.05, 0.15, 0.25, 2.0]),
        classified=np.array([gbot, maze, gbot, gbot]),
        known=np.array([100, 101]),
        twins=np.array([1, 2]),
    )
    return Found(**{**vars(found), **changes})


def test_the_figures(default: Bundle) -> None:
    found = recall(made_up(default), default, "a test")
    assert (found.at_1.value, found.at_5.value, found.classified.value) == (0.5, 1.0, 1.0)
    assert found.at_1.low == 0.0
    assert found.at_1.high == 1.0
    assert (found.files, found.nets, found.indexed, found.near_twins) == (2, 2, 100, 3)
    rows = {row.label: (row.files, row.at_1, row.at_5, row.classified) for row in found.labels}
    assert rows == {
        "benign": (2, 0.5, 0.5, 0.0),
        "gbot": (1, 1.0, 1.0, 1.0),
        "maze": (1, 0.0, 1.0, 1.0),
    }
    bands = [(band.low, band.files, band.at_1) for band in found.bands]
    assert bands[:3] == [(0.0, 1, 1.0), (0.1, 1, 0.0), (0.2, 0, None)]
    assert found.distances["50"] == pytest.approx(0.2)
    assert found.limit is None
    with pytest.raises(MaltriageError, match="no malware was held back"):
        recall(made_up(default, truth=np.zeros(4, dtype=np.int64)), default, "a test")


def test_the_limit(default: Bundle) -> None:
    distance = np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 1001))
    limit = limit_of(made_up(default, distance=distance), "a test")
    assert limit is not None
    assert (limit.distance, limit.files, limit.measured_on) == (0.99, 1001, "a test")
    assert limit.share == (distance <= 0.99).mean()
    assert limit_of(made_up(default, distance=distance[:99]), "a test") is None


def test_files_held_back_are_compared_with_those_of_training(
    default: Bundle, corpus: Corpus, tmp_path: Path
) -> None:
    split = make_split(corpus, "random", 3)
    bundle = trained_on(default, corpus, split, 0, tmp_path / "a.onnx")
    assert split_of(bundle, corpus).parts.tolist() == split.parts.tolist()
    told: list[tuple[int, int]] = []
    found = find(
        [(bundle, split)], corpus, "cpu", 1, progress=lambda done, total: told.append((done, total))
    )
    labels = np.array([corpus.labels[i] for i in corpus.label])
    known = np.flatnonzero((split.parts == "train") & (labels != "new"))
    queries = np.flatnonzero((split.parts == "test") & (labels != "new"))
    rows = np.concatenate((known, queries))
    images = {view.name: corpus.pixels(view.name, rows) for view in bundle.card.views}
    outputs = Session(bundle, "cpu", 1).answer(images, [np.inf] * len(rows))
    vectors = outputs.embedding.astype(np.float64)
    vectors -= vectors[: len(known)].mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - vectors[len(known) :] @ vectors[: len(known)].T
    assert found.distance == pytest.approx(distances.min(axis=1), abs=2e-3)
    nearest = labels[known][distances.argmin(axis=1)]
    assert [bundle.card.labels[i] for i in found.nearest[:, 0]] == nearest.tolist()
    assert [bundle.card.labels[i] for i in found.truth] == labels[queries].tolist()
    assert found.classified.tolist() == outputs.logits[len(known) :].argmax(axis=1).tolist()
    assert found.nearest.shape == (len(queries), NEAREST)
    assert found.known.tolist() == [len(known)]
    assert told[-1][0] <= told[-1][1] == int(np.isin(split.parts, ("train", "test")).sum())


def test_a_run_of_folds(default: Bundle, corpus: Corpus, tmp_path: Path) -> None:
    """Every file is held back once, and each by the net that had not seen it."""
    model = trained_on(default, corpus, make_fold(corpus, "random", 0, 2, None), 2, tmp_path / "a")
    for fold in range(2):
        split = make_fold(corpus, "random", 0, 2, fold)
        folder = fold_folder(tmp_path / "run", fold)
        folder.mkdir(parents=True)
        save_split(split, folder / SPLIT_FILE)
        labels = trained_on(default, corpus, split, 2, folder / "net.onnx").card.labels
        zero, new = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool)
        said = Predictions(
            "net", 0, labels, ("0" * 64,), zero, zero, new, np.zeros((1, len(labels)))
        )
        save_predictions(said, folder / PREDICTIONS_FILE)
    held = fold_splits(tmp_path / "run", model, corpus)
    assert ((held[0][1].parts == "test") ^ (held[1][1].parts == "test")).all()
    found = find(held, corpus, "cpu", 1)
    assert len(found.truth) == 24  # but for the family that the bundle does not know
    assert len(found.known) == 2
    shown = recall(found, model, "two folds")
    assert (shown.nets, shown.files) == (2, 16)
    save_split(make_fold(corpus, "random", 0, 2, 0), fold_folder(tmp_path / "run", 1) / SPLIT_FILE)
    with pytest.raises(MaltriageError, match="a split of its own"):
        fold_splits(tmp_path / "run", model, corpus)


def test_what_cannot_be_measured(default: Bundle, corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(MaltriageError, match="is not the data that"):
        split_of(default, corpus)
    split = make_split(corpus, "random", 3)
    seen = trained_on(default, corpus, make_fold(corpus, "random", 0, 2, None), 2, tmp_path / "a")
    with pytest.raises(MaltriageError, match="has seen every sample"):
        split_of(seen, corpus)
    training = msgspec.structs.replace(seen.card.training, split_sha256="")
    early = msgspec.structs.replace(
        seen, card=msgspec.structs.replace(seen.card, training=training)
    )  # its card cannot tell whether a split is that of a fold
    save_split(split, tmp_path / "any.json")
    with pytest.raises(MaltriageError, match="has seen every sample"):
        split_of(early, corpus, tmp_path / "any.json")
    other = trained_on(default, corpus, split, 0, tmp_path / "b.onnx")
    save_split(make_split(corpus, "random", 4), tmp_path / "split.json")
    with pytest.raises(MaltriageError, match="a split of its own"):
        split_of(other, corpus, tmp_path / "split.json")
    found = split_of(other, corpus)
    every = msgspec.structs.replace(found, samples=tuple((s, "train") for s, _ in found.samples))
    with pytest.raises(MaltriageError, match="no file was held back"):
        find([(other, every)], corpus, "cpu", 1)
