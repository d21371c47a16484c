"""The device, the precision and the processes of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from maltriage.errors import MaltriageError
from maltriage.learn.fit.recipe import Accelerator, Precision
from maltriage.learn.nets.base import Net

if TYPE_CHECKING:
    from maltriage.learn.heat.tutor import Tutor

LOW = {"bfloat16": torch.bfloat16, "float16": torch.float16}
INSTRUCTIONS = {
    "bfloat16": ("avx512_bf16", "amx_bf16"),
    "float16": ("avx512_fp16", "amx_fp16"),
}
INIT_SCALE = 2.0**12
"""Scale of the loss in float16: the usual 2^16 overflows in the first steps."""


def pick_device(accelerator: Accelerator, rank: int = 0) -> torch.device:
    """The device of a process. `auto`: CUDA if PyTorch finds it.

    Raises:
        MaltriageError: CUDA was asked for, but there are not enough devices.
    """
    count = torch.cuda.device_count() if accelerator != "cpu" and torch.cuda.is_available() else 0
    if accelerator == "cpu" or (accelerator == "auto" and not count):
        return torch.device("cpu")
    if rank >= count:
        raise MaltriageError(
            f"PyTorch finds {count} CUDA devices, not {rank + 1}: --accelerator cpu"
        )
    return torch.device("cuda", rank)


def device_of(net: nn.Module) -> torch.device:
    """The device of a net's parameters."""
    return next(net.parameters()).device


def moved(views: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """A batch on a device; on the CPU it is not copied."""
    if device.type == "cpu":
        return views
    return {name: view.pin_memory().to(device, non_blocking=True) for name, view in views.items()}


def emulated(device: torch.device, precision: Precision) -> bool:
    """Whether the processor has no instructions for the precision, which float32 then outruns.

    Known of x86 processors, by PyTorch's own list of what they can do; of others it says no.
    """
    told: Mapping[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # not in all releases that are allowed
    wanted = INSTRUCTIONS.get(precision, ())
    return (
        device.type == "cpu"
        and any(name in told for name in wanted)
        and not any(told.get(name) for name in wanted)
    )


def make_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """The loss scaler for the small gradients of float16; disabled otherwise."""
    return torch.amp.GradScaler(device.type, init_scale=INIT_SCALE, enabled=precision == "float16")


class Votes(nn.Module):
    """The forward pass of a step: votes on a batch, with or without mixup. Features are computed
    in the precision of the run, votes in float32."""

    def __init__(self, net: Net, precision: Precision, tutor: Tutor | None = None) -> None:
        super().__init__()
        self.net, self.low, self.tutor = net, LOW.get(precision), tutor

    def forward(
        self, views: dict[str, Tensor], share: float, other: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Votes [B, V, K] on `share` of each sample's features mixed with the rest of those of
        sample `other[i]`; None: its own only. And what the tutor adds to the loss."""
        device = device_of(self.net).type
        with torch.autocast(device, self.low or torch.bfloat16, enabled=self.low is not None):
            activations = self.net.activations(views)
            features = self.net.embed(activations).float()
            pull = None if self.tutor is None else self.tutor.pull(activations, views)
        if other is not None:
            features = features.lerp(features[other], 1.0 - share)
        votes = self.net.votes(features)
        return votes, votes.new_zeros(()) if pull is None else pull


class Crew(Protocol):
    """The processes that train one net together, each on its part of every batch."""

    rank: int
    size: int

    def wrap(self, votes: Votes) -> nn.Module:
        """A module whose gradients are the mean over all processes."""

    def mean(self, value: float) -> float:
        """The mean of a value over all processes."""

    def agree(self, answer: bool) -> bool:
        """The answer of the first process."""


class Alone:
    """A crew of one."""

    rank, size = 0, 1

    def wrap(self, votes: Votes) -> nn.Module:
        return votes

    def mean(self, value: float) -> float:
        return value

    def agree(self, answer: bool) -> bool:
        return answer


class Together:
    """A crew of `torch.distributed`; the process group exists already."""

    def __init__(self) -> None:
        self.rank, self.size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        gpu = torch.distributed.get_backend() == "nccl"
        self._device = torch.device("cuda", self.rank) if gpu else torch.device("cpu")

    def wrap(self, votes: Votes) -> nn.Module:
        return DistributedDataParallel(votes)

    def mean(self, value: float) -> float:
        held = torch.tensor(value, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(held)
        return float(held) / self.size

    def agree(self, answer: bool) -> bool:
        held = torch.tensor(int(answer), device=self._device)
        torch.distributed.broadcast(held, 0)
        return bool(held)
