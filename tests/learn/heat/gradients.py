"""HiResCAM by its definition, which maps of the graph are held to."""

from __future__ import annotations

import torch
from torch import Tensor

from maltriage.learn.nets.base import Net


def gradient_times_activation(
    net: Net, views: dict[str, Tensor], score: Tensor
) -> dict[str, Tensor]:
    """HiResCAM by autograd, for any net: the definition that the graph is held to.

    Args:
        net: in eval mode.
        views: images by name.
        score: weights of the explained score over the logits, [B, K]; for a label against
            the mean of all: one at the label, minus 1/K everywhere.

    Returns:
        By view, the sum over channels of gradient times activation, [B, h, w].
    """
    names = [view.name for view in net.views]
    activations = dict(net.activations(views))
    activations |= {name: activations[name].detach().requires_grad_() for name in names}
    logits = net.classifier(net.embed(activations))
    gradients = torch.autograd.grad((logits * score).sum(), [activations[n] for n in names])
    return {
        name: (gradient * activations[name]).sum(dim=1).detach()
        for name, gradient in zip(names, gradients, strict=True)
    }
