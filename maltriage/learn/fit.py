"""The training loop: from images to averaged weights.

Everything random is drawn from a stream keyed by (seed, epoch, step), so a run that was
stopped, or killed, goes on to the very weights it would have had.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from maltriage import metrics
from maltriage.errors import MaltriageError
from maltriage.learn.augment import augment
from maltriage.learn.checkpoint import (
    BEST,
    LAST,
    Epoch,
    Origin,
    State,
    load_checkpoint,
    part_of,
    save_checkpoint,
)
from maltriage.learn.chooser import guided
from maltriage.learn.data import Images, key
from maltriage.learn.nets import make_net
from maltriage.learn.nets.base import Net
from maltriage.learn.pretrained import identify, load_pretrained

EVAL_BATCH = 128


@dataclass(frozen=True)
class FitOptions:
    """How to train. All but `threads` has a bearing on the weights."""

    net: str = "evidence"
    image_size: int = 64
    views: tuple[str, ...] | None = None
    """Names of the views to look at; None: those that the net is made for."""
    epochs: int = 30
    batch_size: int = 64
    seed: int = 0
    learning_rate: float = 2e-3
    """At the top of the one-cycle schedule."""
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    mixup: float = 0.3
    """Both parameters of the beta distribution of the share; 0: no mixup."""
    ema: float = 0.99
    """Decay of the averaged weights for each step."""
    goodware_weight: float = 0.3
    """What a clean file that was added to the dataset counts for beside one of its own."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the trunks in training; bfloat16 halves the time on a processor that has it."""
    pretrained: str | None = None
    """What the backbone begins with: a file of weights, or `hub`; see `learn.pretrained`."""
    threads: int | None = None

    def recipe(self) -> dict[str, Any]:
        """The options that have a bearing on the weights, as JSON has them.

        Raises:
            MaltriageError: the file of weights is not there.
        """
        options = asdict(self)
        del options["threads"]
        if self.pretrained is not None:
            options["pretrained"] = identify(self.pretrained)
        return dict(msgspec.json.decode(msgspec.json.encode(options)))


@dataclass(frozen=True)
class Tick:
    """How far training is, after each step."""

    epoch: int
    """The epoch under way, from 1."""
    epochs: int
    step: int
    steps: int
    loss: float
    """Mean over the steps of this epoch so far."""
    macro_f1: float | None
    """On the validation part, after the last whole epoch."""
    seconds_left: float


@dataclass(frozen=True)
class Fitted:
    """The averaged net, in eval mode, and where the run is."""

    net: Net
    state: State
    interrupted: bool


def predict(net: Net, images: Images, index: Tensor) -> Tensor:
    """Logits of some samples, [n, K]."""
    net.eval()
    with torch.inference_mode():
        parts = [net(images.batch(rows)) for rows in index.split(EVAL_BATCH) if len(rows)]
    width = net.classifier.out_features
    return torch.cat(parts).clone() if parts else torch.zeros(0, width)


def restore_net(tensors: dict[str, Tensor], state: State) -> Net:
    """The averaged net of a checkpoint, in eval mode."""
    net = _make(state.origin)
    _load(net, part_of(tensors, "ema"))
    return net.eval()


def _make(origin: Origin, teachers: Sequence[Net] | None = None) -> Net:
    """A fresh net of a run, guided as the run is."""
    net = make_net(origin.net, origin.views, len(origin.labels))
    return net if origin.guide is None else guided(net, origin.guide, teachers)


