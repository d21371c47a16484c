"""What a training will take, before it begins: a few of its steps are done and thrown away."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from maltriage.corpus.corpus import Corpus
from maltriage.corpus.splits import FRACTIONS, KINDS
from maltriage.learn.fit.data import Images
from maltriage.learn.fit.devices import Votes, emulated, make_scaler, moved, pick_device
from maltriage.learn.fit.recipe import make_optimizer
from maltriage.learn.nets import make_net
from maltriage.learn.runs.options import RunOptions

TRIED = 3
"""Steps that are timed, after one that is not."""
MOST_SECONDS = 20.0
"""No step is begun after that time."""
NET_SECONDS = 6.0
"""What each net takes besides its steps: to start, to be scored, to be exported and checked.

Measured for trainings of two epochs with one thread on two cores that others used, as time of the
processor: `evidence` 8 s for 44 files and 13 s for 972, `gibert` 6 s for 972; on idle cores seven
small nets took 45 s besides their steps. Large trainings take many steps, against which it is
little."""


@dataclass(frozen=True)
class Estimate:
    """The size of a training. `runs`: nets that are trained, one after the other; `steps`: of all
    of them; `emulated`: the processor has no instructions for the precision."""

    samples: int
    labels: int
    epochs: int
    runs: int
    steps: int
    step_seconds: float
    emulated: bool = False

    @property
    def seconds(self) -> float:
        """About how long all nets take, without reading samples and scoring epochs."""
        return self.steps * self.step_seconds + self.runs * NET_SECONDS


def estimate(corpus: Corpus, options: RunOptions) -> Estimate:
    """Time a few steps on the first samples, by a net that is then forgotten.

    A net with a guide is timed without it: one that leaves tokens out is faster, and one whose
    teachers choose for each image is slower.

    Raises:
        MaltriageError: there is no such device.
    """
    fit, sizes = options.fit, training_sizes(len(corpus), options)
    epoch_steps = sum(max(1, round(size / fit.batch_size)) for size in sizes)
    return Estimate(
        samples=len(corpus),
        labels=len(corpus.labels),
        epochs=fit.epochs,
        runs=len(sizes),
        steps=epoch_steps * fit.epochs,
        step_seconds=_step_seconds(corpus, options),
        emulated=emulated(pick_device(fit.accelerator), fit.precision),
    )


def training_sizes(samples: int, options: RunOptions) -> list[int]:
    """About how many samples each run trains on."""
    if not options.folds:
        return [round(FRACTIONS[0] * samples)]
    share = (options.folds - 1) / options.folds
    if options.split not in KINDS:  # a tenth of the other values is for validation
        share *= 0.9
    held_back = round(share * samples)
    if options.fold is not None:
        return [held_back]
    return [held_back] * options.folds + [samples]


def _step_seconds(corpus: Corpus, options: RunOptions) -> float:
    fit = options.fit
    device = pick_device(fit.accelerator)
    if fit.threads:
        torch.set_num_threads(fit.threads)
    net = make_net(fit.net, corpus.views, len(corpus.labels), None).to(device).train()
    votes, images = Votes(net, fit.precision), Images(corpus)
    optimizer, scaler = make_optimizer(net.parameters(), fit), make_scaler(device, fit.precision)
    rows = torch.arange(min(fit.batch_size, len(corpus)))
    labels = images.labels[rows].to(device)
    began, times = time.monotonic(), []
    for _ in range(1 + TRIED):
        start = time.monotonic()
        found, _ = votes(moved(images.batch(rows), device), 1.0, None)
        loss = functional.cross_entropy(
            found.flatten(0, 1), labels.repeat_interleave(found.shape[1])
        )
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if fit.clip_norm:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), fit.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        times.append(time.monotonic() - start)
        if time.monotonic() - began > MOST_SECONDS:
            break
    timed = sorted(times[1:] or times)
    return timed[len(timed) // 2] * fit.batch_size / len(rows)
