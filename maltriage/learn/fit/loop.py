"""The training loop, which gives averaged weights.

All randomness is drawn from streams keyed by (seed, epoch, step), so a resumed run ends with
the same weights as an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from maltriage import metrics
from maltriage.bundle import BENIGN
from maltriage.errors import MaltriageError
from maltriage.learn.fit.augment import augment
from maltriage.learn.fit.checkpoint import (
    BEST,
    LAST,
    Epoch,
    State,
    load_checkpoint,
    part_of,
    save_checkpoint,
)
from maltriage.learn.fit.data import Images, key
from maltriage.learn.fit.devices import Alone, Crew, Votes, make_scaler, moved, pick_device
from maltriage.learn.fit.harden import all_copies, choose_copies, differing_copies
from maltriage.learn.fit.pretrained import load_pretrained
from maltriage.learn.fit.recipe import (
    FitOptions,
    best_epoch,
    class_weights,
    exhausted,
    make_optimizer,
    make_schedule,
    refuse_differing,
    table_costs,
)
from maltriage.learn.fit.restore import load_weights, make, predict
from maltriage.learn.heat.tutor import tutor_of
from maltriage.learn.nets.base import Net


@dataclass(frozen=True)
class Tick:
    """Progress of the training after a step."""

    epoch: int
    """The current epoch, from 1."""
    epochs: int
    step: int
    steps: int
    loss: float
    """Mean over the steps of this epoch so far."""
    macro_f1: float | None
    """On the validation part, after the last completed epoch."""
    seconds_left: float


@dataclass(frozen=True)
class Fitted:
    """The averaged net, in eval mode, and the state of the run."""

    net: Net
    state: State
    interrupted: bool


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
    crew: Crew | None = None,
) -> Fitted:
    """Train, or resume training, with checkpoints in `folder`.

    Args:
        images: all samples.
        parts: sample numbers by part: `train`, and `val`, which is scored after each epoch.
        options: must match `start.origin`.
        start: the initial state. A checkpoint in `folder` replaces it and must be of the same
            origin.
        folder: of the run; exists.
        teachers: of the net's guide. A checkpoint contains those that are part of the net.
        progress: called after each step.
        stop: called after each step; once true, the run is saved and ends.
        crew: the processes that share the batches; None: this one only. See
            `maltriage.learn.fit.parallel`.

    Raises:
        MaltriageError: the loss is not finite, a checkpoint cannot be written (the last one
            stays) or is of another run, or an option is out of range.
    """
    options.check()
    return _Run(images, parts, options, start, folder, teachers, crew or Alone()).train(
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
        crew: Crew,
    ) -> None:
        self.device = pick_device(options.accelerator, crew.rank)
        if options.threads:
            torch.set_num_threads(options.threads)
        random.seed(options.seed)
        np.random.seed(options.seed % 2**32)
        torch.manual_seed(options.seed)
        self.images, self.parts, self.options, self.crew = images, parts, options, crew
        self.folder, self.state = folder, start
        labels = images.labels[parts["train"]]
        if len(labels) < 2:
            raise MaltriageError("fewer than two samples to train on")
        if options.patience and not len(parts["val"]):
            raise MaltriageError("--patience needs a validation part, which this split has not")
        self.steps = max(1, round(len(labels) / options.batch_size))
        if crew.size > 1 and len(labels) // self.steps < 2 * crew.size:
            raise MaltriageError(f"too few samples to train on for {crew.size} devices")
        self.weights = torch.where(images.added, options.goodware_weight, 1.0)
        weights = self.weights[parts["train"]]
        counts = torch.bincount(labels, weights, minlength=len(start.origin.labels))
        self.class_weights = class_weights(counts, options.class_weights)
        self.net = make(start.origin, teachers)
        if options.pretrained is not None and not (folder / LAST).exists():
            load_pretrained(self.net, options.pretrained)
        self._begin(labels, weights)
        self.net.to(self.device)
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.tutor = tutor_of(start.origin.guide, self.net, teachers, self.device)
        self.votes = crew.wrap(Votes(self.net, options.precision, self.tutor))
        self.optimizer = make_optimizer(self.net.parameters(), options)
        self.schedule = make_schedule(self.optimizer, options, options.epochs * self.steps)
        self.scaler = make_scaler(self.device, options.precision)
        self.saved = time.monotonic()
        if (folder / LAST).exists():
            self._resume(folder / LAST)
        elif crew.rank == 0:
            self._save()  # so that a run killed in its first epoch can be resumed

    def _begin(self, labels: Tensor, weights: Tensor) -> None:
        """Fit the parts of the net that are not learned in steps to the training samples."""
        train, variant = self.parts["train"], None
        if not self.images.batch(train[:1], fixed=True):
            return
        if self.options.harden:
            at, variant, shares = all_copies(differing_copies(self.images, train))
            train, labels, weights = train[at], labels[at], weights[at] * shares
        views = self.images.batch(train, fixed=True, variant=variant)
        names, options = self.state.origin.labels, self.options
        clean = names.index(BENIGN) if BENIGN in names else None
        costs = table_costs(labels, self.class_weights, clean, options)
        self.net.begin(views, labels, weights * costs)

    def train(self, progress: Callable[[Tick], None], stop: Callable[[], bool]) -> Fitted:
        while self.state.epoch < self.options.epochs and not self._exhausted():
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
                within = self.state.step < self.steps
                if self.crew.agree(stop()) and within:
                    return self._fitted(interrupted=True)
                if within and self._is_due():
                    self._save()
            self._end_epoch()
            if self.crew.agree(stop()) and self.state.epoch < self.options.epochs:
                return self._fitted(interrupted=True)
        return self._fitted(interrupted=False)

    def _exhausted(self) -> bool:
        """True if the run ends early, or has ended and taken its best epoch."""
        early = exhausted(self.state.history, self.options.patience)
        return self.crew.agree(early or self.state.best_epoch is not None)

    def _is_due(self) -> bool:
        minutes = self.options.checkpoint_minutes
        due = minutes > 0 and time.monotonic() - self.saved >= 60.0 * minutes
        return due and self.crew.rank == 0

    def _fitted(self, *, interrupted: bool) -> Fitted:
        """The result of the run, on the CPU; saves it."""
        if self.crew.rank == 0:
            if interrupted:
                self._save()
            elif self.options.patience and self.state.best_epoch is None:
                self._take_best()
        return Fitted(self.ema.cpu(), self.state, interrupted)

    def _take_best(self) -> None:
        """Replace the last averaged net by that of the best epoch."""
        tensors, best = load_checkpoint(self.folder / BEST)
        load_weights(self.ema, part_of(tensors, "ema"), self.folder / BEST)
        self.state = msgspec.structs.replace(
            self.state, best_epoch=best.epoch, temperature=best.temperature
        )
        self._save()

    def _order(self, epoch: int) -> tuple[Tensor, ...]:
        """The training samples in the order of an epoch, in batches of about equal size."""
        generator = torch.Generator().manual_seed(key(self.options.seed, epoch))
        train = self.parts["train"]
        shuffled = train[torch.randperm(len(train), generator=generator)]
        return shuffled.tensor_split(self.steps)

    def _step(self, batch: Tensor) -> float:
        """Do one optimizer step on this process's part of a batch; returns the loss."""
        crew, mixup = self.crew, self.options.mixup
        if self.tutor is not None:
            done = self.state.epoch + self.state.step / self.steps
            self.tutor.begin(done / self.options.epochs)
        at = (self.options.seed, self.state.epoch, self.state.step)
        seed = key(*at) if crew.size == 1 else key(*at, crew.rank)
        torch.manual_seed(seed)  # for dropout
        generator = torch.Generator().manual_seed(seed)
        rows = batch.tensor_split(crew.size)[crew.rank]
        variant = None
        if self.options.harden and self.images.variants is not None:
            variant = choose_copies(self.images.variants[rows], generator)
        views = self.images.batch(rows, variant=variant)
        if self.options.augment:
            views = augment(views, self.images.views, generator)
        views = moved(views, self.device)
        labels, weights = self.images.labels[rows], self.weights[rows]
        self.net.train()
        if mixup > 0:
            share = float(np.random.default_rng(key(*at)).beta(mixup, mixup))
            other = torch.randperm(len(rows), generator=generator)
            votes, pull = self.votes(views, share, other.to(self.device))
            loss = share * self._loss(votes, labels, weights)
            loss = loss + (1.0 - share) * self._loss(votes, labels[other], weights[other])
        else:
            votes, pull = self.votes(views, 1.0, None)
            loss = self._loss(votes, labels, weights)
        if crew.size > 1:  # the mean of all gradients is then that of the whole batch
            loss = loss * (crew.size * float(self._weight(rows) / self._weight(batch)))
            pull = pull * (crew.size * len(rows) / len(batch))
        value, added = crew.mean(float(loss.detach())), 0.0
        if self.tutor is not None:
            added = crew.mean(float(pull.detach()))
        if not math.isfinite(value + added):
            raise MaltriageError(
                f"training failed in epoch {self.state.epoch + 1}: the loss is {value + added}; "
                f"the last checkpoint in {self.folder} is from before"
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss + pull).backward()
        if self.options.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.net.parameters(), self.options.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self._average()
        return value

    def _weight(self, rows: Tensor) -> Tensor:
        """Total weight of samples in the loss."""
        return (self.class_weights[self.images.labels[rows]] * self.weights[rows]).sum()

    def _loss(self, votes: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Mean loss of all votes, [B, V, K], weighted by label and by sample."""
        count, device = votes.shape[1], self.device
        total = count * (self.class_weights[labels] * weights).sum()
        losses = functional.cross_entropy(
            votes.flatten(0, 1),
            labels.to(device).repeat_interleave(count),
            weight=self.class_weights.to(device),
            label_smoothing=self.options.label_smoothing,
            reduction="none",
        )
        weights = weights.to(device).repeat_interleave(count)
        return (losses * weights).sum() / total.to(device)

    @torch.no_grad()
    def _average(self) -> None:
        """Update the averaged net; faster at first, to forget the initial weights."""
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
        """Score the epoch and save it, in the first process of a crew only."""
        began = time.monotonic()
        val = self.parts["val"] if self.crew.rank == 0 else self.parts["val"][:0]
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
        self.state = msgspec.structs.replace(
            state,
            epoch=state.epoch + 1,
            step=0,
            loss_sum=0.0,
            seconds=0.0,
            history=(*state.history, row),
            temperature=metrics.temperature(logits, truth),
        )
        if self.crew.rank > 0:
            return
        # The best one first: a run killed in between repeats this epoch.
        if best_epoch(self.state.history) == row.epoch:
            save_checkpoint(self.folder / BEST, _named("ema", self.ema), self.state)
        self._save()

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
            tensors |= {
                f"optimizer.{number}.{name}": value
                for name, value in values.items()
                if isinstance(value, Tensor)  # SGD has None before its first step
            }
        self.state = msgspec.structs.replace(
            self.state,
            groups=optimizer["param_groups"],
            scheduler=self.schedule.state_dict(),
            scaler=self.scaler.state_dict(),
        )
        save_checkpoint(self.folder / LAST, tensors, self.state)
        self.saved = time.monotonic()

    def _resume(self, path: Path) -> None:
        tensors, state = load_checkpoint(path)
        refuse_differing(path, state, self.state)
        load_weights(self.net, part_of(tensors, "net"), path)
        load_weights(self.ema, part_of(tensors, "ema"), path)
        moments = dict[int, dict[str, Tensor]]()
        for name, tensor in part_of(tensors, "optimizer").items():
            number, field = name.split(".", 1)
            moments.setdefault(int(number), {})[field] = tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": state.groups})
        self.schedule.load_state_dict(state.scheduler)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        self.state = state


def _named(prefix: str, net: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in net.state_dict().items()}