def _load(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise MaltriageError("the checkpoint's weights are not of the net it names") from error


def fit(
    images: Images,
    parts: dict[str, Tensor],
    options: FitOptions,
    start: State,
    folder: Path,
    *,
    teachers: Sequence[Net] | None = None,
    progress: Callable[[Tick], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fitted:
    """Train, or go on training, with checkpoints in `folder`.

    Args:
        images: all samples.
        parts: their numbers by part: `train`, and `val` to be scored after each epoch.
        options: must be those that `start.origin` tells of.
        start: where the run begins. If there is a checkpoint in `folder` it goes on from
            that, which must be of the same origin.
        folder: of the run; exists.
        teachers: of a net that is guided image by image; a checkpoint holds them itself.
        progress: told after each step.
        stop: asked after each step; once true, the run is saved and ends.

    Raises:
        MaltriageError: the loss is no number any more (the last checkpoint stays), or the
            checkpoint is one of another run.
    """
    return _Run(images, parts, options, start, folder, teachers).train(
        progress or (lambda tick: None), stop or (lambda: False)
    )


class _Run:
    """Net, averaged net, optimizer, schedule and state of one run."""

    def __init__(
        self,
        images: Images,
        parts: dict[str, Tensor],
        options: FitOptions,
        start: State,
        folder: Path,
        teachers: Sequence[Net] | None,
    ) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        random.seed(options.seed)
        np.random.seed(options.seed % 2**32)
        torch.manual_seed(options.seed)
        self.images, self.parts, self.options = images, parts, options
        self.folder, self.state = folder, start
        labels = images.labels[parts["train"]]
        if len(labels) < 2:
            raise MaltriageError("fewer than two samples to train on")
        self.steps = max(1, round(len(labels) / options.batch_size))
        self.weights = torch.where(images.added, options.goodware_weight, 1.0)
        weights = self.weights[parts["train"]]
        counts = torch.bincount(labels, weights, minlength=len(start.origin.labels))
        self.class_weights = counts.clamp(min=1).double().rsqrt().float()
        self.net = _make(start.origin, teachers)
        if options.pretrained is not None and not (folder / LAST).exists():
            load_pretrained(self.net, options.pretrained)
        views = images.batch(parts["train"], fixed=True)
        if views:
            self.net.begin(views, labels, weights)
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, options.learning_rate, total_steps=options.epochs * self.steps + 1
        )
        if (folder / LAST).exists():
            self._resume(folder / LAST)

    def train(self, progress: Callable[[Tick], None], stop: Callable[[], bool]) -> Fitted:
        while self.state.epoch < self.options.epochs:
            order = self._order(self.state.epoch)
            while self.state.step < self.steps:
                began = time.monotonic()
                loss = self._step(order[self.state.step])
                self.state = msgspec.structs.replace(
                    self.state,
                    step=self.state.step + 1,
                    loss_sum=self.state.loss_sum + loss,
                    seconds=self.state.seconds + time.monotonic() - began,
                )
                progress(self._tick())
                if stop() and self.state.step < self.steps:
                    self._save()
                    return Fitted(self.ema, self.state, interrupted=True)
            self._end_epoch()
            if stop() and self.state.epoch < self.options.epochs:
                return Fitted(self.ema, self.state, interrupted=True)
        return Fitted(self.ema, self.state, interrupted=False)

    def _order(self, epoch: int) -> tuple[Tensor, ...]:
        """The training samples in the order of an epoch, in batches of about equal size."""
        generator = torch.Generator().manual_seed(key(self.options.seed, epoch))
        train = self.parts["train"]
        shuffled = train[torch.randperm(len(train), generator=generator)]
        return shuffled.tensor_split(self.steps)

    def _step(self, rows: Tensor) -> float:
        """One step of the optimizer on one batch; its loss."""
        seed = key(self.options.seed, self.state.epoch, self.state.step)
        torch.manual_seed(seed)  # for the dropouts
        generator = torch.Generator().manual_seed(seed)
        views = augment(self.images.batch(rows), self.images.views, generator)
        labels, weights = self.images.labels[rows], self.weights[rows]
        self.net.train()
        low = self.options.precision == "bfloat16"
        with torch.autocast(views[next(iter(views))].device.type, torch.bfloat16, enabled=low):
            features = self.net.embed(self.net.activations(views)).float()
        if self.options.mixup > 0:
            share = float(np.random.default_rng(seed).beta(self.options.mixup, self.options.mixup))
            other = torch.randperm(len(rows), generator=generator)
            logits = self.net.votes(features.lerp(features[other], 1.0 - share))
            loss = share * self._loss(logits, labels, weights)
            loss = loss + (1.0 - share) * self._loss(logits, labels[other], weights[other])
        else:
            loss = self._loss(self.net.votes(features), labels, weights)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise MaltriageError(
                f"training failed in epoch {self.state.epoch + 1}: the loss is {value}; "
                f"the last checkpoint in {self.folder} is from before"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self._average()
        return value

    def _loss(self, votes: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean loss of all votes, [B, V, K], by weights of labels and of samples."""
        count = votes.shape[1]
        losses = functional.cross_entropy(
            votes.flatten(0, 1),
            labels.repeat_interleave(count),
            weight=self.class_weights,
            label_smoothing=self.options.label_smoothing,
            reduction="none",
        )
        total = count * (self.class_weights[labels] * weights).sum()
        return (losses * weights.repeat_interleave(count)).sum() / total

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged net towards the net; faster at first, to forget the start."""
        step = self.state.epoch * self.steps + self.state.step
        decay = min(self.options.ema, (1.0 + step) / (10.0 + step))
        for mean, value in zip(
            self.ema.state_dict().values(), self.net.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(value, 1.0 - decay)
            else:
                mean.copy_(value)

    def _end_epoch(self) -> None:
        """Score the epoch and save it."""
        began = time.monotonic()
        val = self.parts["val"]
        logits = predict(self.ema, self.images, val).double().numpy()
        truth = self.images.labels[val].numpy()
        guess, labels = logits.argmax(axis=1), logits.shape[1]
        known = len(val) > 0
        state = self.state
        row = Epoch(
            epoch=state.epoch + 1,
            loss=state.loss_sum / self.steps,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            val_loss=metrics.log_loss(logits, truth) if known else None,
            val_accuracy=metrics.accuracy(truth, guess) if known else None,
            val_macro_f1=metrics.macro_f1(truth, guess, labels) if known else None,
            seconds=state.seconds + time.monotonic() - began,
        )
        best = max((e.val_macro_f1 or 0.0 for e in state.history), default=-1.0)
        self.state = msgspec.structs.replace(
            state,
            epoch=state.epoch + 1,
            step=0,
            loss_sum=0.0,
            seconds=0.0,
            history=(*state.history, row),
            temperature=metrics.temperature(logits, truth),
        )
        self._save()
        if row.val_macro_f1 is not None and row.val_macro_f1 > best:
            save_checkpoint(self.folder / BEST, _named("ema", self.ema), self.state)

    def _tick(self) -> Tick:
        state = self.state
        done = state.epoch * self.steps + state.step
        spent = state.seconds + sum(row.seconds for row in state.history)
        return Tick(
            epoch=state.epoch + 1,
            epochs=self.options.epochs,
            step=state.step,
            steps=self.steps,
            loss=state.loss_sum / state.step,
            macro_f1=state.history[-1].val_macro_f1 if state.history else None,
            seconds_left=spent / done * (self.options.epochs * self.steps - done),
        )

    def _save(self) -> None:
        optimizer = self.optimizer.state_dict()
        tensors = _named("net", self.net) | _named("ema", self.ema)
        for number, values in optimizer["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
        self.state = msgspec.structs.replace(
            self.state, groups=optimizer["param_groups"], scheduler=self.schedule.state_dict()
        )
        save_checkpoint(self.folder / LAST, tensors, self.state)

    def _resume(self, path: Path) -> None:
        tensors, state = load_checkpoint(path)
        difference = differing(state, self.state)
        if difference:
            raise MaltriageError(f"{path}: a checkpoint of another run: {difference}")
        _load(self.net, part_of(tensors, "net"))
        _load(self.ema, part_of(tensors, "ema"))
        moments = dict[int, dict[str, Tensor]]()
        for name, tensor in part_of(tensors, "optimizer").items():
            number, field = name.split(".", 1)
            moments.setdefault(int(number), {})[field] = tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": state.groups})
        self.schedule.load_state_dict(state.scheduler)
        self.state = state


def differing(stored: State, wanted: State) -> str:
    """In what two runs differ, in words; empty if in nothing that matters."""
    a, b = (msgspec.to_builtins(state.origin) for state in (stored, wanted))
    for stored_origin in (a, b):  # the same files may lie elsewhere
        del stored_origin["root"], stored_origin["goodware"]
    a |= a.pop("recipe")
    b |= b.pop("recipe")
    for origin in (a, b):
        for teacher in (origin["guide"] or {}).get("teachers", ()):
            del teacher["path"]
    names = [name for name in a | b if a.get(name) != b.get(name)]
    if not names:
        return ""
    short = {"net", "dataset", "split", "split_seed", "epochs", "seed", "batch_size", "image_size"}
    if _say(a["guide"]) != _say(b["guide"]):  # otherwise they differ in teachers or tokens
        short.add("guide")
    shown = [
        f"{name} {_say(a.get(name))} instead of {_say(b.get(name))}"
        if name in short
        else f"other {name}"
        for name in names
    ]
    return ", ".join(shown)


def _say(value: Any) -> str:
    """A value of an origin in a message; of a guide, its kind and share."""
    return f"{value['kind']} {value['keep']:g}" if isinstance(value, dict) else str(value)


def _named(prefix: str, net: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in net.state_dict().items()}
