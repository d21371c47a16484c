"""The recipe of a run: its options, and the optimizer, schedule and loss made from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from maltriage.errors import MaltriageError
from maltriage.learn.fit.checkpoint import Epoch, State
from maltriage.learn.fit.pretrained import identify

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["onecycle", "cosine"]
ClassWeights = Literal["none", "sqrt", "balanced", "effective"]
Precision = Literal["float32", "bfloat16", "float16"]
Accelerator = Literal["auto", "cpu", "cuda"]

MOMENTUM = 0.9
"""For `sgd` (Nesterov); `onecycle` moves it between 0.85 and 0.95, like beta 1."""
EFFECTIVE_BETA = 0.999
"""For `effective` weights; Cui et al. 2019 try 0.9 to 0.9999."""
USUAL = 30.0
"""Files of a family that counts once in a table; of a rarer one each counts more."""
NO_BEARING = ("threads", "accelerator", "checkpoint_minutes")


@dataclass(frozen=True)
class FitOptions:
    """Options of training. All but `threads`, `accelerator` and `checkpoint_minutes` affect the
    weights beyond rounding and form the recipe."""

    net: str = "evidence"
    image_size: int = 64
    views: tuple[str, ...] | None = None
    """Names of the input views; None: the net's defaults."""
    epochs: int = 30
    batch_size: int = 64
    seed: int = 0
    optimizer: Optimizer = "adamw"
    learning_rate: float = 2e-3
    """Peak of the schedule."""
    weight_decay: float = 0.05
    schedule: Schedule = "onecycle"
    """`onecycle`: Smith and Topin 2017, the momentum moves the other way; `cosine`: a linear
    rise, then half a cosine down to zero (Loshchilov and Hutter 2017, without restarts)."""
    warmup: float = 0.3
    """Share of the steps in which the rate rises."""
    clip_norm: float = 0.0
    """Largest norm of all gradients; 0: not clipped."""
    class_weights: ClassWeights = "sqrt"
    """Weight of a label of n samples in the loss: see `class_weights`."""
    label_smoothing: float = 0.05
    mixup: float = 0.3
    """Both parameters of the mixup share's beta distribution; 0: no mixup."""
    augment: bool = True
    """Change training images: see `learn.fit.augment`."""
    harden: bool = False
    """Train on changed copies of the samples too: see `learn.fit.harden`."""
    ema: float = 0.99
    """Decay of the averaged weights per step."""
    patience: int = 0
    """Epochs without a better macro-F1 on the validation part, after which training ends and
    takes its best epoch; 0: train all epochs and take the last."""
    clean_weight: float = 3.0
    """Weight of a clean file in tables, relative to a malware file: a false alarm costs more."""
    word_bound: float | None = None
    """Log odds that the words of a file say for it being clean, at most, all together; None: there
    is no bound."""
    goodware_weight: float = 0.3
    """Weight of a clean file added to the dataset, relative to the dataset's own samples."""
    precision: Precision = "float32"
    """Precision of the trunks in training; bfloat16 takes half the time on CPUs that have it."""
    pretrained: str | None = None
    """Initial weights of the backbone: a file or `hub`; see `learn.fit.pretrained`."""
    devices: int = 1
    """Processes that share each batch: see `maltriage.learn.fit.parallel`."""
    threads: int | None = None
    """Threads of each process."""
    accelerator: Accelerator = "auto"
    checkpoint_minutes: float = 5.0
    """Interval of checkpoints besides those after each epoch; 0: none."""

    def recipe(self) -> dict[str, Any]:
        """The options that affect the weights, as JSON.

        Raises:
            MaltriageError: the file of weights cannot be read.
        """
        options = asdict(self)
        for name in NO_BEARING:
            del options[name]
        if self.word_bound is None:  # as in runs of before
            del options["word_bound"]
        if self.pretrained is not None:
            options["pretrained"] = identify(self.pretrained)
        return dict(msgspec.json.decode(msgspec.json.encode(options)))

    def check(self) -> None:
        """Raise MaltriageError if a value is out of range."""
        for name, choices in (
            ("optimizer", Optimizer),
            ("schedule", Schedule),
            ("class_weights", ClassWeights),
            ("precision", Precision),
            ("accelerator", Accelerator),
        ):
            if getattr(self, name) not in get_args(choices):
                raise MaltriageError(
                    f"no such {name.replace('_', ' ')}: {getattr(self, name)}"
                    f" (known: {', '.join(get_args(choices))})"
                )
        for name, fits in (
            ("learning_rate", 0.0 < self.learning_rate < math.inf),
            ("weight_decay", 0.0 <= self.weight_decay < math.inf),
            ("mixup", 0.0 <= self.mixup < math.inf),
            ("warmup", 0.0 <= self.warmup < 1.0),
            ("clip_norm", 0.0 <= self.clip_norm < math.inf),
            ("clean_weight", 0.0 < self.clean_weight < math.inf),
            ("word_bound", self.word_bound is None or 0.0 < self.word_bound < math.inf),
            ("patience", self.patience >= 0),
            ("devices", self.devices >= 1),
            ("checkpoint_minutes", self.checkpoint_minutes >= 0.0),
        ):
            if not fits:
                raise MaltriageError(
                    f"{name.replace('_', ' ')} {getattr(self, name)}: out of range"
                )
        if self.batch_size < 2 * self.devices:  # batch norm needs two samples
            raise MaltriageError(
                f"batch size {self.batch_size}: at least two samples for each of"
                f" {self.devices} devices"
            )


