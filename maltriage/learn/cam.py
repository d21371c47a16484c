"""The explanation as part of the model: one module from images to logits and signed maps.

For a net that ends in the mean over cells and a linear layer, HiResCAM (Draelos and Carin
2020, arXiv 2011.08891: gradient times activation, element by element) has a closed form:
the score's weights times the activation, divided by the number of cells. So it needs no
gradient in the graph. See `maltriage.bundle` for the inputs and outputs, DESIGN.md for why
the score is centred and emptiness is subtracted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maltriage.learn.nets.base import Net
from maltriage.sample.views import ViewSpec


def empty_views(views: tuple[ViewSpec, ...], count: int = 1) -> dict[str, Tensor]:
    """Images of a sample without a byte: all zero, [count, *spec.shape] by view."""
    return {view.name: torch.zeros(count, *view.shape, dtype=torch.uint8) for view in views}


class ExplainedNet(nn.Module):
    """An additive net with its explanation, as it is exported.

    Args:
        net: an additive net; put into eval mode.
        benign: number of the benign label, or None.
    """

    weights: Tensor
    bias: Tensor

    def __init__(self, net: Net, benign: int | None) -> None:
        super().__init__()
        if not net.additive:
            raise ValueError("only additive nets have this closed form")
        self.net = net.eval()
        self.benign = benign
        self.others = [k for k in range(net.classifier.out_features) if k != benign]
        weights = net.classifier.weight.detach()
        bias = net.classifier.bias.detach()
        # Centred in float64: the mean over the labels must vanish to the last bits.
        self.register_buffer("weights", (weights.double() - weights.double().mean(0)).float())
        self.register_buffer("bias", (bias.double() - bias.double().mean()).float())
        with torch.no_grad():
            device = weights.device
            empty = {k: v.to(device) for k, v in empty_views(net.views).items()}
            for name, activation in net.activations(empty).items():
                self.register_buffer(f"empty_{name}", activation.contiguous())
        self.eval()

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs of `forward`, in order."""
        heat = [f"heat_{view.name}" for view in self.net.views]
        return ["logits", *heat, "baseline", "explained", "embedding"]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs as in the bundle: the views in order, then target, against, threshold."""
        *images, target, against, threshold = inputs
        views = self.net.views
        activations = self.net.activations(
            {view.name: image for view, image in zip(views, images, strict=True)}
        )
        embedding = self.net.embed(activations)
        logits = embedding @ self.weights.T + self.bias
        explained = self._choose(logits, target, against, threshold)
        weights, bias = self._score(explained)
        heat, baseline = [], bias
        start = 0
        for view in views:
            activation = activations[view.name]
            empty = getattr(self, f"empty_{view.name}")
            channels, cells = activation.shape[1], activation.shape[2] * activation.shape[3]
            part = weights[:, start : start + channels] / cells
            start += channels
            moved = (activation - empty).flatten(2)
            score = torch.matmul(part.unsqueeze(1), moved)
            heat.append(score.reshape(-1, activation.shape[2], activation.shape[3]))
            baseline = baseline + part @ empty.sum(dim=(0, 2, 3))
        return logits, *heat, baseline, explained, embedding

    def _choose(self, logits: Tensor, target: Tensor, against: Tensor, threshold: Tensor) -> Tensor:
        """Labels to explain and to explain them against, int64 [B, 2]; -1: the mean."""
        top = logits.argmax(dim=1)
        rival = torch.full_like(top, -1)
        if self.benign is not None:
            malicious = logits[:, self.others]
            margin = torch.logsumexp(malicious, dim=1) - logits[:, self.benign]
            others = torch.tensor(self.others, device=logits.device)
            flagged = margin >= threshold
            top = torch.where(flagged, others[malicious.argmax(dim=1)], top)
            rival = torch.where(flagged, torch.full_like(top, self.benign), rival)
        chosen = target >= 0
        return torch.stack(
            [torch.where(chosen, target, top), torch.where(chosen, against, rival)], dim=1
        )

    def _score(self, explained: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [B, D] and bias [B] of the explained score."""
        target, against = explained[:, 0], explained[:, 1]
        rival = against.clamp(min=0)
        present = (against >= 0).to(self.weights.dtype)
        weights = self.weights[target] - self.weights[rival] * present.unsqueeze(1)
        return weights, self.bias[target] - self.bias[rival] * present


def gradient_times_activation(
    net: Net, views: dict[str, Tensor], score: Tensor
) -> dict[str, Tensor]:
    """HiResCAM by autograd, for any net: the definition that the closed form is held to.

    Args:
        net: in eval mode.
        views: images by name.
        score: weights of the explained score over the logits, [B, K]; for a label against
            the mean of all: one at the label, minus 1/K everywhere.

    Returns:
        By view, the sum over channels of gradient times activation, [B, h, w].
    """
    activations = {k: v.detach().requires_grad_() for k, v in net.activations(views).items()}
    logits = net.classifier(net.embed(activations))
    names = list(activations)
    gradients = torch.autograd.grad((logits * score).sum(), [activations[n] for n in names])
    return {
        name: (gradient * activations[name]).sum(dim=1).detach()
        for name, gradient in zip(names, gradients, strict=True)
    }
