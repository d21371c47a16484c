"""Makes the net of a run, loads it from a checkpoint and computes its logits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from maltriage.bundle import Bundle
from maltriage.errors import MaltriageError
from maltriage.learn.fit.checkpoint import Origin, State, load_checkpoint, part_of
from maltriage.learn.fit.data import Images
from maltriage.learn.fit.devices import device_of, moved
from maltriage.learn.heat.chooser import INSIDE, guided
from maltriage.learn.nets import make_net
from maltriage.learn.nets.base import Net

EVAL_BATCH = 128


def predict(net: Net, images: Images, index: Tensor) -> Tensor:
    """Logits of some samples, [n, K]."""
    net.eval()
    device = device_of(net)
    # In one block from the start: small ones made between large ones keep the heap from shrinking.
    logits = torch.zeros(len(index), net.classifier.out_features)
    with torch.inference_mode():
        for at in range(0, len(index), EVAL_BATCH):
            rows = index[at : at + EVAL_BATCH]
            logits[at : at + len(rows)] = net(moved(images.batch(rows), device)).cpu()
    return logits


def restore_net(tensors: dict[str, Tensor], state: State, path: Path | None = None) -> Net:
    """The averaged net of a checkpoint, in eval mode.

    Its parameters take no gradient, as those of the net that a training exports: the exporter
    writes another graph where they do.

    Args:
        path: of the checkpoint, for errors.

    Raises:
        MaltriageError: the weights are of another net than it names, which is told before any
            memory is taken for that.
    """
    weights = part_of(tensors, "ema")
    if not _fit({name: tensor.shape for name, tensor in weights.items()}, state.origin, path):
        raise _of_another(path)
    net = make(state.origin)
    load_weights(net, weights, path)
    return net.eval().requires_grad_(False)


def _fit(found: dict[str, torch.Size], origin: Origin, path: Path | None) -> bool:
    """Whether weights of these shapes are those of a run's net, which is not made for that; of a
    net with teachers inside, which runs them as it is made, only its own and those of theirs."""
    guide = origin.guide
    teachers = guide.teachers if guide is not None and guide.kind in INSIDE else ()
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without inputs
            if not teachers:
                return found == _shapes(make(origin))
            wanted = _shapes(make(msgspec.structs.replace(origin, guide=None)))
            for number, teacher in enumerate(teachers):
                net = make_net(teacher.net, teacher.views, len(origin.labels), teacher.clean)
                wanted |= _shapes(net, f"chooser.explained.{number}.net.")
    except MaltriageError as error:
        raise MaltriageError(f"{_named(path)}: {error}") from error
    except Exception as error:  # whatever layers say to sizes that they cannot have
        raise MaltriageError(f"{_named(path)}: there is no such net: {error}") from error
    return found.items() >= wanted.items()


def _shapes(net: Net, prefix: str = "") -> dict[str, torch.Size]:
    return {prefix + name: tensor.shape for name, tensor in net.state_dict().items()}


def _named(path: Path | None) -> str:
    return str(path or "the checkpoint")


def _of_another(path: Path | None) -> MaltriageError:
    return MaltriageError(f"{_named(path)}: its weights are not of the net it names")


def net_of(checkpoint: Path, bundle: Bundle) -> Net:
    """The net that a bundle was exported from, in eval mode, checked against the bundle.

    Args:
        checkpoint: a file, or the folder of a run (its last checkpoint).

    Raises:
        MaltriageError: no checkpoint, or a checkpoint of another net.
    """
    from maltriage.learn.export import check
    from maltriage.learn.heat.cam import ExplainedNet

    tensors, state = load_checkpoint(checkpoint)
    card, origin = bundle.card, state.origin
    if (origin.views, origin.labels) != (card.views, card.labels):
        raise MaltriageError(f"{checkpoint}: of a net with other views or labels than the model")
    net = restore_net(tensors, state, checkpoint)
    try:
        check(ExplainedNet(net, card.benign), bundle.model)
    except MaltriageError as error:
        raise MaltriageError(f"{checkpoint}: of another net than the model ({error})") from error
    return net


def make(origin: Origin, teachers: Sequence[Net] | None = None) -> Net:
    """A fresh net of a run, with the run's guide.

    Args:
        origin: of the run.
        teachers: of a net that has them inside; None: loaded later with its weights.
    """
    net = make_net(origin.net, origin.views, len(origin.labels), origin.clean)
    net.bound_words(origin.recipe.get("word_bound"))
    return net if origin.guide is None else guided(net, origin.guide, teachers)


def load_weights(net: nn.Module, tensors: dict[str, Tensor], path: Path | None = None) -> None:
    """Load the weights of a checkpoint into a net.

    Args:
        path: of the checkpoint, for errors.

    Raises:
        MaltriageError: the weights are of another net.
    """
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise _of_another(path) from error
