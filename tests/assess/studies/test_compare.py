"""Cells measured by scanning, and tabulated. No torch: the bundle is the one that ships."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from corpus.synthetic import write_tree

from maltriage import bundle as bundles
from maltriage.assess.studies import cell as module
from maltriage.assess.studies.cell import (
    Measured,
    check,
    correlation,
    images,
    known,
    measure,
    save_out_of_fold,
    scanned,
)
from maltriage.assess.studies.compare import compare
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.predictions import (
    Predictions,
    join,
    load_predictions,
    save_predictions,
)
from maltriage.corpus.split_file import save_split
from maltriage.corpus.splits import make_fold
from maltriage.corpus.study import Cell
from maltriage.errors import MaltriageError
from maltriage.triage.options import ScanOptions
from maltriage.triage.session import Session

FOLDS = 2
OPTIONS = ScanOptions(device="cpu", jobs=1, threads=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    tree = write_tree(tmp_path_factory.mktemp("tree"), {"benign": 4, "icedid": 4})
    views = bundles.load(bundles.resolve(None)).card.views
    folder = tmp_path_factory.mktemp("cache")
    return load_corpus(open_dataset("folder", tree), views, jobs=1, folder=folder)


def finish(cell: Cell, out: Path, corpus: Corpus, model: bytes) -> None:
    """What a run leaves: split, predictions (here of the bundle itself), bundle."""
    folder = cell.folder(out)
    folder.mkdir(parents=True)
    assert cell.fold is not None
    divided = make_fold(corpus, "grouped", 0, FOLDS, cell.fold)
    save_split(divided, folder / "split.json")
    cell.bundle(out).write_bytes(model)
    bundle = bundles.load(cell.bundle(out))
    test = np.flatnonzero(divided.parts == "test")
    answer = Session(bundle, "cpu", 1).answer(images(corpus, test), [np.inf] * len(test))
    labels = bundle.card.labels
    save_predictions(
        Predictions(
            recipe=cell.net,
            seed=cell.seed,
            labels=labels,
            sha256=tuple(corpus.sha256[i] for i in test),
            truth=np.array([labels.index(corpus.labels[corpus.label[i]]) for i in test]),
            fold=np.full(len(test), cell.fold),
            added=np.zeros(len(test), dtype=bool),
            logits=answer.logits.astype(np.float64),
        ),
        folder / "predictions.csv",
    )


@pytest.fixture(scope="module")
def model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bundle that ships, as if trained in folds of this corpus."""
    bundle = bundles.load(bundles.resolve(None))
    manifest = make_fold(corpus, "grouped", 0, FOLDS, 0).manifest_sha256
    training = msgspec.structs.replace(
        bundle.card.training, manifest_sha256=manifest, folds=FOLDS, split="grouped", split_seed=0
    )
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    metrics = {"flops": 12e6, "test_duplicates": 1.0, "test_near_twins": 2.0}
    card = msgspec.structs.replace(bundle.card, training=training, metrics=metrics)
    bundles.with_card(bundle, card, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def study(corpus: Corpus, model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Nets `one` and `two` of two seeds and folds, of which every answer of `two` is wrong.

    A cell is measured by a scan; the others are copies, for they are of the same bundle.
    """
    out = tmp_path_factory.mktemp("study")
    found: dict[Cell, Measured] = {}
    for fold in range(FOLDS):
        cell = Cell("one", 0, fold)
        finish(cell, out, corpus, model)
        measured = measure(cell, out, corpus, OPTIONS)
        assert measured is not None
        found[cell] = measured
        said = scanned(cell, out)
        right = replace(said, logits=9.0 * np.eye(len(said.labels))[said.truth])
        wrong = replace(said, logits=-right.logits)
        for net, seed, kept in (("one", 1, right), ("two", 0, wrong), ("two", 1, wrong)):
            other = Cell(net, seed, fold)
            other.folder(out).mkdir(parents=True)
            os.link(cell.bundle(out), other.bundle(out))
            save_predictions(
                replace(kept, recipe=net, seed=seed), other.folder(out) / "scanned.csv"
            )
            found[other] = measured
    return out, found


def test_the_scan_says_what_the_run_said(study: Any, corpus: Corpus) -> None:
    out, found = study
    cell = Cell("one", 0, 0)
    measured = found[cell]
    assert measured.scan_difference < 1e-5
    assert measured.same_maps
    assert measured.correlations == []
    assert measured.bundle_bytes == cell.bundle(out).stat().st_size
    assert measured.trained + measured.tested == len(corpus)
    said, there = load_predictions(cell.folder(out) / "predictions.csv"), scanned(cell, out)
    assert there.sha256 == said.sha256
    assert (there.logits.argmax(axis=1) == said.logits.argmax(axis=1)).all()
    assert known(cell, out) == measured
    os.utime(cell.bundle(out), ns=(2**62, 2**62))  # another bundle in the place of the one
    assert known(cell, out) is None
    save_out_of_fold([Cell("one", 0, 0), Cell("one", 0, 1)], out)
    whole = load_predictions(cell.study(out) / "out-of-fold.csv")
    assert sorted(whole.sha256) == sorted(corpus.sha256)


def test_the_table(study: Any, corpus: Corpus) -> None:
    out, found = study
    whole = join([scanned(Cell("one", 0, fold), out) for fold in range(FOLDS)])
    peer = replace(whole, recipe="peer")
    corpora = {"one": corpus, "two": corpus}
    table = compare(
        found, ["one", "two"], out, corpora, seeds=3, folds=FOLDS, reference="two", others=[peer]
    )
    one, two, other = table.rows
    assert [row.name for row in table.rows] == ["one", "two", "peer"]
    assert (table.reference, table.samples) == (
        "two",
        found[Cell("one", 0, 0)].card.training.samples,
    )
    assert table.unfinished == ["one, seed 2 (0 of 2 folds)", "two, seed 2 (0 of 2 folds)"]
    assert (one.seeds, one.samples, len(one.folds)) == ([0, 1], len(corpus), 4)
    assert (two.accuracy.mean, two.macro_f1.mean, two.difference) == (0.0, 0.0, None)
    assert [f.accuracy for f in one.folds if f.seed == 1] == [1.0, 1.0]
    assert one.difference is not None
    assert (one.difference.first, one.difference.second) == ("one", "two")
    assert one.difference.accuracy.value == pytest.approx(one.accuracy.mean)
    assert one.difference.accuracy.low <= one.difference.accuracy.value
    assert (one.flops, one.duplicates, one.near_twins) == (12_000_000, 2, 4)
    assert one.parameters == found[Cell("one", 0, 0)].card.parameters
    assert one.timing is not None
    assert 0 < one.timing.low <= one.timing.median <= one.timing.high
    assert one.agreement is not None
    assert one.agreement.by_construction
    assert (other.net, other.seeds, other.timing, other.near_twins) == (False, [0], None, None)
    # Of `one`, seed 0 says what the peer says, and seed 1 is all right.
    assert other.pooled_macro_f1.mean == pytest.approx(2 * one.pooled_macro_f1.mean - 1.0)


def test_the_table_of_one_split(study: Any, corpus: Corpus, tmp_path: Path) -> None:
    """Seeds alone are paired, and how much was trained on comes from the split."""
    out, measured = study
    found: dict[Cell, Measured] = {}
    for net in ("one", "two"):
        for seed in (0, 1):
            cell = Cell(net, seed, None)
            cell.folder(tmp_path).mkdir(parents=True)
            os.link(Cell(net, seed, 0).bundle(out), cell.bundle(tmp_path))
            said = replace(scanned(Cell("two", 0, 0), out), recipe=net, seed=seed)
            if net == "one":
                said = replace(said, logits=-said.logits)
            save_predictions(said, cell.folder(tmp_path) / "scanned.csv")
            found[cell] = measured[Cell(net, seed, 0)]
    corpora = {"one": corpus, "two": corpus}
    table = compare(found, ["one", "two"], tmp_path, corpora, seeds=2, folds=0)
    one, two = table.rows
    assert (len(one.folds), one.accuracy.mean, two.accuracy.mean) == (2, 1.0, 0.0)
    assert two.difference is not None
    assert two.difference.accuracy.value == two.difference.accuracy.high == -1.0
    assert table.unfinished == []
    alone = {cell: m for cell, m in found.items() if cell.seed == 0}
    table = compare(alone, ["one", "two"], tmp_path, corpora, seeds=1, folds=0)
    assert table.rows[1].difference is None


def test_what_cannot_be_tabulated(study: Any, corpus: Corpus) -> None:
    out, found = study

    def table(kept: dict[Cell, Measured], **options: Any) -> Any:
        return compare(kept, ["one"], out, {"one": corpus}, seeds=1, folds=FOLDS, **options)

    half = {cell: m for cell, m in found.items() if cell.fold == 0}
    with pytest.raises(MaltriageError, match="no net has a seed that is finished"):
        table(half)
    with pytest.raises(MaltriageError, match="no row to compare with"):
        table(found, reference="three")
    with pytest.raises(MaltriageError, match="there is a net of that name"):
        table(found, others=[scanned(Cell("one", 0, 0), out)])
    with pytest.raises(MaltriageError, match="other samples, labels or folds"):
        table(found, others=[replace(scanned(Cell("one", 0, 0), out), recipe="peer")])
    measured = found[Cell("one", 0, 1)]
    training = measured.card.training
    longer = msgspec.structs.replace(training, recipe=training.recipe | {"epochs": 7})
    changed = msgspec.structs.replace(
        measured, card=msgspec.structs.replace(measured.card, training=longer)
    )
    with pytest.raises(MaltriageError, match=r"different recipes: epochs \d+ instead of 7"):
        table(found | {Cell("one", 0, 1): changed})


def test_cells_of_something_else(study: Any, corpus: Corpus, tmp_path: Path, model: bytes) -> None:
    found = study[1]
    cell, training = Cell("one", 0, 0), found[Cell("one", 0, 0)].card.training
    wanted = training.recipe | {"split": "grouped", "split_seed": 0, "folds": FOLDS}
    check(cell, training, corpus, wanted)
    with pytest.raises(MaltriageError, match=r"one, seed 0, fold 0: exists with folds 2 instead"):
        check(cell, training, corpus, wanted | {"folds": 5})
    with pytest.raises(MaltriageError, match="trained on other samples"):
        check(cell, training, corpus.take(np.arange(len(corpus)) > 0), wanted)
    finish(cell, tmp_path, corpus, model)
    path = cell.folder(tmp_path) / "predictions.csv"
    said = load_predictions(path)
    save_predictions(replace(said, logits=-said.logits), path)
    with pytest.raises(MaltriageError, match="have another probability when scanned"):
        measure(cell, tmp_path, corpus, OPTIONS)
    save_predictions(replace(said, sha256=("0" * 64, *said.sha256[1:])), path)
    with pytest.raises(MaltriageError, match=r"not of the samples of split\.json"):
        measure(cell, tmp_path, corpus, OPTIONS)
    assert known(cell, tmp_path) is None


def test_stopped_or_without_room_nothing_is_kept(
    corpus: Corpus, tmp_path: Path, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell("one", 0, 0)
    finish(cell, tmp_path, corpus, model)
    assert measure(cell, tmp_path, corpus, OPTIONS, stop=lambda: True) is None
    assert known(cell, tmp_path) is None

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "save_predictions", full)
    with pytest.raises(MaltriageError, match="No space left"):
        measure(cell, tmp_path, corpus, OPTIONS)
    assert known(cell, tmp_path) is None


def test_correlation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=64), rng.normal(size=64)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(a, 3.0 * a + 1.0) == pytest.approx(1.0)
    assert np.isnan(correlation(a, np.zeros(64)))
