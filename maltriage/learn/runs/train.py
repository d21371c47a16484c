"""A whole run: from a corpus to a folder with a bundle that was checked, and its figures.

The folder of a run holds `last` and `best` checkpoints, config.json, environment.json, split.json,
metrics.csv, curves.png, confusion.png, predictions.csv (of the samples held back), guide.npz (the
cumulative maps of the teachers, where there are some) and `<name>.onnx`. The bundle has
the averaged weights of the last epoch: the schedule ends at a learning rate of zero, and the
best of many epochs on a small validation part is luck that the temperature would then be
fitted to. Only a run with patience takes its best one, and says so in its recipe.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from maltriage import metrics
from maltriage.bundle import Card, load
from maltriage.corpus.load import Corpus
from maltriage.corpus.predictions import PREDICTIONS_FILE, Predictions, save_predictions
from maltriage.corpus.splits import (
    PARTS,
    SPLIT_FILE,
    SplitFile,
    make_fold,
    make_split,
    read_split,
    save_split,
)
from maltriage.corpus.variants import with_variants
from maltriage.errors import MaltriageError
from maltriage.learn.export import export_bundle
from maltriage.learn.fit.checkpoint import LAST, Origin, State, load_checkpoint, save_checkpoint
from maltriage.learn.fit.data import Images
from maltriage.learn.fit.loop import Fitted, Tick, fit
from maltriage.learn.fit.parallel import fit_together
from maltriage.learn.fit.recipe import FitOptions, differing
from maltriage.learn.fit.restore import predict, restore_net
from maltriage.learn.heat.guide import GuideOptions, Prepared, prepare, save_maps
from maltriage.learn.nets import entry
from maltriage.learn.nets.flops import count_flops
from maltriage.learn.runs.origin import origin_of
from maltriage.learn.runs.plots import plot_confusion, plot_curves
from maltriage.learn.runs.record import write_config, write_environment, write_metrics
from maltriage.sample.views import (
    BYTEPLOT,
    DEFAULT,
    ViewSpec,
    byteplot,
    known_views,
)

METRICS_FILE = "metrics.csv"
CONFIG_FILE, ENVIRONMENT_FILE = "config.json", "environment.json"
CURVES_FILE, CONFUSION_FILE = "curves.png", "confusion.png"
GUIDE_FILE = "guide.npz"
VALIDATION = "validation part of the split"
PROBES = 17
"""Real samples that the exported bundle is checked with."""


@dataclass(frozen=True)
class RunOptions:
    """What a run is called, where it goes, and how the corpus is split."""

    folder: Path
    name: str
    fit: FitOptions
    split: str = "grouped"
    split_seed: int = 0
    folds: int = 0
    """0: training, validation and test; otherwise this run is one of a cross-validation."""
    fold: int | None = None
    """The fold to hold back; None: none, every sample is for training."""
    split_file: Path | None = None
    """A stored split to take instead of making one; the four fields before say nothing then."""
    guide: GuideOptions | None = None
    """Of the net's tokens; None: it looks at all of them."""
    command: tuple[str, ...] = ()
    """What the user typed, for the record."""


@dataclass(frozen=True)
class Calibration:
    """What a run without samples of its own to hold back takes from other runs."""

    temperature: float
    calibrated_on: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """What a run came to. After an interruption there is no bundle yet."""

    state: State
    divided: SplitFile
    bundle: Path | None
    card: Card | None

    @property
    def leaks(self) -> int:
        """Test samples with a near twin in training."""
        return self.divided.leaks


def views_for(options: FitOptions) -> tuple[ViewSpec, ...]:
    """The views that a net is trained on: those named, or else what the net is made for.

    Raises:
        MaltriageError: an unknown net or view, views that the net cannot read, an odd size.
    """
    if options.image_size % 8 or not 16 <= options.image_size <= 1024:
        raise MaltriageError(
            f"image size {options.image_size}: must be a multiple of 8 from 16 to 1024"
        )
    net = entry(options.net)
    names = options.views or net.views or DEFAULT
    choices: dict[str, ViewSpec] = {BYTEPLOT: byteplot(options.image_size)}
    choices |= {view.name: view for view in known_views(options.image_size)}
    strange = [name for name in names if name not in choices]
    if strange or options.views == ():
        raise MaltriageError(f"views must be some of {', '.join(choices)}: {', '.join(strange)}")
    chosen = tuple(view for name, view in choices.items() if name in names)
    fixed = [view.name for view in chosen if view.fixed]
    if len({view.name for view in chosen}) < len(chosen):
        raise MaltriageError(f"{BYTEPLOT} is the first channel of body: name one of them")
    if net.body and all(view.along for view in chosen):
        raise MaltriageError(f"net {options.net} reads a picture: name {BYTEPLOT} or body")
    if fixed and not net.fixed:
        raise MaltriageError(f"net {options.net} cannot read {', '.join(fixed)}")
    if len(fixed) == len(chosen):
        raise MaltriageError(f"{', '.join(fixed)}: name a view besides that a net can learn")
    return chosen


