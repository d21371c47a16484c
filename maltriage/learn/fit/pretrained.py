"""Published weights for the backbone of a net, from a file or fetched by timm."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maltriage.errors import MaltriageError
from maltriage.files.regular import digest_of
from maltriage.learn.nets.base import Net

HUB = "hub"
"""Source of timm's own weights, fetched over the network."""
_DIGEST = "sha256:"
_BESIDE = ("pre_logits.",)
"""Prefix of published layers between the last map and the classifier, which are not loaded."""


def identify(source: str) -> str:
    """The origin of weights for a recipe: `hub`, or the digest of a file.

    Raises:
        MaltriageError: the file cannot be read.
    """
    if source == HUB or source.startswith(_DIGEST):
        return source
    return _DIGEST + digest_of(source, "weights")


def load_pretrained(net: Net, source: str) -> None:
    """Load published weights into the backbone of a fresh net.

    Args:
        net: its backbone is a model of timm.
        source: a safetensors file or a state dict saved by torch, with timm's names for that
            backbone, with or without classifier; or `hub`. The first convolution is adapted
            to the channels of the input as in timm.

    Raises:
        MaltriageError: the net has no such backbone, the file has other weights, or the hub
            gives none.
    """
    backbone = net.backbone
    if backbone is None:
        raise MaltriageError("no published weights are known for this net: leave out --pretrained")
    config: Any = backbone.pretrained_cfg
    name = config.get("architecture", "the backbone")
    if source.startswith(_DIGEST):
        raise MaltriageError(
            f"the run began with weights of {source}: name --pretrained FILE again"
        )
    found = _fetch(name) if source == HUB else _read(Path(source))
    _fill(backbone, found, f"{source}: not weights of {name} as timm names them")


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; weights only, no code is run."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from timm.models import clean_state_dict

    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MaltriageError(f"cannot read weights {path}: {error.strerror}") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).strip().splitlines()[:1]
        raise MaltriageError(f"{path}: not a file of weights: {''.join(first)}") from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise MaltriageError(f"{path}: not a file of weights: no state dict")
    return dict(clean_state_dict(found))


def _fetch(name: str) -> dict[str, Tensor]:
    import timm

    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:  # network, hub and timm have no common error
        lines = [line.strip() for line in str(error).strip().splitlines()[:2]]
        raise MaltriageError(f"no weights of {name} from the hub: {' '.join(lines)}") from error


def _fill(backbone: nn.Module, found: dict[str, Tensor], problem: str) -> None:
    from timm.models import adapt_input_conv

    config: Any = backbone.pretrained_cfg
    wanted = backbone.state_dict()
    first = f"{config['first_conv']}.weight"
    if first in found and found[first].dim() == 4:
        found = found | {first: adapt_input_conv(wanted[first].shape[1], found[first])}
    classifier = config["classifier"]
    beside = (*_BESIDE, *(f"{n}." for n in ([classifier] if isinstance(classifier, str) else ())))
    strange = [name for name in found if name not in wanted and not name.startswith(beside)]
    lacking = [n for n in wanted if n not in found and not n.endswith("num_batches_tracked")]
    other = [n for n in wanted if n in found and found[n].shape != wanted[n].shape]
    for what, names in (("lacks", lacking), ("has besides", strange), ("has other shapes", other)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise MaltriageError(f"{problem}: it {what}: {', '.join(names[:3])}{more}")
    backbone.load_state_dict({n: found.get(n, value) for n, value in wanted.items()})
