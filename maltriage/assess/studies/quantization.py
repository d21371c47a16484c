"""Makes quantised bundles, and compares their answers and cost with the float32 originals."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from maltriage import bundle as bundles
from maltriage import metrics
from maltriage.assess.held_back import fold_bundles
from maltriage.assess.studies import quantize
from maltriage.assess.studies.quantize import Feed, Images, Precision
from maltriage.assess.verdicts import crossval
from maltriage.assess.verdicts.folds import assess_folds
from maltriage.bundle import Bundle
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.predictions import (
    OUT_OF_FOLD_FILE,
    PREDICTIONS_FILE,
    Predictions,
    fold_folder,
    join,
    save_predictions,
)
from maltriage.corpus.split_file import SPLIT_FILE, load_split, manifest_sha256
from maltriage.errors import MaltriageError
from maltriage.report.documents.quantization import HeatAgreement, PrecisionCost, PrecisionFigures
from maltriage.report.documents.record import ModelRef

BATCH = 16
TIMED_BATCHES, ROUNDS = 4, 9
MIN_FILES = 16
_NOTHING = 1e-5
"""Share of the sum of |heat| below which a file is taken to lack a view."""

Rows = npt.NDArray[np.int64]


def export_quantized(
    source: Bundle,
    path: Path,
    precision: Precision,
    corpus: Corpus,
    files: int,
    seed: int = 0,
    *,
    run: Path | None = None,
    folds: Path | None = None,
) -> PrecisionFigures:
    """Write a quantised bundle, and measure it.

    Args:
        source: the bundle in float32.
        path: of the bundle to write.
        corpus: the training samples of `source`, with its views.
        files: number of files that give the ranges of activations; as many others are compared.
        run: folder of the cross-validation of `source`.
        folds: folder for quantised bundles and predictions of its folds; the card then has
            figures, temperature, prediction sets and novelty. None: not made.

    Raises:
        MaltriageError: see `quantize.quantize`; or too few samples, or, with `folds`, other
            samples than those of training.
    """
    if folds is not None and manifest_sha256(corpus) != source.card.training.manifest_sha256:
        raise MaltriageError(f"{corpus.root} is not the data that {source.path} was trained on")
    taken, others = _drawn(np.arange(len(corpus)), files, seed)
    found = _quantized(source, path, precision, corpus, taken)
    figures = compare(source, found, _batches(corpus, others), len(taken))
    if run is None or folds is None:
        return figures
    before, after = _quantized_folds(source, run, folds, precision, corpus, files, seed)
    save_predictions(after, folds / OUT_OF_FOLD_FILE)
    own = after.take(~after.added)
    guess = own.logits.argmax(axis=1)
    measured = source.card.metrics | {
        "out_of_fold_accuracy": metrics.accuracy(own.truth, guess),
        "out_of_fold_macro_f1": metrics.macro_f1(own.truth, guess, len(own.labels)),
        "out_of_fold_ece": metrics.fold_calibration_error(after.logits, after.truth, after.fold),
    }
    bundles.with_card(found, msgspec.structs.replace(found.card, metrics=measured), path)
    without = None
    try:
        crossval.add_sets(path, folds / OUT_OF_FOLD_FILE)
    except MaltriageError as error:  # too few samples: the bundle is complete all the same
        without = str(error)
    return msgspec.structs.replace(figures, folds=assess_folds([after, before]), without=without)


def compare(
    source: Bundle, found: Bundle, batches: Sequence[Images], calibrated: int
) -> PrecisionFigures:
    """Answers and cost of two bundles of the same views and labels on the same images."""
    sessions = [quantize.opened(bundle.model) for bundle in (source, found)]
    feeds = [quantize.feed_of(images) for images in batches]
    pairs = [tuple(quantize.answers(session, feed) for session in sessions) for feed in feeds]
    heat, stray = _agreement(pairs)
    kept = found.card.quantization
    assert kept is not None
    before, after = _cpu_ms(sessions, feeds[:TIMED_BATCHES])
    additive = source.card.additive
    return PrecisionFigures(
        model=ModelRef(found.card.name, found.card.weights_sha256),
        source=ModelRef(source.card.name, source.card.weights_sha256),
        costs=[
            PrecisionCost("float32", len(source.model), before),
            PrecisionCost(kept.precision, len(found.model), after),
        ],
        calibrated=calibrated,
        compared=sum(len(a["logits"]) for a, _ in pairs),
        same_label=sum(
            int((a["logits"].argmax(axis=1) == b["logits"].argmax(axis=1)).sum()) for a, b in pairs
        ),
        logit_change=max(float(np.abs(a["logits"] - b["logits"]).max()) for a, b in pairs),
        heat=heat,
        stray=stray,
        unaccounted=max(float(quantize.unaccounted(b, found.card).max()) for _, b in pairs)
        if additive
        else None,
    )


def _quantized(
    source: Bundle, path: Path, precision: Precision, corpus: Corpus, rows: Rows
) -> Bundle:
    """Quantise a bundle with ranges from some samples of a corpus, write it and read it."""
    said = f"{len(rows)} samples of {corpus.dataset}"
    model, card = quantize.quantize(source, precision, _batches(corpus, rows), said)
    quantize.save(model, card, path)
    return bundles.load(path)


def _quantized_folds(
    source: Bundle,
    run: Path,
    out: Path,
    precision: Precision,
    corpus: Corpus,
    files: int,
    seed: int,
) -> tuple[Predictions, Predictions]:
    """Out-of-fold predictions before and after quantisation.

    Each net takes its ranges from samples that it was trained on.
    """
    place = {digest: i for i, digest in enumerate(corpus.sha256)}
    before, after = [], []
    for fold, (part, held) in enumerate(fold_bundles(run, source)):
        folder = fold_folder(out, fold)
        folder.mkdir(parents=True, exist_ok=True)
        rows = np.array([place[digest] for digest in held.sha256], dtype=np.int64)
        split = fold_folder(run, fold) / SPLIT_FILE
        taken, _ = _drawn(_trained(split, corpus, held), files, seed)
        found = _quantized(part, folder / f"{source.card.name}.onnx", precision, corpus, taken)
        logits = [_logits(bundle, corpus, rows) for bundle in (part, found)]
        before.append(replace(held, recipe=f"{held.recipe} float32", logits=logits[0]))
        after.append(replace(held, recipe=f"{held.recipe} {precision}", logits=logits[1]))
        save_predictions(after[-1], folder / PREDICTIONS_FILE)
        if split.is_file():  # other readers of a cross-validation need it
            (folder / SPLIT_FILE).write_bytes(split.read_bytes())
    return join(before), join(after)


def _trained(split: Path, corpus: Corpus, held: Predictions) -> Rows:
    """Rows of the corpus that the net of a fold was trained on.

    Without the fold's split, all that it did not hold back: some may be in no part.
    """
    if split.is_file():
        return np.flatnonzero(load_split(split, corpus.sha256) == "train")
    return np.flatnonzero(~np.isin(corpus.sha256, held.sha256))


def _logits(bundle: Bundle, corpus: Corpus, rows: Rows) -> npt.NDArray[np.float64]:
    session = quantize.opened(bundle.model)
    parts = [
        quantize.answers(session, quantize.feed_of(images))["logits"]
        for images in _batches(corpus, rows)
    ]
    return np.concatenate(parts).astype(np.float64)


def _drawn(rows: Rows, files: int, seed: int) -> tuple[Rows, Rows]:
    """Samples for the ranges, and others, at most `files` each; few samples are halved."""
    if len(rows) < MIN_FILES:
        raise MaltriageError(f"{len(rows)} samples to calibrate on, fewer than {MIN_FILES}")
    mixed = np.random.default_rng(seed).permutation(rows)
    count = min(files, len(rows) // 2)
    return mixed[:count], mixed[count : count + files]


def _batches(corpus: Corpus, rows: Rows) -> list[Images]:
    return [
        {view.name: corpus.pixels(view.name, rows[at : at + BATCH]) for view in corpus.views}
        for at in range(0, len(rows), BATCH)
    ]


def _cpu_ms(sessions: Sequence[Any], feeds: Sequence[Feed]) -> list[float]:
    """CPU milliseconds per sample on one thread, by session: the least of several rounds."""
    count = sum(len(feed["target"]) for feed in feeds)
    least = [np.inf] * len(sessions)
    for _ in range(ROUNDS):
        for i, session in enumerate(sessions):
            start = time.thread_time()
            for feed in feeds:
                session.run(None, feed)
            least[i] = min(least[i], (time.thread_time() - start) / count * 1e3)
    return least


def _agreement(pairs: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[list[HeatAgreement], float]:
    """Agreement of the maps by view, and the most heat on a view that a file lacks."""
    names = [name for name in pairs[0][0] if name.startswith("heat_")]
    maps = {
        name: [np.concatenate([pair[i][name] for pair in pairs]) for i in (0, 1)] for name in names
    }
    flat = {n: [m.reshape(len(m), -1).astype(np.float64) for m in two] for n, two in maps.items()}
    whole = np.sum([np.abs(two[0]).sum(axis=1) for two in flat.values()], axis=0)
    rows, stray = [], 0.0
    for name, (a, b) in flat.items():
        there = np.abs(a).sum(axis=1) > _NOTHING * whole
        values = [float(np.corrcoef(x, y)[0, 1]) for x, y in zip(a[there], b[there], strict=True)]
        if values:
            view = name.removeprefix("heat_")
            rows.append(HeatAgreement(view, len(values), float(np.median(values)), min(values)))
        left = np.abs(b).sum(axis=1)[~there] / np.maximum(whole[~there], np.finfo(float).tiny)
        stray = max(stray, float(left.max(initial=0.0)))
    return rows, stray
