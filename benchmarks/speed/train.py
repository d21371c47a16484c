"""How fast is training, beside a bare loop over tensors that are in memory already.

    python -m benchmarks.speed.train ROOT [--net evidence] [--steps 40] [--no-augment] [--threads 1]

After every step that `maltriage.learn.fit.loop.fit` makes, the bare loop makes one: of a net of the
same kind and size, on the same samples, in the same precision, with the same optimizer, and
augmented if `fit` augments. It takes its batch from tensors in memory that are made before, and
does forward pass, cross-entropy, backward pass and step of the optimizer, nothing else. `fit`
does besides: batches from the memory-mapped cache, seeds for each step, mixup, weights of labels
and samples, the schedule, the averaged net; and after each epoch (`whole`, left out of `steps`)
the score of the validation part and the checkpoints.

Printed are samples a second of both, by the clock and by processor time, which other programs on
the machine disturb less, and the ratio of the two: the median over the steps, and of the sums.
The first step of both is left out. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional

from maltriage.corpus.datasets import open_dataset
from maltriage.corpus.load import load_corpus
from maltriage.corpus.split_file import PARTS
from maltriage.learn.fit.augment import augment
from maltriage.learn.fit.checkpoint import State
from maltriage.learn.fit.data import Images, key
from maltriage.learn.fit.devices import Votes, device_of, moved, pick_device
from maltriage.learn.fit.loop import Tick, fit
from maltriage.learn.fit.recipe import FitOptions, make_optimizer
from maltriage.learn.nets import make_net
from maltriage.learn.runs.options import RunOptions, views_for
from maltriage.learn.runs.origin import origin_of
from maltriage.learn.runs.train import divide

Spent = tuple[float, float]
"""Seconds by the clock, and of processor time."""


def now() -> Spent:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


class Bare:
    """The loop to be compared with, a step at a time."""

    def __init__(self, images: Images, options: FitOptions, labels: int) -> None:
        self.images, self.options = images, options
        self.tensors = images.batch(torch.arange(len(images.labels)))
        net = make_net(options.net, images.views, labels)
        self.votes = Votes(net.to(pick_device(options.accelerator)), options.precision).train()
        self.optimizer = make_optimizer(net.parameters(), options)

    def step(self, rows: torch.Tensor) -> None:
        device = device_of(self.votes)
        views = {name: tensor[rows] for name, tensor in self.tensors.items()}
        if self.options.augment:
            views = augment(views, self.images.views, torch.Generator())
        votes, _ = self.votes(moved(views, device), 1.0, None)
        labels = self.images.labels[rows].repeat_interleave(votes.shape[1]).to(device)
        loss = functional.cross_entropy(votes.flatten(0, 1), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--dataset", default="vx-zoo")
    parser.add_argument("--net", default="evidence")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-augment", action="store_true")
    found = parser.parse_args()
    options = FitOptions(
        net=found.net,
        image_size=found.image_size,
        batch_size=found.batch_size,
        precision=found.precision,
        accelerator=found.accelerator,
        threads=found.threads,
        augment=not found.no_augment,
    )
    torch.set_num_threads(found.threads)
    corpus = load_corpus(open_dataset(found.dataset, found.root), views_for(options), jobs=1)
    images = Images(corpus)
    bare = Bare(images, options, len(corpus.labels))

    with tempfile.TemporaryDirectory() as folder:
        run = RunOptions(Path(folder), "benchmark", options)
        divided = divide(corpus, run)
        parts = {p: torch.from_numpy((divided.parts == p).nonzero()[0]) for p in PARTS}
        ours, theirs, whole = list[Spent](), list[Spent](), list[Spent]()
        sizes, last = list[int](), [now()]

        def follow(tick: Tick) -> None:
            ended = now()
            generator = torch.Generator().manual_seed(key(options.seed, tick.epoch - 1))
            order = torch.randperm(len(parts["train"]), generator=generator)
            rows = parts["train"][order].tensor_split(tick.steps)[tick.step - 1]
            spent = (ended[0] - last[0][0], ended[1] - last[0][1])
            began = now()
            bare.step(rows)
            done = now()
            if (tick.epoch, tick.step) > (1, 1):
                sizes.append(len(rows))
                whole.append(spent)
                theirs.append((done[0] - began[0], done[1] - began[1]))
                # What is before the first step of an epoch is the end of the one before.
                ours.append(spent if tick.step > 1 else (float("nan"), float("nan")))
            last[0] = now()

        start = State(origin=origin_of(corpus, run, divided), name="benchmark")
        fit(images, parts, options, start, Path(folder), progress=follow,
            stop=lambda: len(whole) >= found.steps)  # fmt: skip

    print(
        f"{found.net}, {found.image_size} px, batches of {found.batch_size}, {found.precision},"
        f" {found.accelerator}, {found.threads} threads, {len(whole)} steps,"
        f" {'augmented' if options.augment else 'not augmented'}; samples a second:"
    )
    for clock, name in enumerate(("clock", "processor")):
        steps = [i for i, spent in enumerate(ours) if spent[clock] == spent[clock]]
        ratio = statistics.median(theirs[i][clock] / ours[i][clock] for i in steps)
        inside = sum(sizes[i] for i in steps)
        fitted = inside / sum(ours[i][clock] for i in steps)
        plain = inside / sum(theirs[i][clock] for i in steps)
        print(
            f"{name:>9}  steps  fit {fitted:7.1f}  bare {plain:7.1f}"
            f"  ratio {fitted / plain:.3f} (median of steps {ratio:.3f})"
        )
        fitted = sum(sizes) / sum(spent[clock] for spent in whole)
        plain = sum(sizes) / sum(spent[clock] for spent in theirs)
        print(f"{name:>9}  whole  fit {fitted:7.1f}  bare {plain:7.1f}  ratio {fitted / plain:.3f}")


if __name__ == "__main__":
    main()
