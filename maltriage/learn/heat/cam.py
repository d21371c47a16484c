"""The explanation as part of the model: one module from images to logits and signed maps.

HiResCAM (Draelos and Carin 2020, arXiv 2011.08891) is gradient times activation, element by
element. For a net that ends in the mean over cells and a linear layer it has a closed form:
the score's weights times the activation, divided by the number of cells. For any other net
the gradient through its head is traced (`traced`) and becomes part of the graph. If Grad-CAM
(Selvaraju et al. 2017, arXiv 1610.02391) differs, it is a further output. `maltriage.bundle`
lists inputs and outputs; docs/architecture.md says why the score is centred and the heat of an
empty input is subtracted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from maltriage.learn.nets.base import Net
from maltriage.sample.views import ViewSpec


def empty_views(views: tuple[ViewSpec, ...], count: int = 1) -> dict[str, Tensor]:
    """Images of an empty sample: all zero, [count, *spec.shape] by view."""
    return {view.name: torch.zeros(count, *view.shape, dtype=torch.uint8) for view in views}


class ExplainedNet(nn.Module):
    """A net with its explanation, ready for export.

    Args:
        net: is put into eval mode.
        benign: index of the benign label, or None.
    """

    weights: Tensor
    bias: Tensor
    others: Tensor

    def __init__(self, net: Net, benign: int | None) -> None:
        super().__init__()
        self.net = net.eval()
        self.benign = benign
        weights = net.classifier.weight.detach()
        bias = net.classifier.bias.detach()
        self.register_buffer("weights", _centred(weights, net.clean))
        self.register_buffer("bias", _centred(bias, net.clean))
        others = [k for k in range(len(bias)) if k != benign]
        self.register_buffer("others", torch.tensor(others, device=bias.device))
        with torch.no_grad():
            activations = net.activations(_empty(net))
        self.names = tuple(activations)
        """Names of `Net.activations`, in order."""
        if net.additive:
            for view in net.views:
                self.register_buffer(f"empty_{view.name}", activations[view.name].contiguous())
        else:
            self._note_emptiness(activations)
        self.eval()

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs of `forward`, in order."""
        heat = [f"heat_{view.name}" for view in self.net.views]
        other = [f"gradcam_{name}" for name in self.net.unpooled]
        return ["logits", *heat, *other, "baseline", "explained", "embedding"]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs as in the bundle: the views in order, then target, against, threshold."""
        return self.answer(*self.stem(*inputs[:-3]), *inputs[-3:])

    def stem(self, *images: Tensor) -> list[Tensor]:
        """The net up to the target layer: activations in the order of `names`."""
        views = {v.name: image for v, image in zip(self.net.views, images, strict=True)}
        found = self.net.activations(views)
        if self.net.additive:
            return [found[name] for name in self.names]
        # The traced graph keeps the strides of its example inputs.
        return [found[name].contiguous() for name in self.names]

    def answer(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, from those of `stem` and target, against, threshold."""
        *tensors, target, against, threshold = inputs
        activations = dict(zip(self.names, tensors, strict=True))
        if self.net.additive:
            return self._closed_form(activations, target, against, threshold)
        return self._by_gradient(activations, target, against, threshold)

    def subtracted(self, explained: Tensor) -> Tensor:
        """Sum of the absolute heat of an empty input, which is subtracted, [B].

        Args:
            explained: target and against, as in the outputs.
        """
        parts = [_of(self.get_buffer(f"empty_heat_{v.name}"), explained) for v in self.net.views]
        return torch.stack([part.abs().flatten(1).sum(dim=1) for part in parts]).sum(dim=0)

    def _closed_form(
        self, activations: dict[str, Tensor], target: Tensor, against: Tensor, threshold: Tensor
    ) -> tuple[Tensor, ...]:
        embedding = self.net.embed(activations)
        logits = self.net.joined(embedding @ self.weights.T + self.bias)
        explained = self._choose(logits, target, against, threshold)
        clean = self.net.clean
        weights, baseline = _of(self.weights, explained, clean), _of(self.bias, explained, clean)
        heat = []
        start = 0
        for view in self.net.views:
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

    def _by_gradient(
        self, activations: dict[str, Tensor], target: Tensor, against: Tensor, threshold: Tensor
    ) -> tuple[Tensor, ...]:
        names = [view.name for view in self.net.views]
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            leaves = {name: activations[name].detach().requires_grad_() for name in names}
            embedding = self.net.embed(activations | leaves)
            plain = embedding.detach()
            logits = plain @ self.weights.T + self.bias
            explained = self._choose(logits, target, against, threshold)
            score = (embedding * _of(self.weights, explained)).sum()
            gradients = dict(
                zip(names, torch.autograd.grad(score, list(leaves.values())), strict=True)
            )
        seen = self.net.seen(activations)

        def empty(kind: str, name: str) -> Tensor:
            heat = _of(getattr(self, f"empty_{kind}_{name}"), explained)
            return heat * seen[name] if name in seen else heat

        heat = [
            _hirescam(activations[name], gradients[name]) - empty("heat", name) for name in names
        ]
        other = [
            _gradcam(activations[name], gradients[name]) - empty("gradcam", name)
            for name in self.net.unpooled
        ]
        baseline = _of(self.get_buffer("empty_logits"), explained)
        return logits, *heat, *other, baseline, explained, plain

    def _note_emptiness(self, activations: dict[str, Tensor]) -> None:
        """Store scores and maps of an empty input, for each label against the mean of all.

        The score of one label against another is the difference of two of these, and so are
        its maps: they are linear in the score's weights.
        """
        names = [view.name for view in self.net.views]
        maps: dict[str, list[Tensor]] = {f"empty_heat_{name}": [] for name in names}
        maps |= {f"empty_gradcam_{name}": [] for name in self.net.unpooled}
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            leaves = {name: activations[name].detach().requires_grad_() for name in names}
            embedding = self.net.embed(activations | leaves)
            for weights in self.weights:
                found = torch.autograd.grad(
                    (embedding * weights).sum(), list(leaves.values()), retain_graph=True
                )
                for name, gradient in zip(names, found, strict=True):
                    activation = activations[name]
                    maps[f"empty_heat_{name}"].append(_hirescam(activation, gradient))
                    if name in self.net.unpooled:
                        maps[f"empty_gradcam_{name}"].append(_gradcam(activation, gradient))
        for name, grids in maps.items():
            self.register_buffer(name, torch.cat(grids))
        logits = embedding.detach() @ self.weights.T + self.bias
        self.register_buffer("empty_logits", logits[0])

    def _choose(self, logits: Tensor, target: Tensor, against: Tensor, threshold: Tensor) -> Tensor:
        """Target and against for each sample, int64 [B, 2]; -1: the mean."""
        top = logits.argmax(dim=1)
        rival = torch.full_like(top, -1)
        if self.benign is not None:
            malicious = logits[:, self.others]
            margin = torch.logsumexp(malicious, dim=1) - logits[:, self.benign]
            flagged = margin >= threshold
            top = torch.where(flagged, self.others[malicious.argmax(dim=1)], top)
            rival = torch.where(flagged, torch.full_like(top, self.benign), rival)
        chosen = target >= 0
        return torch.stack(
            [torch.where(chosen, target, top), torch.where(chosen, against, rival)], dim=1
        )


