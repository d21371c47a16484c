"""Does a complete run: trains on a corpus and writes a folder with a checked bundle and figures.

The folder of a run holds `last` and `best` checkpoints, config.json, environment.json, split.json,
metrics.csv, curves.png, confusion.png, predictions.csv (of the samples held back), guide.npz (the
cumulative maps of the teachers, if there are some) and `<name>.onnx`. The bundle has the averaged
weights of the last epoch: the schedule ends at a learning rate of zero, and the best of many
epochs on a small validation part is luck, to which the temperature would be fitted. Only a run
with patience takes its best epoch, as its recipe says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from maltriage import metrics
from maltriage.bundle import Card, load
from maltriage.corpus.corpus import Corpus
from maltriage.corpus.predictions import (
    PREDICTIONS_FILE,
    VALIDATION_FILE,
    Predictions,
    save_predictions,
)
from maltriage.corpus.split_file import PARTS, SPLIT_FILE, SplitFile, save_split
from maltriage.corpus.splits import make_fold, make_split, read_split
from maltriage.corpus.variants import with_variants
from maltriage.errors import MaltriageError
from maltriage.files.lock import locked
from maltriage.learn.export import export_bundle
from maltriage.learn.fit.checkpoint import LAST, Origin, State, load_checkpoint, save_checkpoint
from maltriage.learn.fit.data import Images
from maltriage.learn.fit.loop import Fitted, Tick, fit
from maltriage.learn.fit.parallel import fit_together
from maltriage.learn.fit.recipe import differing, refuse_differing
from maltriage.learn.fit.restore import predict, restore_net
from maltriage.learn.heat.guide import Prepared, expected, prepare, save_maps
from maltriage.learn.nets.flops import count_flops
from maltriage.learn.runs.metadata import write_config, write_environment, write_metrics
from maltriage.learn.runs.options import RunOptions
from maltriage.learn.runs.origin import origin_of
from maltriage.learn.runs.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    GUIDE_FILE,
    LOCK,
    BusyError,
)
from maltriage.report.studies.charts import plot_confusion, plot_curves

METRICS_FILE = "metrics.csv"
CURVES_FILE, CONFUSION_FILE = "curves.png", "confusion.png"
VALIDATION = "validation part of the split"
LOOK = 0.1
"""Seconds, far more than a look at a lock takes."""
PROBES = 17
"""Number of real samples in the check of the exported bundle."""


@dataclass(frozen=True)
class Calibration:
    """Temperature and figures from other runs, for a run without held-back samples."""

    temperature: float
    calibrated_on: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run. After an interruption there is no bundle yet."""

    state: State
    divided: SplitFile
    bundle: Path | None
    card: Card | None

    @property
    def leaks(self) -> int:
        """Test samples with a near duplicate in training."""
        return self.divided.leaks


