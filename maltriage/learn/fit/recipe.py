"""The recipe of a run: its options, and what they make of optimizer, schedule and loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
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
"""Of `sgd`, which is Nesterov's; `onecycle` moves it between 0.85 and 0.95 as it does beta 1."""
EFFECTIVE_BETA = 0.999
"""Of `effective` weights; Cui et al. 2019 try 0.9 to 0.9999."""
NO_BEARING = ("threads", "accelerator", "checkpoint_minutes")


@dataclass(frozen=True)
class FitOptions:
    """How to train. All but `threads`, `accelerator` and `checkpoint_minutes` has a bearing on
    the weights beyond rounding, and is the recipe."""

    net: str = "evidence"
    image_size: int = 64
    views: tuple[str, ...] | None = None
    """Names of the views to look at; None: those that the net is made for."""
    epochs: int = 30
    batch_size: int = 64
    seed: int = 0
    optimizer: Optimizer = "adamw"
    learning_rate: float = 2e-3
    """At the top of the schedule."""
    weight_decay: float = 0.05
    schedule: Schedule = "onecycle"
    """`onecycle`: Smith and Topin 2017, the momentum moves the other way; `cosine`: a straight
    rise, then half a cosine down to zero (Loshchilov and Hutter 2017, without restarts)."""
    warmup: float = 0.3
    """Share of the steps in which the rate rises."""
    clip_norm: float = 0.0
    """The norm of all gradients is cut to this; 0: it is not."""
    class_weights: ClassWeights = "sqrt"
    """What a label of n samples counts for in the loss: see `class_weights`."""
    label_smoothing: float = 0.05
    mixup: float = 0.3
    """Both parameters of the beta distribution of the share; 0: no mixup."""
    augment: bool = True
    """Whether training images are changed: see `learn.fit.augment`."""
    harden: bool = False
    """Whether changed copies of the samples are trained on too: see `learn.fit.harden`."""
    ema: float = 0.99
    """Decay of the averaged weights for each step."""
    patience: int = 0
    """Training ends after so many epochs without a better macro-F1 on the validation part, and
    the best epoch is what it comes to; 0: all epochs, and the last."""
    goodware_weight: float = 0.3
    """What a clean file that was added to the dataset counts for beside one of its own."""
    precision: Precision = "float32"
    """Of the trunks in training; bfloat16 halves the time on a processor that has it."""
    pretrained: str | None = None
    """What the backbone begins with: a file of weights, or `hub`; see `learn.fit.pretrained`."""
    devices: int = 1
    """Processes that share each batch: see `maltriage.learn.fit.parallel`."""
    threads: int | None = None
    """Of each process."""
    accelerator: Accelerator = "auto"
    checkpoint_minutes: float = 5.0
    """A checkpoint is written at least so often, besides those at the ends of epochs; 0: not."""

    def recipe(self) -> dict[str, Any]:
        """The options that have a bearing on the weights, as JSON has them.

        Raises:
            MaltriageError: the file of weights is not there.
        """
        options = asdict(self)
        for name in NO_BEARING:
            del options[name]
        if self.pretrained is not None:
            options["pretrained"] = identify(self.pretrained)
        return dict(msgspec.json.decode(msgspec.json.encode(options)))

    def check(self) -> None:
        """Raise MaltriageError where a value is none that can be trained with."""
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
            ("warmup", 0.0 <= self.warmup < 1.0),
            ("clip_norm", 0.0 <= self.clip_norm < math.inf),
            ("patience", self.patience >= 0),
            ("devices", self.devices >= 1),
            ("checkpoint_minutes", self.checkpoint_minutes >= 0.0),
        ):
            if not fits:
                raise MaltriageError(
                    f"{name.replace('_', ' ')} {getattr(self, name)}: out of range"
                )
        if self.batch_size < 2 * self.devices:  # batch norm knows no batch of one
            raise MaltriageError(
                f"batch size {self.batch_size}: at least two samples for each of"
                f" {self.devices} devices"
            )


def class_weights(counts: Tensor, kind: ClassWeights) -> Tensor:
    """What each label counts for in the loss; only their ratios matter.

    `none`: the same; `sqrt`: one over the root of its samples; `balanced`: one over its
    samples; `effective`: one over their effective number (1 - beta^n) / (1 - beta), which is
    n while n is small and levels off at 1,000 (Cui et al. 2019, "Class-Balanced Loss Based on
    Effective Number of Samples", equation 2).

    Args:
        counts: samples by label, [K], added clean files as fractions; below one they are one.
        kind: which.

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
    """The learning rate over so many steps."""
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
    """The epoch of the best macro-F1 on the validation part, the first of several."""
    scored = [row for row in history if row.val_macro_f1 is not None]
    return max(scored, key=lambda row: row.val_macro_f1 or 0.0).epoch if scored else None


def exhausted(history: Sequence[Epoch], patience: int) -> bool:
    """Whether the best of the epochs so far is that long ago."""
    best = best_epoch(history)
    return bool(patience) and best is not None and history[-1].epoch - best >= patience


def differing(stored: State, wanted: State) -> str:
    """In what two runs differ, in words; empty if in nothing that matters."""
    a, b = (msgspec.to_builtins(state.origin) for state in (stored, wanted))
    for stored_origin in (a, b):  # the same files may lie elsewhere
        del stored_origin["root"], stored_origin["goodware"]
    if not a["split_sha256"]:  # of a version that did not keep it
        b["split_sha256"] = ""
    for origin in (a, b):  # what a version did not know of it did as is the default now
        origin |= FitOptions().recipe() | origin.pop("recipe")
        for teacher in (origin["guide"] or {}).get("teachers", ()):
            del teacher["path"]
    names = [name for name in a | b if a.get(name) != b.get(name)]
    if not names:
        return ""
    short = {"net", "dataset", "split", "split_seed", "epochs", "seed", "batch_size", "image_size"}
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
    """A value of an origin in a message; of a guide, its kind and share."""
    return f"{value['kind']} {value['keep']:g}" if isinstance(value, dict) else str(value)