def class_weights(counts: Tensor, kind: ClassWeights) -> Tensor:
    """The weight of each label in the loss; only ratios matter.

    `none`: the same; `sqrt`: one over the root of its samples; `balanced`: one over its
    samples; `effective`: one over their effective number (1 - beta^n) / (1 - beta), which is
    n while n is small and levels off at 1,000 (Cui et al. 2019, "Class-Balanced Loss Based on
    Effective Number of Samples", equation 2).

    Args:
        counts: samples by label, [K], added clean files as fractions; at least 1 is used.
        kind: the name of the weighting.

    Returns:
        float32 [K].
    """
    n = counts.clamp(min=1).double()
    if kind == "none":
        return torch.ones_like(n).float()
    if kind == "sqrt":
        return n.rsqrt().float()
    if kind == "balanced":
        return n.reciprocal().float()
    return ((1.0 - EFFECTIVE_BETA) / (1.0 - EFFECTIVE_BETA**n)).float()


def table_costs(labels: Tensor, weights: Tensor, clean: int | None, options: FitOptions) -> Tensor:
    """What each sample counts for in a table that is fitted at once, [n].

    Args:
        labels: of the samples, [n].
        weights: of the labels in the loss, [K], as `class_weights` gives them.
        clean: the label of clean files; None: there is none.
    """
    costs = weights[labels] / class_weights(torch.tensor([USUAL]), options.class_weights)
    return costs if clean is None else torch.where(labels == clean, options.clean_weight, costs)


def make_optimizer(
    parameters: Iterable[nn.Parameter], options: FitOptions
) -> torch.optim.Optimizer:
    """The optimizer of a recipe; weight decay is decoupled in `adamw` alone."""
    rate, decay = options.learning_rate, options.weight_decay
    if options.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, momentum=MOMENTUM, nesterov=True, weight_decay=decay
        )
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, weight_decay=decay)


def make_schedule(optimizer: torch.optim.Optimizer, options: FitOptions, steps: int) -> LRScheduler:
    """The learning-rate schedule over `steps` steps."""
    if options.schedule == "onecycle":
        return OneCycleLR(
            optimizer, options.learning_rate, total_steps=steps + 1, pct_start=options.warmup
        )
    rising = round(options.warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return LambdaLR(optimizer, factor)


def best_epoch(history: Sequence[Epoch]) -> int | None:
    """The first epoch with the best macro-F1 on the validation part."""
    scored = [row for row in history if row.val_macro_f1 is not None]
    return max(scored, key=lambda row: row.val_macro_f1 or 0.0).epoch if scored else None


def exhausted(history: Sequence[Epoch], patience: int) -> bool:
    """True if the best epoch so far is `patience` epochs ago."""
    best = best_epoch(history)
    return bool(patience) and best is not None and history[-1].epoch - best >= patience


def refuse_differing(path: Path, stored: State, wanted: State) -> None:
    """Raise MaltriageError if a checkpoint is of another run."""
    difference = differing(stored, wanted)
    if difference:
        raise MaltriageError(f"{path}: a checkpoint of another run: {difference}")


def differing(stored: State, wanted: State) -> str:
    """The differences of two runs, in words; empty if none matters."""
    a, b = ({"name": state.name, **msgspec.to_builtins(state.origin)} for state in (stored, wanted))
    for stored_origin in (a, b):  # the same files may lie elsewhere
        del stored_origin["root"], stored_origin["more_roots"], stored_origin["goodware"]
    if not a["split_sha256"]:  # written by an older version
        b["split_sha256"] = ""
    for origin in (a, b):  # older versions did what is the default now
        origin |= FitOptions().recipe() | origin.pop("recipe")
        for teacher in (origin["guide"] or {}).get("teachers", ()):
            del teacher["path"]
    names = [name for name in a | b if a.get(name) != b.get(name)]
    if "folds" in names:  # these follow from it
        names = [name for name in names if name not in ("fractions", "split_sha256")]
    if not names:
        return ""
    short = {"name", "net", "dataset", "split", "split_seed", "folds", "epochs", "seed"}
    short |= {"batch_size", "image_size"}
    short |= {"optimizer", "schedule", "class_weights", "patience", "precision", "devices"}
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
    """A value of an origin for a message; a guide as its kind and share."""
    return f"{value['kind']} {value['keep']:g}" if isinstance(value, dict) else str(value)