def train(
    corpus: Corpus,
    options: RunOptions,
    *,
    calibration: Calibration | None = None,
    progress: Callable[[Tick], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Train on a corpus, or resume from the folder's last checkpoint, and export.

    A finished run is not trained or exported again.

    Args:
        corpus: with the views of `views_for(options.fit)`.
        options: of the run. The folder is made; a checkpoint in it must be of the same run.
        calibration: for the card, in place of that of the run's own parts.
        progress: called after each step.
        stop: called after each step; once true, the run is saved and ends.

    Raises:
        BusyError: another process trains the run.
        MaltriageError: see `fit` and `export_bundle`.
    """
    options.check_name()
    if options.fit.harden:
        corpus = with_variants(corpus)
    divided = divide(corpus, options)
    parts = divided.parts
    if divided.kind == "time" and not divided.folds:
        # Families without a training sample are no labels of a net. Nets of folds share all
        # labels, so that their predictions can be joined.
        corpus, parts = corpus.take(np.isin(parts, PARTS)), parts[np.isin(parts, PARTS)]
    origin = origin_of(corpus, options, divided)
    numbers = {part: torch.from_numpy(np.flatnonzero(parts == part)) for part in PARTS}
    if divided.kind in ("grouped", "random"):
        _check_train(corpus, numbers["train"])
    images = Images(corpus)
    guidance = _guidance(options, origin, images, numbers["train"])
    if guidance is not None:
        origin = msgspec.structs.replace(origin, guide=guidance.guide)
    start = State(origin=origin, name=options.name)
    options.fit.check()
    if (whole := _whole(options, start, divided)) is not None:
        return whole
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as locks:
            if not locks.enter_context(locked(options.folder / LOCK)):
                time.sleep(LOOK)  # perhaps another process only looked whether it is held
                if not locks.enter_context(locked(options.folder / LOCK)):
                    raise BusyError(f"{options.folder}: another process trains this run")
            if (whole := _whole(options, start, divided)) is not None:
                return whole  # another process has finished it in the meantime
            if not (
                options.folder / LAST
            ).exists():  # it may be of another run, which `fit` refuses
                save_split(divided, options.folder / SPLIT_FILE)
                write_config(options, corpus, options.folder / CONFIG_FILE)
            if guidance is not None and guidance.maps:
                save_maps(guidance.maps, origin.labels, options.folder / GUIDE_FILE)
            write_environment(options, options.folder / ENVIRONMENT_FILE)
            fitted = (fit if options.fit.devices == 1 else fit_together)(
                images,
                numbers,
                options.fit,
                start,
                options.folder,
                teachers=None if guidance is None else guidance.teachers,
                progress=progress,
                stop=stop,
            )
            save_split(divided, options.folder / SPLIT_FILE)
            write_metrics(fitted.state.history, options.folder / METRICS_FILE)
            if fitted.interrupted:
                return Outcome(fitted.state, divided, None, None)
            return _finish(fitted, corpus, images, numbers, options, divided, calibration)
    except OSError as error:
        raise MaltriageError(f"cannot write run {options.folder}: {error}") from error


def divide(corpus: Corpus, options: RunOptions) -> SplitFile:
    """The split of a run."""
    if options.split_file is not None:
        return read_split(options.split_file, corpus)
    if not options.folds:
        return make_split(corpus, options.split, options.split_seed)
    return make_fold(corpus, options.split, options.split_seed, options.folds, options.fold)


def check_begun(corpus: Corpus, options: RunOptions) -> None:
    """Refuse a folder whose checkpoint is of another run, as `train` does, but before any training.

    Teachers of a guide are not looked at.

    Raises:
        MaltriageError: it is of another run, or damaged.
    """
    if not (options.folder / LAST).exists():
        return
    _, state = load_checkpoint(options.folder / LAST)
    origin = origin_of(corpus, options, divide(corpus, options))
    if options.guide is not None:
        origin = msgspec.structs.replace(origin, guide=expected(options.guide, state.origin.guide))
    refuse_differing(options.folder / LAST, state, State(origin=origin, name=options.name))


def _guidance(
    options: RunOptions, origin: Origin, images: Images, train: Tensor
) -> Prepared | None:
    """The guide of a run's net; a resumed run keeps its guide."""
    if options.guide is None:
        return None
    begun = None
    if (options.folder / LAST).exists():
        begun = load_checkpoint(options.folder / LAST)[1].origin.guide
    return prepare(options.guide, origin, images, train, begun)


def _whole(options: RunOptions, start: State, divided: SplitFile) -> Outcome | None:
    """The outcome of a finished run, None if it is not finished."""
    bundle = options.folder / f"{options.name}.onnx"
    if not ((options.folder / LAST).exists() and bundle.exists()):
        return None
    _, state = load_checkpoint(options.folder / LAST)
    if state.finished is None or differing(state, start):
        return None
    return Outcome(state, divided, bundle, load(bundle).card)


def _check_train(corpus: Corpus, train: Tensor) -> None:
    """Refuse labels without a training sample: their logits would mean nothing."""
    counts = np.bincount(corpus.label[train.numpy()], minlength=len(corpus.labels))
    empty = [label for label, count in zip(corpus.labels, counts, strict=True) if not count]
    if empty:
        raise MaltriageError(f"no samples to train on for: {', '.join(empty)}")


def _finish(
    fitted: Fitted,
    corpus: Corpus,
    images: Images,
    numbers: dict[str, Tensor],
    options: RunOptions,
    divided: SplitFile,
    calibration: Calibration | None,
) -> Outcome:
    """Score the test part, store the figures in the checkpoint, draw, export."""
    test, folder = numbers["test"], options.folder
    found = {"flops": float(count_flops(fitted.net))}
    state, labels = fitted.state, fitted.state.origin.labels
    if len(test):
        held_back = predictions(fitted, corpus, images, test)
        save_predictions(held_back, folder / PREDICTIONS_FILE)
        truth, guess = held_back.truth, held_back.logits.argmax(axis=1)
        found |= {
            "test_accuracy": metrics.accuracy(truth, guess),
            "test_macro_f1": metrics.macro_f1(truth, guess, len(labels)),
            "test_samples": float(len(test)),
            "test_added": float(held_back.added.sum()),
            "test_duplicates": float(divided.duplicates),
            "test_near_twins": float(divided.leaks),
        }
        counts = metrics.confusion(truth, guess, len(labels))
        plot_confusion(counts.tolist(), labels, folder / CONFUSION_FILE)
    if divided.value is not None:
        save_predictions(
            predictions(fitted, corpus, images, numbers["val"]), folder / VALIDATION_FILE
        )
    if state.origin.guide is not None:
        found |= {f"guide_ssim_{k}": v for k, v in state.origin.guide.similarity.items()}
    if state.temperature is not None:
        state = msgspec.structs.replace(state, calibrated_on=VALIDATION)
    if calibration is not None:
        state = msgspec.structs.replace(
            state,
            temperature=calibration.temperature,
            calibrated_on=calibration.calibrated_on,
        )
        found |= calibration.metrics
    state = msgspec.structs.replace(
        state,
        metrics=found,
        finished=state.finished or datetime.now(UTC).isoformat(timespec="seconds"),
    )
    tensors, _ = load_checkpoint(folder / LAST)
    save_checkpoint(folder / LAST, tensors, state)
    plot_curves(state.history, folder / CURVES_FILE)
    path = folder / f"{state.name}.onnx"
    probes = images.batch(torch.cat([test, numbers["train"]])[:PROBES])
    card = export_bundle(fitted.net, state, path, probes)
    return Outcome(state, divided, path, card)


def predictions(fitted: Fitted, corpus: Corpus, images: Images, rows: Tensor) -> Predictions:
    """A net's predictions on some samples of a corpus; clean files added to it are `added`."""
    origin = fitted.state.origin
    at = rows.numpy()
    own = len(corpus) - corpus.goodware_samples
    return Predictions(
        recipe=fitted.state.name,
        seed=int(origin.recipe["seed"]),
        labels=origin.labels,
        sha256=tuple(corpus.sha256[i] for i in at),
        truth=corpus.label[at],
        fold=np.full(len(at), origin.fold or 0, dtype=np.int64),
        added=at >= own,
        logits=predict(fitted.net, images, rows).double().numpy(),
    )


def export_checkpoint(checkpoint: Path, path: Path) -> Card:
    """Write the bundle of a checkpoint (or of the last one in a run's folder).

    Raises:
        MaltriageError: see `load_checkpoint` and `export_bundle`.
    """
    tensors, state = load_checkpoint(checkpoint)
    return export_bundle(restore_net(tensors, state, checkpoint), state, path)