def fit_options(state: State, **others: Any) -> FitOptions:
    """The options that a run was begun with, and others that have no bearing on its weights."""
    try:
        return msgspec.convert(state.origin.recipe | others, FitOptions)
    except msgspec.ValidationError as error:
        raise MaltriageError(f"a checkpoint of another recipe: {error}") from error


def train(
    corpus: Corpus,
    options: RunOptions,
    *,
    calibration: Calibration | None = None,
    progress: Callable[[Tick], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Train on a corpus, or go on where the folder's last checkpoint is, and export.

    A run that is whole already is not trained or exported again.

    Args:
        corpus: with the views of `views_for(options.fit)`.
        options: of the run. The folder is made; a checkpoint in it must be of the same run.
        calibration: to put in the card in place of what the run's own parts would give.
        progress: told after each step.
        stop: asked after each step; once true, the run is saved and ends.

    Raises:
        MaltriageError: see `fit` and `export_bundle`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", options.name):
        raise MaltriageError(f"name {options.name}: letters, digits, dots, dashes only")
    if options.fit.harden:
        corpus = with_variants(corpus)
    divided = divide(corpus, options)
    parts = divided.parts
    if divided.kind == "time" and not divided.folds:
        # A net knows no family that it has no sample of. Nets of folds have the labels of all,
        # so that their predictions can be put together.
        corpus, parts = corpus.take(np.isin(parts, PARTS)), parts[np.isin(parts, PARTS)]
    origin = origin_of(corpus, options, divided)
    numbers = {part: torch.from_numpy(np.flatnonzero(parts == part)) for part in PARTS}
    if divided.kind != "time":
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
        if not (options.folder / LAST).exists():  # of another run, which `fit` would refuse
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
    kind: Any = options.split
    if options.split_file is not None:
        return read_split(options.split_file, corpus)
    if not options.folds:
        return make_split(corpus, kind, options.split_seed)
    return make_fold(corpus, kind, options.split_seed, options.folds, options.fold)


def _guidance(
    options: RunOptions, origin: Origin, images: Images, train: Tensor
) -> Prepared | None:
    """What guides the net of a run; of one that goes on, what guided it so far."""
    if options.guide is None:
        return None
    begun = None
    if (options.folder / LAST).exists():
        begun = load_checkpoint(options.folder / LAST)[1].origin.guide
    return prepare(options.guide, origin, images, train, begun)


def guide_options(state: State) -> GuideOptions | None:
    """How a run was guided when it was begun."""
    guide = state.origin.guide
    if guide is None:
        return None
    teachers = tuple(Path(teacher.path) for teacher in guide.teachers)
    kind: Any = guide.kind
    cam: Any = guide.cam or "hirescam"
    return GuideOptions(kind, guide.keep, cam, teachers)


def _whole(options: RunOptions, start: State, divided: SplitFile) -> Outcome | None:
    """What a run came to that was finished before, None where something is left to do."""
    bundle = options.folder / f"{options.name}.onnx"
    if not ((options.folder / LAST).exists() and bundle.exists()):
        return None
    _, state = load_checkpoint(options.folder / LAST)
    if state.finished is None or state.name != options.name or differing(state, start):
        return None
    return Outcome(state, divided, bundle, load(bundle).card)


def _check_train(corpus: Corpus, train: Tensor) -> None:
    """A label without a sample to train on would be a number that means nothing."""
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
    """Score the test part, note it in the checkpoint, draw, export."""
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
            "test_duplicates": float(divided.duplicates),
            "test_near_twins": float(divided.leaks),
        }
        counts = metrics.confusion(truth, guess, len(labels))
        plot_confusion(counts, labels, folder / CONFUSION_FILE)
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
    """What a net says of some samples of a corpus; those beyond the dataset's are `added`."""
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
    """Write the bundle of a checkpoint (or of the last one of a run's folder).

    Raises:
        MaltriageError: see `load_checkpoint` and `export_bundle`.
    """
    tensors, state = load_checkpoint(checkpoint)
    return export_bundle(restore_net(tensors, state), state, path)