def traced(explained: ExplainedNet) -> nn.Module:
    """The same module with the gradient through the net's head as operators of the graph.

    `torch.onnx.export` does not support autograd. An additive net is returned as it is.
    """
    if explained.net.additive:
        return explained
    count = 3  # the tracer takes batches of 0 and 1 for constants
    images = _empty(explained.net, count).values()
    # Three tensors: the tracer merges inputs that are the same tensor.
    choice = torch.zeros(3, count, device=explained.weights.device)
    target, against, threshold = choice[0].long(), choice[1].long(), choice[2]
    with torch.no_grad():
        inputs = (*explained.stem(*images), target, against, threshold)
        answer = make_fx(
            explained.answer,
            decomposition_table={torch.ops.aten.convolution_backward.default: _through_convolution},
            tracing_mode="symbolic",
            _allow_non_fake_inputs=True,
        )(*inputs)
    return _Traced(explained, answer)


class _Traced(nn.Module):
    """The stem of an explained net, and its `answer` as a graph."""

    def __init__(self, explained: ExplainedNet, answer: nn.Module) -> None:
        super().__init__()
        self.explained, self.answer = explained, answer  # torch.export uses the name `graph`
        self.eval()

    def forward(self, *inputs: Tensor) -> Any:
        return self.answer(*self.explained.stem(*inputs[:-3]), *inputs[-3:])


def _through_convolution(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> tuple[Tensor, None, None]:
    """`aten.convolution_backward` for the input alone, in operators that ONNX has."""
    if transposed or output_mask != [True, False, False]:
        raise NotImplementedError("only the input's gradient of a plain convolution")
    more = [
        x.shape[i + 2]
        - (gradient.shape[i + 2] - 1) * stride[i]
        + 2 * padding[i]
        - dilation[i] * (weight.shape[i + 2] - 1)
        - 1
        for i in range(2)
    ]
    back = torch.conv_transpose2d(gradient, weight, None, stride, padding, more, groups, dilation)
    return back, None, None


def _empty(net: Net, count: int = 1) -> dict[str, Tensor]:
    """`empty_views` of a net, on its device."""
    device = net.classifier.weight.device
    return {name: image.to(device) for name, image in empty_views(net.views, count).items()}


def _centred(table: Tensor, clean: int | None) -> Tensor:
    """A table with an entry for each label, [K, ...], less the mean over the labels.

    With two questions the mean is that of the families, and the entry of clean files stays: it is
    against malware already.
    """
    wide = table.double()  # the mean must vanish to the last bits
    families = torch.arange(len(table), device=table.device) != (-1 if clean is None else clean)
    wide[families] -= wide[families].mean(0)
    return wide.float()


def _of(table: Tensor, explained: Tensor, clean: int | None = None) -> Tensor:
    """The entry of the explained score, [B, ...], in a table with one for each label, [K, ...].

    Entries are against the mean of all labels, so the entry of the label to explain against,
    if there is one, is subtracted.

    Args:
        clean: see `Net.clean`. A family against it is malware against it, of whatever family.
    """
    target, against = explained[:, 0], explained[:, 1]
    own, present = torch.ones_like(target, dtype=torch.bool), against >= 0
    if clean is not None:
        own, present = against != clean, present & (target != clean)

    def taken(label: Tensor, at: Tensor) -> Tensor:
        return table[label] * at.to(table.dtype).reshape(-1, *[1] * (table.dim() - 1))

    return taken(target, own) - taken(against.clamp(min=0), present)


def _hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Gradient times activation, summed over channels: [B, C, h, w] to [B, h, w]."""
    return (gradient * activation).sum(dim=1)


def _gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Activation weighted by the mean gradient of its channel; signed, no ReLU."""
    return (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1)
